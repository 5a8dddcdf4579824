"""Shared set-up of all tests."""

import pytest
import torch


def pytest_collection_modifyitems(items):
    """Files that start processes come first: only short ones are left when one of the workers has no more to do."""
    items.sort(key=lambda item: item.path.parent.name != "e2e" and item.path.name != "test_core_alone.py")


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tiny tensors gain nothing from threads, and two of them on busy cores can be a hundred times slower."""
    torch.set_num_threads(1)
