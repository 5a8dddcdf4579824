"""Each attempt to save a checkpoint writes it from the beginning."""

import time
from typing import Any, Callable

import torch
from fairseq import checkpoint_utils

from leap_fairseq.compat.replacing import replace

ATTEMPTS, SECONDS_BETWEEN = 3, 2.5
"""As in fairseq."""


def repair_further_attempts() -> None:
    """Begins a further attempt to save with an empty file.

    fairseq 0.12.2 tries three times, and what a failed attempt has written stays before what the next one writes: a
    disk that was full for a moment leaves a checkpoint that nothing can read, under the name of a good one.
    """
    replace([checkpoint_utils], "_torch_persistent_save", _from_the_beginning, symptom=_appends)


def _appends(save: Callable) -> bool:
    # Read, not tried: it waits between two attempts.
    return "truncate" not in save.__code__.co_names


def _from_the_beginning(save: Callable) -> Callable:
    def _torch_persistent_save(obj: Any, f: Any) -> None:
        if isinstance(f, str) or not f.seekable():
            return save(obj, f)
        begin = f.tell()
        for left in reversed(range(ATTEMPTS)):
            f.seek(begin)
            f.truncate()
            try:
                return torch.save(obj, f)
            except Exception:
                if left == 0:
                    raise
                time.sleep(SECONDS_BETWEEN)

    return _torch_persistent_save
