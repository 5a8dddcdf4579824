"""Contrast: of what a query reads, a share of what every query reads is taken away.

    attn(q)_i = sum_j f(q_i) . f(k_j) v_j  /  sum_j f(q_i) . f(k_j)
    out_i     = attn(q)_i - contrast attn(1)_i

over the visible keys, re-weighted and faded as ever; 1 is a query that has all features alike. Non-negative features
leave every key some weight, so that an average of all values lies over each answer; without it, the keys that a query
singles out stand out. Both are read from the same sums, so that states are those without contrast. A row of weights
sums to 1 - contrast.

Shape legend: B batch, T queries, S keys, H heads, K key dimension, V value dimension.

Source:
    The difference of two attentions: Ye et al., Differential Transformer, ICLR 2025, section 2.1; here the second is
    flat. That attention is softened by its flat part: Wang et al., Anti-Oversmoothing in Deep Vision Transformers, ICLR
    2022, section 3.
"""

from typing import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from leap_fairseq.attention.arguments import Arguments
from leap_fairseq.attention.inputs import sum_dtype, zero_padding


def with_contrast(given: Arguments, algorithm: Callable[[Arguments], Tensor]) -> Tensor:
    """The attention, by an algorithm that knows no contrast.

    Args:
        given: the arguments, with contrast.
        algorithm: that computes them without.

    Returns:
        [B, T, H, V] in the type of the values.
    """
    flat = flat_queries(given)
    answers = algorithm(given._replace(contrast=None)).to(flat.v.dtype)
    averages = flat.query_proportion is flat.initial_state is flat.half_life is None
    mean = running_mean(flat) if averages else algorithm(flat)
    return (answers - given.contrast.to(mean.dtype).unsqueeze(-1) * mean).to(given.v.dtype)


def flat_queries(given: Arguments) -> Arguments:
    """The same attention with queries that have all features alike: one feature is left, the sum of the others.

    Args:
        given: the arguments.

    Returns:
        Arguments without contrast, in the type of sums.
    """
    dtype, initial = sum_dtype(given.q.dtype), given.initial_state
    k = zero_padding(given.k.to(dtype).sum(-1, keepdim=True), given.key_padding_mask)
    ones = k.new_ones(*given.q.shape[:3], 1)
    initial = None if initial is None else initial.flat(given.q.shape[3])
    return given._replace(q=ones, k=k, v=given.v.to(dtype), initial_state=initial, contrast=None)


def running_mean(given: Arguments) -> Tensor:
    """The attention of :func:`flat_queries` without proportions, half-life and earlier keys: averages of the values.

    Args:
        given: of one feature.

    Returns:
        [B, T, H, V].
    """
    v = zero_padding(given.v, given.key_padding_mask)
    # The first sum is that of no key.
    sums = F.pad(torch.cat((given.k * v, given.k), dim=-1), (0, 0, 0, 0, 1, 0)).cumsum(1)
    read = sums.index_select(1, given.visible.to(v.device))
    return read[..., :-1] / read[..., -1:].clamp(min=given.normalizer_floor)
