"""Sinusoidal positions that continue: the rows of fairseq's table with given numbers, however high.

Shape legend: B batch, T tokens or frames, C model dimension.
"""

from fairseq.modules import SinusoidalPositionalEmbedding
from torch import Tensor, nn

from leap_fairseq.layers.positions import sinusoids


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
    return sinusoids(numbers, embed.embedding_dim, embed.padding_idx).to(embed.weights)
