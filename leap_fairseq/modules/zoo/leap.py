"""The linear attentions of this project as members of the zoo, and LeaPformer with the smallest proportion network.

    P = sigmoid(W x + b)          one layer, in place of sigmoid(W2 relu(W1 x + b1) + b2)

Shape legend: B batch, T tokens, H heads, K head dimension.
"""

import torch
from torch import Tensor, nn

from leap_fairseq.modules.attention_spec import AttentionSpec
from leap_fairseq.modules.multihead_linear_attention import MultiheadLinearAttention
from leap_fairseq.modules.zoo.base import ZooSizes


class OneLayerProportion(nn.Sequential):
    """``P = sigmoid(W x + b)``, shared by all heads of a layer.

    Args:
        head_dim: K.

    Source:
        The official code for Long-Range Arena, where an inner size of 1 leaves the hidden layer out.
    """

    def __init__(self, head_dim: int):
        super().__init__(nn.Linear(head_dim, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Gives the proportion [B, T, H], float32 at least, of queries or keys [B, T, H, K]."""
        linear, sigmoid = self
        logits = linear(x)
        return sigmoid(logits.to(torch.promote_types(x.dtype, torch.float32))).squeeze(-1)


def linear_attention(kind: str, embed_dim: int, num_heads: int, sizes: ZooSizes, **options) -> MultiheadLinearAttention:
    """Full linear self-attention of a kind, a linear one of :data:`leap_fairseq.attention.KINDS`."""
    lengths = {"max_query_positions": sizes.max_length, "max_key_positions": sizes.max_length}
    spec = AttentionSpec(kind, sizes.leap_factor, sizes.normalizer_floor, **lengths)
    return spec.build(embed_dim, num_heads, self_attention=True, **options)


def one_layer_leap(embed_dim: int, num_heads: int, sizes: ZooSizes, **options) -> MultiheadLinearAttention:
    """LeaP attention whose proportions come from one layer."""
    attention = linear_attention("leap", embed_dim, num_heads, sizes, **options)
    attention.q_LeaP = OneLayerProportion(attention.head_dim)
    attention.k_LeaP = OneLayerProportion(attention.head_dim)
    return attention
