"""Informer: full softmax attention for the queries that need it, the mean of the values for the others.

    M(q_i) = max_j s_ij - mean_j s_ij,     s_ij = q_i . k_j / sqrt(K), j from U keys drawn at random
    out_i  = softmax_j(s_ij) v_j, all j    for the u queries with the largest M
    out_i  = mean_j v_j                    for the others

U = u = c ceil(ln n), n being the length of the sequence without its padding.

Shape legend: B batch, T tokens, H heads, K head dimension.
"""

import math

import torch
from torch import Tensor

from leap_fairseq.modules.zoo.base import ZooAttention, drawn_positions, lengths_of, masked_softmax, take


class InformerAttention(ZooAttention):
    """ProbSparse attention; c is such that the longest sequence has about ``sizes.features`` active queries.

    The sampled keys are drawn anew for every training batch.

    Source:
        Zhou et al., Informer, AAAI 2021, equation 4 and algorithm 1.
    """

    def __init__(self, embed_dim, num_heads, sizes, **options):
        super().__init__(embed_dim, num_heads, sizes, **options)
        self.factor = math.ceil(sizes.features / max(1.0, math.log(sizes.max_length)))
        longest = torch.tensor([sizes.max_length], device="cpu")
        self.register_buffer("draws", torch.rand(int(self.budget(longest))))

    def budget(self, lengths: Tensor) -> Tensor:
        """Active queries, and sampled keys, of sequences of int64 lengths: at most the length, at least 1."""
        logarithm = lengths.clamp(max=self.sizes.max_length).double().log().ceil().long()
        return torch.minimum((self.factor * logarithm).clamp(min=1), lengths)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor) -> Tensor:
        """See :meth:`ZooAttention.attend`."""
        q = q * self.head_dim**-0.5
        lengths = lengths_of(valid)
        budget = self.budget(lengths)
        mean = (v.sum(2, keepdim=True) / lengths[:, None, None, None]).expand_as(v)
        need = self.need(q, k, valid, budget)
        most = min(q.shape[2], int(self.budget(torch.tensor([q.shape[2]], device="cpu"))))
        index = need.topk(most, dim=-1).indices
        active = torch.arange(most, device=q.device) < budget.unsqueeze(1)
        index = index.unsqueeze(-1).expand(-1, -1, -1, q.shape[-1])
        scores = q.gather(2, index) @ k.transpose(-1, -2)
        attended = self.dropout_module(masked_softmax(scores, valid[:, None, None])) @ v
        attended = torch.where(active[:, None, :, None], attended, mean.gather(2, index))
        return mean.scatter(2, index, attended)

    @torch.no_grad()
    def need(self, q: Tensor, k: Tensor, valid: Tensor, budget: Tensor) -> Tensor:
        """M of each query, [B, H, T]; -inf where padded.

        Args:
            q: [B, H, T, K], scaled.
            k: [B, H, T, K].
            valid: bool [B, T].
            budget: int64 [B], sampled keys.
        """
        positions = drawn_positions(self.drawn(self.draws), lengths_of(valid))
        sampled = torch.arange(positions.shape[1], device=q.device) < budget.unsqueeze(1)
        sampled = sampled[:, None, None]
        scores = q @ take(k, positions).transpose(-1, -2)
        highest = scores.masked_fill(~sampled, -torch.inf).amax(-1)
        mean = scores.masked_fill(~sampled, 0).sum(-1) / budget[:, None, None]
        return (highest - mean).masked_fill(~valid[:, None], -torch.inf)
