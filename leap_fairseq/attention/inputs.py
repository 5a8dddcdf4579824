"""What computations share: silenced padding, features and values heads first, the type of the sums, the division.

Shape legend: B batch, T queries, S keys, H heads, K key dimension, V value dimension, F = 2K (K without proportions).
"""

import functools
from typing import Callable, Optional

import torch
from torch import Tensor

from leap_fairseq.attention.checks import SMALLEST
from leap_fairseq.attention.proportions import reweighted_features


def without_autocast(function: Callable) -> Callable:
    """Keeps autocast (fairseq's ``--amp``) from doing the sums of a function in half precision.

    Args:
        function: its first tensor argument says on which device it works.
    """

    @functools.wraps(function)
    def in_full_precision(*args, **kwargs):
        tensors = (x for x in (*args, *kwargs.values()) if isinstance(x, Tensor) and not x.is_meta)
        device = next((x.device.type for x in tensors), "cpu")
        with torch.autocast(device, enabled=False):
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


SMALLEST_SHARE = 1e-6
"""Of a slot, below which it counts less and less: one without a key has no average."""


def slot_queries(q: Tensor, sums: Tensor) -> Tensor:
    """Queries divided by the shares of their slots; see :mod:`leap_fairseq.attention.slots`.

    Args:
        q: [B, T, H, F].
        sums: of the keys' features, [B, T, H, F] or [B, 1, H, F], in the type of sums; their total may be any.

    Returns:
        [B, T, H, F] in the type of sums.
    """
    shares = sums / sums.sum(-1, keepdim=True).clamp(min=SMALLEST[sums.dtype])
    return q.to(sums.dtype) / shares.clamp(min=SMALLEST_SHARE)


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
