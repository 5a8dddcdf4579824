"""What all algorithms do first: check the arguments, silence the padding, choose the type of the sums.

Shape legend: B batch, T queries, S keys, H heads, K key dimension, V value dimension, F = 2K (K without proportions).
"""

import functools
from typing import TYPE_CHECKING, Callable, NamedTuple, Optional

import torch
from torch import Tensor

from leap_fairseq.attention.proportions import check_proportions, reweighted_features
from leap_fairseq.attention.visibility import check_visible

if TYPE_CHECKING:
    from leap_fairseq.attention.state import LinearAttentionState


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
    initial_state: Optional["LinearAttentionState"]
    half_life: Optional[Tensor]


class HeadInputs(NamedTuple):
    """Arguments of an algorithm, checked and heads first, in the type of the sums.

    Attributes:
        query_features: [B, H, T, F].
        key_features: [B, H, S', F], zero where padded; S' is the last visible count, later keys are never read.
        values: [B, H, S', V + 1]; the last column is one, so that one product gives numerator and denominator.
        visible: int64 [T] on the CPU.
    """

    query_features: Tensor
    key_features: Tensor
    values: Tensor
    visible: Tensor


def without_autocast(function: Callable) -> Callable:
    """Keeps autocast (fairseq's ``--amp``) from doing the sums of a function in half precision.

    Args:
        function: its first tensor argument says on which device it works.
    """

    @functools.wraps(function)
    def in_full_precision(*args, **kwargs):
        device = next(x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)).device
        with torch.autocast(device.type, enabled=False):
            return function(*args, **kwargs)

    return in_full_precision


def sum_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type in which sums over keys are kept: float32 at least."""
    return torch.promote_types(dtype, torch.float32)


def zero_padding(x: Tensor, key_padding_mask: Optional[Tensor]) -> Tensor:
    """Zeroes padded positions so that neither junk nor inf in them reaches an output or a gradient.

    Args:
        x: [B, S, ...].
        key_padding_mask: bool [B, S], True = padding, or None.
    """
    if key_padding_mask is None:
        return x
    return x.masked_fill(key_padding_mask.reshape(key_padding_mask.shape + (1,) * (x.dim() - 2)), 0)


def key_side(k: Tensor, v: Tensor, key_proportion: Optional[Tensor], key_padding_mask: Optional[Tensor]):
    """Features [B, H, S, F] and values with a column of ones [B, H, S, V + 1] of the keys, heads first."""
    dtype = sum_dtype(k.dtype)
    k, v = zero_padding(k, key_padding_mask).to(dtype), zero_padding(v, key_padding_mask).to(dtype)
    if key_proportion is not None:
        key_proportion = zero_padding(key_proportion, key_padding_mask)
    values = torch.cat((v, v.new_ones(v.shape[:-1] + (1,))), dim=-1)
    return reweighted_features(k, key_proportion).transpose(1, 2), values.transpose(1, 2)


def query_side(q: Tensor, query_proportion: Optional[Tensor]) -> Tensor:
    """Features [B, H, T, F] of the queries, heads first."""
    return reweighted_features(q.to(sum_dtype(q.dtype)), query_proportion).transpose(1, 2)


def head_inputs(given: Arguments) -> HeadInputs:
    """Prepares the arguments for a fast algorithm."""
    visible = given.visible.cpu()
    last = int(visible[-1]) if visible.numel() else 0
    keys = (given.k, given.v, given.key_proportion, given.key_padding_mask)
    features, values = key_side(*(None if x is None else x[:, :last] for x in keys))
    return HeadInputs(query_side(given.q, given.query_proportion), features, values, visible)


def normalise(sums: Tensor, normalizer_floor: float, dtype: torch.dtype) -> Tensor:
    """Divides the numerator by the floored denominator.

    Args:
        sums: [B, H, T, V + 1], the numerator and, in the last column, the denominator.
        normalizer_floor: the denominator is at least this.
        dtype: of the result.

    Returns:
        [B, T, H, V].
    """
    out = sums[..., :-1] / sums[..., -1:].clamp(min=normalizer_floor)
    return out.transpose(1, 2).to(dtype)


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
    check_proportions(q, k, (query_proportion, key_proportion))
    check_visible(visible, q.shape[1], k.shape[1])
