"""What several tests of data preparation share: a small corpus, and the hashes of a folder."""

import pytest
from folder_hashes import hashes  # noqa: F401

from leap_fairseq.prepare.travel.corpus import make_travel_corpus


@pytest.fixture(scope="session")
def travel_corpus(tmp_path_factory):
    """A corpus of 44 + 6 + 7 sentences; tests must not change it."""
    return make_travel_corpus(tmp_path_factory.mktemp("travel") / "corpus", 44, 6, 7, seed=3)
