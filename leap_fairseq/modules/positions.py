"""Sinusoidal positions that continue: the rows of fairseq's table with given numbers, however high.

Shape legend: B batch, T tokens or frames, C model dimension.
"""

import math

import torch
from fairseq.modules import SinusoidalPositionalEmbedding
from torch import Tensor, nn


def position_rows(embed: nn.Module, numbers: Tensor) -> Tensor:
    """Position embeddings with these numbers.

    Args:
        embed: fairseq's sinusoidal or learned positional embedding.
        numbers: int64 [B, T] as fairseq counts: padding_idx for padding, padding_idx + 1 for the first token.

    Returns:
        [B, T, C].
    """
    if not isinstance(embed, SinusoidalPositionalEmbedding):
        return nn.functional.embedding(numbers, embed.weight, embed.padding_idx)
    if int(numbers.max()) < embed.weights.shape[0]:
        return embed.weights[numbers]
    # Beyond the table it is computed, and not kept: a text or a speech without end must not fill the memory.
    return _sinusoids(numbers, embed).to(embed.weights)


def _sinusoids(numbers: Tensor, embed: SinusoidalPositionalEmbedding) -> Tensor:
    """The rows of fairseq's table with these numbers, [B, T, C]; zero for padding.

    Source:
        Vaswani et al., Attention Is All You Need, 2017, section 3.5, in the layout of fairseq and tensor2tensor.
    """
    half = embed.embedding_dim // 2
    steps = torch.arange(half, dtype=torch.float, device=numbers.device)
    angles = numbers.float().unsqueeze(-1) * torch.exp(steps * -(math.log(10000) / (half - 1)))
    rows = nn.functional.pad(torch.cat((angles.sin(), angles.cos()), -1), (0, embed.embedding_dim % 2))
    return rows.masked_fill(numbers.eq(embed.padding_idx).unsqueeze(-1), 0)
