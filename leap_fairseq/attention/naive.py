"""The law: attention over a visible prefix, written straight from the equations, in O(T S).

    w_ij  = f(q_i) . f(k_j) * cos(pi/2 * (P_q,i - P_k,j))     for j < visible[i] and j not padding, else 0
    out_i = sum_j w_ij v_j / max(sum_j w_ij, floor)

With a half-life, w_ij is multiplied by 2 ** -(age / half_life), the age of key j being visible[i] - 1 - j, or the sum
of the paces of the keys since; see :mod:`leap_fairseq.attention.half_life`. With slots, f(q_i) is first divided by the
shares of its features; see :mod:`leap_fairseq.attention.slots`. With contrast, the output for queries that are all
ones, times the contrast of the head, is taken away; see :mod:`leap_fairseq.attention.contrast`.

Shape legend: B batch, T queries, S keys, H heads, K key dimension, V value dimension.
"""

import math
from typing import Optional

import torch
from torch import Tensor

from leap_fairseq.attention.arguments import Arguments, checked
from leap_fairseq.attention.half_life import Fading
from leap_fairseq.attention.inputs import slot_queries, sum_dtype, without_autocast, zero_padding


def raw_weights(
    q: Tensor,
    k: Tensor,
    visible: Tensor,
    query_proportion: Optional[Tensor] = None,
    key_proportion: Optional[Tensor] = None,
    key_padding_mask: Optional[Tensor] = None,
    half_life: Optional[Tensor] = None,
    pace: Optional[Tensor] = None,
) -> Tensor:
    """The weights w_ij before normalisation, [B, H, T, S], zero where a key is padding or not visible."""
    dtype = sum_dtype(q.dtype)
    weights = torch.einsum("bthk,bshk->bhts", q.to(dtype), zero_padding(k, key_padding_mask).to(dtype))
    if query_proportion is not None and key_proportion is not None:
        p_q = query_proportion.to(dtype).transpose(1, 2).unsqueeze(-1)
        p_k = zero_padding(key_proportion, key_padding_mask).to(dtype).transpose(1, 2).unsqueeze(-2)
        weights = weights * torch.cos(math.pi / 2 * (p_q - p_k))
    visible = visible.to(weights.device).unsqueeze(-1)
    keys = torch.arange(k.shape[1], device=weights.device)
    fading = Fading.of(half_life, pace, key_padding_mask)
    if fading is not None:
        weights = weights * fading.left(keys + 1, visible, weights)
    return weights.masked_fill(keys >= visible, 0)


@without_autocast
def attention_weights(
    q: Tensor,
    k: Tensor,
    visible: Tensor,
    *,
    query_proportion: Optional[Tensor] = None,
    key_proportion: Optional[Tensor] = None,
    key_padding_mask: Optional[Tensor] = None,
    normalizer_floor: float = 0.1,
    half_life: Optional[Tensor] = None,
    slots: bool = False,
    contrast: Optional[Tensor] = None,
    pace: Optional[Tensor] = None,
) -> Tensor:
    """The normalised weights, for inspection: quadratic in memory, so only when asked for.

    Args:
        q, k, visible, query_proportion, key_proportion, key_padding_mask, normalizer_floor, half_life, slots, contrast,
            pace: as for :func:`leap_fairseq.attention.prefix_attention`.

    Returns:
        [B, H, T, S]; a row sums to 1, or to 1 - contrast, or to less where the floor is active.

    Raises:
        ValueError: arguments that do not fit together.
    """
    sides = (query_proportion, key_proportion, key_padding_mask)
    given = checked(Arguments(q, k, k, visible, *sides, normalizer_floor, None, half_life, slots, contrast, pace))

    def normalised(q: Tensor) -> Tensor:
        weights = raw_weights(q, k, given.visible, *sides, half_life, pace)
        return weights / weights.sum(-1, keepdim=True).clamp(min=normalizer_floor)

    weights = normalised(_divided(given) if slots else q)
    if contrast is None:
        return weights
    return weights - contrast.to(weights.dtype).view(-1, 1, 1) * normalised(torch.ones_like(q))


def naive(given: Arguments) -> Tensor:
    """Computes :func:`leap_fairseq.attention.prefix_attention` from all T x S weights."""
    q, k, v, visible, p_q, p_k, padding, floor, initial_state, half_life, slots, contrast, pace = given
    if contrast is not None:
        everything = given._replace(contrast=None)
        of_all = naive(everything._replace(q=torch.ones_like(q)))
        return naive(everything) - contrast.to(v.dtype).unsqueeze(-1) * of_all
    if slots:
        q = _divided(given)
    weights = raw_weights(q, k, visible, p_q, p_k, padding, half_life, pace)
    numerator = torch.einsum("bhts,bshv->bthv", weights, zero_padding(v, padding).to(weights.dtype))
    denominator = weights.sum(-1).transpose(1, 2).unsqueeze(-1)
    if initial_state is not None:
        earlier = initial_state.sums(q, p_q, visible, Fading.of(half_life, pace, padding)).transpose(1, 2)
        numerator, denominator = numerator + earlier[..., :-1], denominator + earlier[..., -1:]
    return (numerator / denominator.clamp(min=floor)).to(v.dtype)


def _divided(given: Arguments) -> Tensor:
    """Queries [B, T, H, K] divided by the shares of their features among the visible keys."""
    dtype = sum_dtype(given.q.dtype)
    k = zero_padding(given.k, given.key_padding_mask).to(dtype)
    seen = raw_weights(
        torch.ones_like(given.q[..., :1], dtype=dtype),
        torch.ones_like(k[..., :1]),
        given.visible,
        key_padding_mask=given.key_padding_mask,
        half_life=given.half_life,
        pace=given.pace,
    )
    sums = torch.einsum("bhts,bshk->bthk", seen, k)
    if given.initial_state is not None:
        z = given.initial_state.z_state.unsqueeze(1)
        fading = given.fading
        if fading is not None:
            visible = given.visible.to(z.device)
            z = z * fading.left(torch.zeros_like(visible), visible, z).transpose(-1, -2).unsqueeze(-1)
        sums = sums + z
    return slot_queries(given.q, sums)
