"""``--sample-break-mode eos`` works without numpy's `np.compat`."""

import argparse

import numpy as np
import pytest
import torch
from fairseq.data.token_block_dataset import TokenBlockDataset

from leap_fairseq.compat.numpy_names import restore_numpy_compat


def eos_blocks():
    sentences = [torch.arange(n) for n in (3, 1, 2)]
    dataset = TokenBlockDataset(sentences, [3, 1, 2], block_size=None, pad=1, eos=2, break_mode="eos")
    return [len(block) for block in dataset]


@pytest.mark.skipif(tuple(map(int, np.__version__.split(".")[:2])) < (2, 3), reason="this numpy has np.compat")
def test_sample_break_mode_eos(monkeypatch):
    monkeypatch.delattr(np, "compat", raising=False)
    with pytest.raises(AttributeError, match="compat"):
        eos_blocks()
    restore_numpy_compat()
    compat = np.compat
    assert eos_blocks() == [3, 1, 2]
    restore_numpy_compat()
    assert np.compat is compat


def test_numpy_that_has_it_is_left_alone(monkeypatch):
    own = argparse.Namespace(long=int)
    monkeypatch.setattr(np, "compat", own, raising=False)
    restore_numpy_compat()
    assert np.compat is own
