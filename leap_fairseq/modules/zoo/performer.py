"""Performer: softmax attention by positive random features, a feature map for the linear attention of this project.

    f(x)  = exp(W x - |x|^2 / 2) / sqrt(m)          x = q or k times K ** -0.25, rows of W orthogonal, W: [m, K]
    out_i = sum_j f(q_i) . f(k_j) v_j / sum_j f(q_i) . f(k_j)

E[f(q) . f(k)] = exp(q . k / sqrt(K)). What divides numerator and denominator alike is left out: 1 / sqrt(m), and the
greatest exponent of each query and of all keys of a head.

Shape legend: B batch, T tokens, H heads, K head dimension, m features.
"""

import torch
from torch import Tensor

from leap_fairseq.attention import full_visibility, prefix_attention
from leap_fairseq.modules.zoo.base import ZooAttention

FLOOR = 1e-20
"""Of the denominator: far below any sum of features whose greatest are 1, far above what float32 can divide by."""


class PerformerAttention(ZooAttention):
    """FAVOR+ with ``sizes.features`` orthogonal random features, drawn once and kept.

    Source:
        Choromanski et al., Rethinking Attention with Performers, ICLR 2021, lemma 1 and section 2.4.
    """

    def __init__(self, embed_dim, num_heads, sizes, **options):
        super().__init__(embed_dim, num_heads, sizes, **options)
        self.register_buffer("directions", orthogonal_directions(sizes.features, self.head_dim))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor) -> Tensor:
        """See :meth:`ZooAttention.attend`."""
        q, k = self._exponents(q), self._exponents(k)
        q = (q - q.detach().amax(-1, keepdim=True)).exp()
        hidden = ~valid[:, None, :, None]
        highest = k.detach().masked_fill(hidden, -torch.inf).amax((2, 3), keepdim=True)
        # A sequence that is all padding has none. Padded exponents may exceed it, and are not exponentiated.
        k = (k - highest.clamp(min=torch.finfo(k.dtype).min)).masked_fill(hidden, 0).exp()
        length = q.shape[2]
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        visible = full_visibility(length, length)
        out = prefix_attention(q, k, v, visible, key_padding_mask=~valid, normalizer_floor=FLOOR)
        return out.transpose(1, 2)

    def _exponents(self, x: Tensor) -> Tensor:
        """W x - |x|^2 / 2, [B, H, T, m]."""
        x = x * self.head_dim**-0.25
        return x @ self.directions.to(x).t() - x.square().sum(-1, keepdim=True) / 2


def orthogonal_directions(count: int, dim: int) -> Tensor:
    """Gaussian vectors, orthogonal within each group of ``dim``, of the lengths of independent ones.

    Args:
        count: m.
        dim: K.

    Returns:
        [m, K].
    """
    bases, triangles = torch.linalg.qr(torch.randn(-(-count // dim), dim, dim))
    # LAPACK's signs would favour one half of the space, and the features would not be those of softmax.
    bases = bases * triangles.diagonal(dim1=1, dim2=2).sign().unsqueeze(1)
    return bases.transpose(1, 2).reshape(-1, dim)[:count] * torch.randn(count, dim).norm(dim=1, keepdim=True)
