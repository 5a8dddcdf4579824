"""What an algorithm is given, and the check that it fits together.

Shape legend: B batch, T queries, S keys, H heads, K key dimension, V value dimension.
"""

from typing import NamedTuple, Optional

from torch import Tensor

from leap_fairseq.attention.checks import (
    FLOATING,
    check_floor,
    check_half_life,
    check_keys,
    check_pace,
    check_queries,
    check_tensor,
)
from leap_fairseq.attention.half_life import Fading
from leap_fairseq.attention.inputs import sum_dtype
from leap_fairseq.attention.state import LinearAttentionState
from leap_fairseq.attention.visibility import checked_visible


class Arguments(NamedTuple):
    """What an algorithm is given: the arguments of :func:`leap_fairseq.attention.prefix_attention`, by their names."""

    q: Tensor
    k: Tensor
    v: Tensor
    visible: Tensor
    query_proportion: Optional[Tensor]
    key_proportion: Optional[Tensor]
    key_padding_mask: Optional[Tensor]
    normalizer_floor: float
    initial_state: Optional[LinearAttentionState]
    half_life: Optional[Tensor]
    slots: bool = False
    contrast: Optional[Tensor] = None
    pace: Optional[Tensor] = None

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to compute: no query, no head, or no dimension."""
        return 0 in (*self.q.shape, self.v.shape[3])

    @property
    def fading(self) -> Optional[Fading]:
        """How the weights fade, or None where nothing is forgotten."""
        return Fading.of(self.half_life, self.pace, self.key_padding_mask)


def checked(given: Arguments) -> Arguments:
    """The arguments, which fit together; ``visible`` in int64, in which the algorithms count.

    Raises:
        ValueError: they do not: with the argument, what was given and what is expected.
    """
    q, k, v, visible, p_q, p_k, padding, normalizer_floor, initial_state, half_life, slots, contrast, pace = given
    check_queries(q, p_q)
    check_keys(k, v, p_k, padding, q)
    if (p_q is None) != (p_k is None):
        raise ValueError("query_proportion and key_proportion come together: give both, or None for both")
    if slots and p_q is not None:
        raise ValueError("slots have no proportions: give slots, or query_proportion and key_proportion")
    if contrast is not None:
        check_tensor("contrast", contrast, q.shape[2:3], FLOATING, q.device)
        if slots:
            raise ValueError("slots have no contrast: give one or the other")
    dtype = sum_dtype(q.dtype)
    check_floor(normalizer_floor, dtype)
    check_half_life(half_life, q.shape[2], dtype)
    check_pace(pace, half_life, k)
    if initial_state is not None:
        if not isinstance(initial_state, LinearAttentionState):
            raise ValueError(f"initial_state must be a LinearAttentionState, got {type(initial_state).__name__}")
        initial_state.check(q, p_q, v)
    return given._replace(visible=checked_visible(visible, q.shape[1], k.shape[1]))
