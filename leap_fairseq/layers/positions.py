"""Sinusoidal positions by their numbers, however high; shape legend: B batch, T tokens, C model dimension."""

import math

import torch
from torch import Tensor, nn


def sinusoids(numbers: Tensor, embed_dim: int, padding_idx: int) -> Tensor:
    """The rows of fairseq's table of positions.

    Args:
        numbers: int64 [B, T] as fairseq counts: padding_idx for padding, padding_idx + 1 for the first token.
        embed_dim: C.
        padding_idx: of the dictionary.

    Returns:
        float32 [B, T, C]; zero for padding.

    Source:
        Vaswani et al., Attention Is All You Need, 2017, section 3.5, in the layout of fairseq and tensor2tensor.
    """
    half = embed_dim // 2
    steps = torch.arange(half, dtype=torch.float, device=numbers.device)
    angles = numbers.float().unsqueeze(-1) * torch.exp(steps * -(math.log(10000) / (half - 1)))
    rows = nn.functional.pad(torch.cat((angles.sin(), angles.cos()), -1), (0, embed_dim % 2))
    return rows.masked_fill(numbers.eq(padding_idx).unsqueeze(-1), 0)
