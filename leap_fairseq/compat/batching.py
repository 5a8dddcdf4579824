"""fairseq drops the last batch if its size does not divide evenly: repaired here, so that every sample counts."""

from typing import Callable, List, Optional

import numpy as np
from fairseq.data import data_utils

from leap_fairseq.compat.replacing import replace


def repair_batch_by_size() -> None:
    """Keeps the last batch, whatever its size.

    fairseq 0.12.2 drops the last batch when its size is not a multiple of ``--required-batch-size-multiple`` (8 by
    default), in training and in every evaluation: a validation perplexity covers part of the text, fairseq-generate
    leaves out sentences, and a set with fewer sentences than the multiple ends in "The dataset is empty" or, with no
    sentence at all, in an IndexError. The multiple is a hint for fast kernels; no code of fairseq relies on it.
    """
    replace([data_utils], "batch_by_size", _keeping_the_last_batch, symptom=_loses_samples)


def _loses_samples(batch_by_size: Callable) -> bool:
    batches = batch_by_size(np.arange(3), lambda index: 1, max_sentences=4, required_batch_size_multiple=2)
    return sum(len(batch) for batch in batches) != 3


def _keeping_the_last_batch(drops_last: Callable) -> Callable:
    def batch_by_size(indices, *args, fixed_shapes=None, **kwargs) -> List[np.ndarray]:
        if not isinstance(indices, np.ndarray):
            indices = np.fromiter(indices, dtype=np.int64, count=-1)
        if len(indices) == 0:
            return []
        batches = drops_last(indices, *args, fixed_shapes=fixed_shapes, **kwargs)
        return batches if fixed_shapes is not None else batches + _rest(indices, batches)

    return batch_by_size


def _rest(indices: np.ndarray, batches: Optional[List]) -> List[np.ndarray]:
    # Batches are consecutive runs of `indices`, and what is missing is one of them, at the end.
    rest = indices[sum(len(batch) for batch in batches) :]
    return [rest] if len(rest) > 0 else []
