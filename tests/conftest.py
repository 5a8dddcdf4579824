"""Shared set-up of all tests."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """Tiny tensors gain nothing from threads, and two of them on busy cores can be a hundred times slower."""
    torch.set_num_threads(1)
