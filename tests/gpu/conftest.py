"""What runs on a GPU computes what the CPU computes; every test of this folder is skipped where there is none."""

import os
from pathlib import Path

import pytest
import torch
from forked_commands import ForkedCommands

DEVICE = "cuda"


def pytest_collection_modifyitems(items):
    """All tests of this folder need a GPU."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            item.add_marker(pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def device():
    """Where everything is computed that is compared with the CPU."""
    return DEVICE


@pytest.fixture(scope="session")
def command(tmp_path_factory):
    """A function: runs a command line; returns its output. The test fails where the command does."""
    folder = tmp_path_factory.mktemp("commands")
    with ForkedCommands({**os.environ, "OMP_NUM_THREADS": "1"}) as forked:

        def run(name, *args, stdin=""):
            code, output = forked.run(name, *args, cwd=folder, stdin=stdin)
            assert code == 0, f"{name} {' '.join(map(str, args))}\n{output[-6000:]}"
            return output

        yield run
