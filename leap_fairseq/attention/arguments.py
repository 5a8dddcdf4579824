"""What an algorithm is given, and the check that it fits together.

Shape legend: B batch, T queries, S keys, H heads, K key dimension, V value dimension.
"""

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from leap_fairseq.attention.state import LinearAttentionState
from leap_fairseq.attention.visibility import check_visible


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


def check_arguments(given: Arguments) -> None:
    """Refuses arguments that do not fit together.

    Raises:
        ValueError: with the argument, what was given and what is expected.
    """
    q, k, v, visible, query_proportion, key_proportion, key_padding_mask, normalizer_floor, _, half_life = given
    if q.dim() != 4 or k.dim() != 4 or v.dim() != 4:
        raise ValueError(f"q, k and v must be [B, T, H, K]: got {q.dim()}, {k.dim()} and {v.dim()} dimensions")
    if q.shape[0] != k.shape[0] or q.shape[2:] != k.shape[2:]:
        raise ValueError(f"q {tuple(q.shape)} and k {tuple(k.shape)} differ in batch, heads or head dimension")
    if v.shape[:3] != k.shape[:3]:
        raise ValueError(f"v {tuple(v.shape)} and k {tuple(k.shape)} differ in batch, length or heads")
    if key_padding_mask is not None:
        if key_padding_mask.dtype != torch.bool or key_padding_mask.shape != k.shape[:2]:
            raise ValueError(
                f"key_padding_mask must be bool {tuple(k.shape[:2])} with True = padding, "
                f"got {key_padding_mask.dtype} {tuple(key_padding_mask.shape)}"
            )
    if not normalizer_floor > 0:
        raise ValueError(f"normalizer_floor {normalizer_floor} must be above 0: set --normalizer-floor")
    if half_life is not None and (half_life.shape != q.shape[2:3] or not bool((half_life > 0).all())):
        raise ValueError(
            f"half_life must be [{q.shape[2]}], a number of keys above 0 for each head, got {half_life.tolist()}"
        )
    if (query_proportion is None) != (key_proportion is None):
        raise ValueError("query_proportion and key_proportion come together: give both, or None for both")
    for name, x, proportion in (("query", q, query_proportion), ("key", k, key_proportion)):
        if proportion is not None and proportion.shape != x.shape[:-1]:
            raise ValueError(f"{name}_proportion has shape {tuple(proportion.shape)}, expected {tuple(x.shape[:-1])}")
    check_visible(visible, q.shape[1], k.shape[1])
