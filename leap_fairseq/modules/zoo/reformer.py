"""Reformer: softmax attention among tokens that hash alike.

    k_j = q_j / |q_j|,   h(q) = argmax [q R; -q R]                       R: [K, buckets / 2], one for each round
    out_i = sum_r exp(z_i^r - z_i) sum_j exp(q_i . k_j / sqrt(K) - z_i^r) v_j,     z_i = log sum_r exp(z_i^r)

In round r the tokens are sorted by their hash and cut into chunks; j runs over i's own chunk and the one before it.
A token reads itself only if there is nothing else. Padding hashes behind all tokens, and the number of buckets comes
from the longest length, so that a sequence's chunks are its own.

Shape legend: B batch, R rounds, H heads, T tokens, K head dimension, M chunks, L tokens of a chunk.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from leap_fairseq.modules.zoo.base import ZooAttention

ITSELF = -1e5
"""The score of a token with itself: below all others, above padding. Source: the official code."""


class ReformerAttention(ZooAttention):
    """LSH attention: ``sizes.hashes`` rounds, chunks of ``sizes.block``.

    The directions are drawn anew for every training batch.

    Source:
        Kitaev, Kaiser, Levskaya, Reformer, ICLR 2020, section 2 (without the discount for pairs that meet in several
        rounds, which its implementations leave out too).
    """

    def __init__(self, embed_dim, num_heads, sizes, **options):
        super().__init__(embed_dim, num_heads, sizes, own_keys=False, **options)
        half = max(1, -(-sizes.max_length // (2 * sizes.block)))
        self.register_buffer("directions", torch.randn(sizes.hashes, num_heads, self.head_dim, half))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor) -> Tensor:
        """See :meth:`ZooAttention.attend`."""
        order = self.sorted_order(q, valid)
        position = order.argsort(-1)
        chunks = [_chunk(_sort(x, order), self.sizes.block) for x in (q, F.normalize(q, dim=-1), v)]
        number = _chunk(order.unsqueeze(-1), self.sizes.block, fill=-1).squeeze(-1)
        real = _chunk(_sort(valid[:, None, :, None], order), self.sizes.block).squeeze(-1)
        queries, (keys, values, key_number, key_real) = chunks[0], map(_with_previous, (*chunks[1:], number, real))
        scores = queries @ keys.transpose(-1, -2) * self.head_dim**-0.5
        scores = scores.masked_fill(number.unsqueeze(-1) == key_number.unsqueeze(-2), ITSELF)
        scores = scores.masked_fill(~key_real.unsqueeze(-2), torch.finfo(scores.dtype).min)
        weights = scores.softmax(-1).masked_fill(~key_real.unsqueeze(-2), 0)
        out = (self.dropout_module(weights) @ values).flatten(3, 4)
        total = scores.logsumexp(-1, keepdim=True).flatten(3, 4)
        out, total = (_sort(x[:, :, :, : q.shape[2]], position) for x in (out, total))
        return (total.softmax(1) * out).sum(1)

    @torch.no_grad()
    def sorted_order(self, q: Tensor, valid: Tensor) -> Tensor:
        """The tokens in the order of their hashes, int64 [B, R, H, T]; within a bucket in that of the sequence."""
        directions = self.drawn(self.directions, torch.randn_like).to(q)
        projected = torch.einsum("bhtk,rhkn->brhtn", q, directions)
        bucket = torch.cat((projected, -projected), dim=-1).argmax(-1)
        return bucket.masked_fill(~valid[:, None, None], 2 * directions.shape[-1]).argsort(dim=-1, stable=True)


def _sort(x: Tensor, order: Tensor) -> Tensor:
    """x [B, H, T, D] or [B, R, H, T, D] in the order [B, R, H, T]: [B, R, H, T, D]."""
    if x.dim() == 4:
        x = x.unsqueeze(1)
    x = x.expand(*order.shape, x.shape[-1])
    return x.gather(3, order.unsqueeze(-1).expand_as(x))


def _chunk(x: Tensor, size: int, fill: int = 0) -> Tensor:
    """[B, R, H, T, D] -> [B, R, H, M, L, D]; the last chunk is filled up."""
    return F.pad(x, (0, 0, 0, -x.shape[3] % size), value=fill).unflatten(3, (-1, size))


def _with_previous(x: Tensor) -> Tensor:
    """[B, R, H, M, L, ...] -> [B, R, H, M, 2L, ...]: the chunk before, zero before the first, and each chunk."""
    previous = torch.cat((torch.zeros_like(x[:, :, :, :1]), x[:, :, :, :-1]), dim=3)
    return torch.cat((previous, x), dim=4)
