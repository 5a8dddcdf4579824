"""One entry to all algorithms, and the choice among them by counting operations.

Shape legend: B batch, T queries, S keys, H heads, K key dimension, V value dimension.
"""

import functools
from typing import Optional

from torch import Tensor

from leap_fairseq.attention.arguments import Arguments, checked
from leap_fairseq.attention.blockwise import BLOCK, blockwise
from leap_fairseq.attention.compiled import can_compile, can_contrast, compiled
from leap_fairseq.attention.contrast import with_contrast
from leap_fairseq.attention.flash_linear import flash_linear
from leap_fairseq.attention.inputs import without_autocast
from leap_fairseq.attention.naive import naive
from leap_fairseq.attention.recurrent import recurrent
from leap_fairseq.attention.slots import without_slots
from leap_fairseq.attention.state import LinearAttentionState
from leap_fairseq.attention.triton_attention import by_triton, worth_launching

ALGORITHMS = {
    "naive": naive,
    "blockwise": blockwise,
    "state": recurrent,
    "compiled": compiled,
    "triton": by_triton,
    "fla": flash_linear,
}


@without_autocast
def prefix_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    visible: Tensor,
    *,
    query_proportion: Optional[Tensor] = None,
    key_proportion: Optional[Tensor] = None,
    key_padding_mask: Optional[Tensor] = None,
    normalizer_floor: float = 0.1,
    initial_state: Optional[LinearAttentionState] = None,
    half_life: Optional[Tensor] = None,
    slots: bool = False,
    contrast: Optional[Tensor] = None,
    pace: Optional[Tensor] = None,
    algorithm: str = "auto",
) -> Tensor:
    """Linear attention over a visible prefix: query i reads the first ``visible[i]`` keys.

    Args:
        q: [B, T, H, K], queries behind the feature map (non-negative).
        k: [B, S, H, K], keys behind the feature map (non-negative).
        v: [B, S, H, V], values.
        visible: integer [T], non-decreasing, in [0, S]; see :mod:`leap_fairseq.attention.visibility`.
        query_proportion: [B, T, H] in [0, 1], or None for no re-weighting.
        key_proportion: [B, S, H] in [0, 1], or None; given exactly if ``query_proportion`` is.
        key_padding_mask: bool [B, S], True = padding. Padded keys contribute nothing, whatever they hold.
        normalizer_floor: the denominator is at least this.
        initial_state: keys absorbed before, which every query sees in addition to the visible ones.
        half_life: [H] in keys: the weight of a key halves each time that so many newer ones have become visible to a
            query; None to forget nothing. See :mod:`leap_fairseq.attention.half_life`.
        slots: average the keys for each feature, and mix the averages; see :mod:`leap_fairseq.attention.slots`.
        contrast: [H], how much of what every query reads is taken away; see :mod:`leap_fairseq.attention.contrast`.
        pace: [B, S, H], at least 0: what each key counts for in the ages of those before it; None: 1. For half-lives.
        algorithm: "naive", "blockwise", "state", "compiled", "triton" (our kernels for a GPU), "fla"
            (flash-linear-attention, on a GPU), or "auto"; see :func:`choose_algorithm`.

    Returns:
        [B, T, H, V] in the type of ``v``; zeros for a query without a visible key. Sums are kept in float32 at least.

    Raises:
        ValueError: an unknown algorithm, one that does not know such arguments, or arguments that do not fit together.

    Source:
        Agostinelli, Hong, Chen, LeaPformer, ICML 2024, equations 4 to 6; the floor of 0.1 is the official code's.
    """
    given = checked(
        Arguments(
            q,
            k,
            v,
            visible,
            query_proportion,
            key_proportion,
            key_padding_mask,
            normalizer_floor,
            initial_state,
            half_life,
            slots,
            contrast,
            pace,
        )
    )
    if algorithm not in ("auto", *ALGORITHMS):
        raise ValueError(f"unknown algorithm {algorithm!r}: choose from {['auto', *ALGORITHMS]}")
    if slots and algorithm != "naive":
        given = without_slots(given, functools.partial(_attend, algorithm))
    if contrast is None or algorithm == "naive" or (algorithm in ("auto", "compiled") and can_contrast(given)):
        return _attend(algorithm, given)
    return with_contrast(given, functools.partial(_attend, algorithm))


def _attend(algorithm: str, given: Arguments) -> Tensor:
    return ALGORITHMS[choose_algorithm(given) if algorithm == "auto" else algorithm](given)


def choose_algorithm(given: Arguments) -> str:
    """What ``auto`` is: compiled code on the CPU and our Triton kernels on a GPU, where they are there and fit.

    Args:
        given: the arguments, checked.

    Returns:
        A key of ``ALGORITHMS``; the one of naive and blockwise with the fewest operations where neither of those fits,
        and on a GPU also where that is naive.
    """
    if can_compile(given):
        return "compiled"
    key_dim = given.q.shape[-1]
    features = key_dim if given.query_proportion is None else 2 * key_dim
    cheapest = cheapest_algorithm(given.visible, key_dim, features, given.v.shape[-1])
    return "triton" if cheapest == "blockwise" and worth_launching(given) else cheapest


def cheapest_algorithm(visible: Tensor, key_dim: int, features: int, value_dim: int) -> str:
    """Compares the multiplications of the quadratic and the blockwise form.

    Args:
        visible: integer [T].
        key_dim, features, value_dim: K, F and V.

    Returns:
        "naive" or "blockwise".
    """
    num_queries = visible.numel()
    last = int(visible[-1]) if num_queries else 0
    quadratic = num_queries * last * (key_dim + value_dim)
    linear = (num_queries + last) * features * value_dim
    if num_queries and int(visible[0]) != last:
        linear += num_queries * min(BLOCK, last) * (features + value_dim)
    return "naive" if quadratic <= linear else "blockwise"
