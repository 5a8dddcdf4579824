"""BigBird: block-sparse softmax attention, a window, global blocks and random ones.

    out_i = sum_j exp(q_i . k_j / sqrt(K)) v_j / sum_j exp(q_i . k_j / sqrt(K))     over the blocks that i's block sees

A block sees itself and its neighbours, the first and the last block, and some at random; the first and the last block
see all. The last block is that of the sequence and not of its padding, and the random ones are drawn from its own: each
pair of blocks has a fixed random rank, and the highest ranks within the sequence win.

Shape legend: B batch, H heads, T tokens, K head dimension, M blocks, L tokens of a block, N blocks that one sees.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from leap_fairseq.modules.zoo.base import ZooAttention, lengths_of, masked_softmax


class BigBirdAttention(ZooAttention):
    """Blocks of ``sizes.block`` tokens, ``sizes.random_blocks`` random ones for each head and block of queries.

    Source:
        Zaheer et al., Big Bird, NeurIPS 2020, section 2 and appendix D (internal transformer construction).
    """

    def __init__(self, embed_dim, num_heads, sizes, **options):
        super().__init__(embed_dim, num_heads, sizes, **options)
        blocks = -(-sizes.max_length // sizes.block)
        self.register_buffer("ranks", torch.rand(num_heads, blocks, blocks))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor) -> Tensor:
        """See :meth:`ZooAttention.attend`.

        Raises:
            ValueError: a sequence longer than ``sizes.max_length``.
        """
        size, length = self.sizes.block, q.shape[2]
        q = q * self.head_dim**-0.5
        queries, keys, values = (F.pad(x, (0, 0, 0, -length % size)).unflatten(2, (-1, size)) for x in (q, k, v))
        real = F.pad(valid, (0, -length % size)).unflatten(1, (-1, size)).unsqueeze(1)
        last = (lengths_of(valid) - 1) // size
        out = self._sparse(queries, keys, values, real, self.plan(last, queries.shape[2]))
        # The first and the last block of a sequence, one of which is left out where they are the same.
        ends = torch.stack((torch.zeros_like(last), last), dim=1)
        chosen = F.one_hot(ends, queries.shape[2]).to(q) * torch.stack((last > 0, last >= 0), dim=1).unsqueeze(-1)
        index = ends[:, None, :, None, None].expand(-1, q.shape[1], -1, *queries.shape[3:])
        dense = masked_softmax(queries.gather(2, index).flatten(2, 3) @ k.transpose(-1, -2), valid[:, None, None])
        dense = (self.dropout_module(dense) @ v).unflatten(2, (2, size))
        everywhere = torch.einsum("brm,bhrlk->bhmlk", chosen, dense)
        out = torch.where(chosen.sum(1).bool()[:, None, :, None, None], everywhere, out)
        return out.flatten(2, 3)[:, :, :length]

    def plan(self, last: Tensor, blocks: int) -> Tensor:
        """Which blocks each block sees.

        Args:
            last: int64 [B], the last block of each sequence.
            blocks: M.

        Returns:
            bool [B, H, M, M], at most 5 + random_blocks of a row True.
        """
        if blocks > self.ranks.shape[-1]:
            raise ValueError(
                f"{blocks} blocks of {self.sizes.block} tokens are more than the {self.ranks.shape[-1]} that this "
                "bigbird was built for: build it with a larger max_length"
            )
        number = torch.arange(blocks, device=last.device)
        last = last[:, None, None, None]
        fixed = ((number.unsqueeze(1) - number).abs() <= 1) | (number == 0) | (number == last)
        within = number <= last
        count = min(self.sizes.random_blocks, blocks)
        ranks = self.ranks[:, :blocks, :blocks].masked_fill(fixed | ~within, -1)
        # Stable: which of two equal ranks is first must not depend on how many blocks there are behind the sequence.
        highest, index = ranks.sort(dim=-1, descending=True, stable=True)
        drawn = torch.zeros_like(ranks, dtype=torch.bool).scatter(-1, index[..., :count], highest[..., :count] >= 0)
        return (fixed | drawn) & within

    def _sparse(self, queries: Tensor, keys: Tensor, values: Tensor, real: Tensor, sees: Tensor) -> Tensor:
        """Attention [B, H, M, L, K] of each block to those that it sees."""
        blocks = keys.shape[2]
        there, index = sees.to(torch.uint8).topk(min(blocks, 5 + self.sizes.random_blocks), dim=-1)
        keys, values, real = (_gather(x.expand(*keys.shape[:2], *x.shape[2:]), index) for x in (keys, values, real))
        seen = real & there.bool().unsqueeze(-1)
        weights = masked_softmax(queries @ keys.flatten(3, 4).transpose(-1, -2), seen.flatten(3, 4).unsqueeze(3))
        return self.dropout_module(weights) @ values.flatten(3, 4)


def _gather(x: Tensor, index: Tensor) -> Tensor:
    """The blocks of x [B, H, M, L, ...] at int64 [B, H, M, N]: [B, H, M, N, L, ...]."""
    flat = index.flatten(2)
    flat = flat.view(*flat.shape, *[1] * (x.dim() - 3)).expand(-1, -1, -1, *x.shape[3:])
    return x.gather(2, flat).unflatten(2, index.shape[2:])
