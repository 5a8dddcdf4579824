"""Visibility schedules: how many keys each query may read. The only place where wait-k is defined.

All schedules are pure and have one signature, ``schedule(num_queries, num_keys, first_query=0)``; training asks for
all queries at once, decoding for the next ones (``first_query`` of them have been computed before).

Shape legend: T queries, S keys; every schedule returns int64 [T] on the CPU, non-decreasing, in [0, S].
"""

from typing import Callable

import torch
from torch import Tensor

Schedule = Callable[..., Tensor]


def full_visibility(num_queries: int, num_keys: int, first_query: int = 0) -> Tensor:
    """Every query reads every key: an encoder over a whole utterance, an offline cross-attention.

    Args:
        num_queries: T.
        num_keys: S.
        first_query: index of the first query; without effect here.

    Returns:
        int64 [T], all S.
    """
    return torch.full((num_queries,), num_keys, dtype=torch.int64)


def causal_visibility(num_queries: int, num_keys: int, first_query: int = 0) -> Tensor:
    """Query i reads the keys up to its own: the self-attention of a decoder.

    Args:
        num_queries: T.
        num_keys: S, all keys counted from the start of the sequence.
        first_query: index of the first query.

    Returns:
        int64 [T], ``min(S, i + 1)``.
    """
    return _indices(num_queries, first_query).add(1).clamp(max=num_keys)


def segment_visibility(num_queries: int, num_keys: int, first_query: int = 0, *, segment: int) -> Tensor:
    """Query i reads all segments up to and including its own: an encoder that streams segment by segment.

    Args:
        num_queries: T.
        num_keys: S.
        first_query: index of the first query.
        segment: c, frames of a segment.

    Returns:
        int64 [T], ``min(S, (i // c + 1) * c)``.

    Raises:
        ValueError: segment is below 1.
    """
    if segment < 1:
        raise ValueError(f"segment {segment} must be at least 1 frame")
    ends = torch.div(_indices(num_queries, first_query), segment, rounding_mode="floor").add(1) * segment
    return ends.clamp(max=num_keys)


def waitk_requirement(target_index, lagging: int, ratio: int):
    """Encoder frames that must have been read before target i is written: ``(i + k) * r``.

    Training masks and the READ/WRITE decisions of the agent both come from this line.

    Args:
        target_index: i from 0, a number or an integer tensor.
        lagging: k, the pre-decisions read before the first target.
        ratio: r, encoder frames of one pre-decision.

    Returns:
        A count of frames, of the kind of ``target_index``.

    Raises:
        ValueError: lagging or ratio is below 1.

    Source:
        Ma et al., STACL, ACL 2019, equation 4 (wait-k); Ma, Pino, Koehn, SimulMT to SimulST, AACL 2020, section 3
        (fixed pre-decision).
    """
    if lagging < 1:
        raise ValueError(f"wait-k lagging {lagging} must be at least 1: set --waitk-lagging")
    if ratio < 1:
        raise ValueError(f"pre-decision ratio {ratio} must be at least 1: set --fixed-pre-decision-ratio")
    return (target_index + lagging) * ratio


def waitk_visibility(num_queries: int, num_keys: int, first_query: int = 0, *, lagging: int, ratio: int) -> Tensor:
    """Target i reads the frames that wait-k has waited for: the cross-attention of a simultaneous translator.

    Args:
        num_queries: T.
        num_keys: S, encoder frames.
        first_query: index of the first target.
        lagging: k.
        ratio: r.

    Returns:
        int64 [T], ``min(S, (i + k) * r)``.

    Raises:
        ValueError: lagging or ratio is below 1.
    """
    return waitk_requirement(_indices(num_queries, first_query), lagging, ratio).clamp(max=num_keys)


def check_visible(visible: Tensor, num_queries: int, num_keys: int) -> None:
    """Refuses a ``visible`` that is not a schedule.

    Raises:
        ValueError: not an integer vector of length T, decreasing, or outside of [0, S].
    """
    if visible.dtype.is_floating_point or visible.dtype == torch.bool or visible.shape != (num_queries,):
        raise ValueError(
            f"visible must be an integer vector of length {num_queries} (one count per query, shared by the batch), "
            f"got {visible.dtype} {tuple(visible.shape)}"
        )
    if num_queries == 0:
        return
    if bool((visible[1:] < visible[:-1]).any()):
        raise ValueError("visible must not decrease: a key, once visible, stays visible")
    first, last = int(visible[0]), int(visible[-1])
    if first < 0 or last > num_keys:
        raise ValueError(f"visible runs from {first} to {last}, but must lie in [0, {num_keys}], the number of keys")


def _indices(num_queries: int, first_query: int) -> Tensor:
    return torch.arange(first_query, first_query + num_queries, dtype=torch.int64)
