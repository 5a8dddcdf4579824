"""Linformer: the positions of keys and values are projected to k of them.

    out = softmax(Q (E K)^T / sqrt(K)) (E V)          E: [k, n], n the longest length

E is tied to positions: a shorter sequence is what the full one with zeros behind it would be, computed by leaving the
columns of E beyond it out, and a longer one cannot be. E is random and fixed here, as in the theorem of the paper and,
in effect, in the comparison that this zoo follows: learned, it would have more parameters than the rest of the model.

Shape legend: B batch, T tokens, H heads, K head dimension, k projected positions, n longest length.
"""

import torch
from torch import Tensor

from leap_fairseq.modules.zoo.base import ZooAttention


class LinformerAttention(ZooAttention):
    """Keys and values projected to ``sizes.features`` positions, by one Gaussian matrix for each head.

    Source:
        Wang et al., Linformer, 2020, equation 7; theorem 2 for entries from N(0, 1 / k).
    """

    def __init__(self, embed_dim, num_heads, sizes, **options):
        super().__init__(embed_dim, num_heads, sizes, **options)
        projection = torch.randn(num_heads, sizes.features, sizes.max_length) * sizes.features**-0.5
        self.register_buffer("projection", projection)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor) -> Tensor:
        """See :meth:`ZooAttention.attend`.

        Raises:
            ValueError: a sequence longer than the projection.
        """
        length = q.shape[2]
        if length > self.sizes.max_length:
            raise ValueError(
                f"a sequence of {length} tokens does not fit linformer's projection of {self.sizes.max_length} "
                "positions: build it with a larger max_length"
            )
        projection = self.projection[:, :, :length].to(q)
        keys, values = projection @ k, projection @ v
        scores = q @ keys.transpose(-1, -2) * self.head_dim**-0.5
        return self.dropout_module(scores.softmax(-1)) @ values
