"""Kernelized attention, a Gaussian kernel in place of softmax, and Skyformer, its approximation through landmarks.

    kappa(x, y) = exp(-|x - y|^2 / 2)                                x, y: queries or keys times K ** -0.25
    kernelized:  out = kappa(Q, K) V                                 no normalisation
    skyformer:   out = kappa(Q, L) (kappa(L, L) + gamma I)^-1 kappa(L, K) V

The landmarks L are drawn from a sequence's own queries and keys, half from each. With D the row sums of
M = kappa(L, L) + gamma I, the singular values of I - D^-1/2 M D^-1/2 lie in [0, 1), so the iteration of Nystromformer
converges from the identity.

Shape legend: B batch, T tokens, H heads, K head dimension, m landmarks.
"""

import torch
from torch import Tensor

from leap_fairseq.modules.zoo.base import ZooAttention, drawn_positions, lengths_of, take
from leap_fairseq.modules.zoo.nystromformer import refined_inverse


class KernelizedAttention(ZooAttention):
    """The Gaussian kernel, all pairs: quadratic in the length.

    Source:
        Chen et al., Skyformer, NeurIPS 2021, section 4 (kernelized attention).
    """

    def attend(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor) -> Tensor:
        """See :meth:`ZooAttention.attend`."""
        q, k = q * self.head_dim**-0.25, k * self.head_dim**-0.25
        weights = gaussian(q, k).masked_fill(~valid[:, None, None, :], 0)
        return self.dropout_module(weights) @ v


class SkyformerAttention(ZooAttention):
    """``sizes.features`` landmarks, drawn anew for every training batch.

    Attributes:
        gamma: what is added to the diagonal.
        iterations: of the inverse.

    Source:
        Chen et al., Skyformer, NeurIPS 2021, section 4; gamma and iterations are the official code's.
    """

    gamma = 0.1
    iterations = 6

    def __init__(self, embed_dim, num_heads, sizes, **options):
        super().__init__(embed_dim, num_heads, sizes, **options)
        self.register_buffer("draws", torch.rand(sizes.features))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor) -> Tensor:
        """See :meth:`ZooAttention.attend`."""
        q, k = q * self.head_dim**-0.25, k * self.head_dim**-0.25
        positions = drawn_positions(self.drawn(self.draws), lengths_of(valid))
        of_queries = positions.shape[1] // 2
        landmarks = torch.cat((take(q, positions[:, :of_queries]), take(k, positions[:, of_queries:])), dim=2)
        between = gaussian(landmarks, landmarks)
        between = between + self.gamma * torch.eye(between.shape[-1], dtype=q.dtype, device=q.device)
        from_keys = gaussian(landmarks, k).masked_fill(~valid[:, None, None, :], 0)
        return gaussian(q, landmarks) @ (regularised_inverse(between, self.iterations) @ (from_keys @ v))


def gaussian(x: Tensor, y: Tensor) -> Tensor:
    """kappa of all pairs, [B, H, T, S] for x [B, H, T, K] and y [B, H, S, K]."""
    halves = x.square().sum(-1).unsqueeze(-1) / 2 + y.square().sum(-1).unsqueeze(-2) / 2
    return (x @ y.transpose(-1, -2) - halves).exp()


def regularised_inverse(matrix: Tensor, iterations: int) -> Tensor:
    """Inverse of positive definite matrices [..., m, m] with entries of at least 0, by way of their normalised form."""
    scale = matrix.sum(-1).rsqrt()
    scale = scale.unsqueeze(-1) * scale.unsqueeze(-2)
    normalised = matrix * scale
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    return refined_inverse(normalised, identity, iterations) * scale
