"""Shared set-up of all tests."""

import importlib.util
import sys
from pathlib import Path

import pytest
from preloading import quicken_hydra

SCRIPTS = Path(__file__).parents[1] / "scripts"

LONGEST = {"e2e", "test_core_alone.py"}
"""Folders and files that start processes."""


def pytest_collection_modifyitems(items):
    """The longest come first: only short ones are left when one of the workers has no more to do."""
    items.sort(key=lambda item: LONGEST.isdisjoint(item.path.parts))
    for item in items:
        if item.get_closest_marker("exhaustive"):
            item.add_marker(pytest.mark.timeout(0))


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tiny tensors gain nothing from threads, and two of them on busy cores can be a hundred times slower."""
    # Not above: of several processes of pytest, the first runs no tests, and the others wait for it.
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def quick_hydra():
    """Tests that build what a command line asks for spend most of their time in it."""
    quicken_hydra()


@pytest.fixture
def script(monkeypatch):
    """A function: a script as a module; what it imports from scripts/ is forgotten afterwards."""
    before = set(sys.modules)

    def load(name):
        path = SCRIPTS / f"{name}.py"
        monkeypatch.syspath_prepend(str(path.parent))
        spec = importlib.util.spec_from_file_location(name.replace("/", "_"), path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    yield load
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(SCRIPTS)):
            del sys.modules[name]
