"""Visibility schedules: how many keys each query may read. The only place where wait-k is defined.

All schedules are pure and have one signature, ``schedule(num_queries, num_keys, first_query=0)``; training asks for
all queries at once, decoding for the next ones (``first_query`` of them have been computed before). A count that is no
whole number from 0 is a ValueError.

Shape legend: T queries, S keys; every schedule returns int64 [T] on the CPU, non-decreasing, in [0, S].
"""

from typing import Callable

import torch
from torch import Tensor

from leap_fairseq.attention.checks import INTEGERS, check_tensor, counted

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
    return torch.full_like(_indices(num_queries, num_keys, first_query), num_keys)


def causal_visibility(num_queries: int, num_keys: int, first_query: int = 0) -> Tensor:
    """Query i reads the keys up to its own: the self-attention of a decoder.

    Args:
        num_queries: T.
        num_keys: S, all keys counted from the start of the sequence.
        first_query: index of the first query.

    Returns:
        int64 [T], ``min(S, i + 1)``.
    """
    return _indices(num_queries, num_keys, first_query).add(1).clamp(max=num_keys)


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
    if counted("segment", segment) < 1:
        raise ValueError(f"segment {segment} must be at least 1 frame")
    number = torch.div(_indices(num_queries, num_keys, first_query), segment, rounding_mode="floor")
    return number.add(1).mul(segment).clamp(max=num_keys)


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
    if counted("wait-k lagging", lagging) < 1:
        raise ValueError(f"wait-k lagging {lagging} must be at least 1: set --waitk-lagging")
    if counted("pre-decision ratio", ratio) < 1:
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
    indices = _indices(num_queries, num_keys, first_query)
    # In Python's numbers, which do not overflow.
    counted("what wait-k waits for", waitk_requirement(first_query + num_queries, lagging, ratio))
    return waitk_requirement(indices, lagging, ratio).clamp(max=num_keys)


def checked_visible(visible: Tensor, num_queries: int, num_keys: int) -> Tensor:
    """A schedule in int64.

    Raises:
        ValueError: not an integer vector of length T, decreasing, or outside of [0, S].
    """
    check_tensor("visible, one count for each query,", visible, (num_queries,), INTEGERS)
    visible = visible.to(torch.int64)
    if num_queries == 0:
        return visible
    if bool((visible[1:] < visible[:-1]).any()):
        raise ValueError("visible must not decrease: a key, once visible, stays visible")
    first, last = int(visible[0]), int(visible[-1])
    if first < 0 or last > num_keys:
        raise ValueError(f"visible runs from {first} to {last}, but must lie in [0, {num_keys}], the number of keys")
    return visible


def _indices(num_queries: int, num_keys: int, first_query: int) -> Tensor:
    first, count = counted("first_query", first_query), counted("num_queries", num_queries)
    counted("num_keys", num_keys)
    return torch.arange(first, first + count, dtype=torch.int64, device="cpu")
