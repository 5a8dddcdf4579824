"""Makes the scripts of data_prep importable, as they are for each other when one of them is run."""

import hashlib
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "data_prep"
sys.path.insert(0, str(SCRIPTS))


@pytest.fixture(scope="session")
def travel_corpus(tmp_path_factory):
    """A corpus of 44 + 6 + 7 sentences; tests must not change it."""
    from leap_fairseq.prepare.travel.corpus import make_travel_corpus

    return make_travel_corpus(tmp_path_factory.mktemp("travel") / "corpus", 44, 6, 7, seed=3)


@pytest.fixture(scope="session")
def hashes():
    """A function: the sha256 of every file in a folder, hidden ones included."""

    def of(folder):
        files = (path for path in sorted(folder.rglob("*")) if path.is_file())
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return of
