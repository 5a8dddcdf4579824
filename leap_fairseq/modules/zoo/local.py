"""Local attention: softmax within a sliding window.

    out_i = sum_j exp(q_i . k_j / sqrt(K)) v_j / sum_j exp(q_i . k_j / sqrt(K))     over |i - j| <= w

Queries go in blocks of w, each of which reads its own block of keys and the two beside it.

Shape legend: B batch, T tokens, H heads, K head dimension, M blocks, L tokens of a block.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from leap_fairseq.modules.zoo.base import ZooAttention, masked_softmax


class LocalAttention(ZooAttention):
    """A window of ``sizes.block`` tokens to each side.

    Source:
        Beltagy, Peters, Cohan, Longformer, 2020, section 3.1 (sliding window).
    """

    def attend(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor) -> Tensor:
        """See :meth:`ZooAttention.attend`."""
        window, length = self.sizes.block, q.shape[2]
        block = min(window, length)
        fill = -length % block
        queries = F.pad(q, (0, 0, 0, fill)).unflatten(2, (-1, block))
        keys, values = (neighbours(x.transpose(2, 3), block, fill).transpose(-1, -2) for x in (k, v))
        near = neighbours(valid.unsqueeze(1), block, fill)
        offset = torch.arange(3 * block, device=q.device) - block - torch.arange(block, device=q.device).unsqueeze(1)
        seen = near.unsqueeze(3) & (offset.abs() <= window)
        scores = queries @ keys.transpose(-1, -2) * self.head_dim**-0.5
        out = self.dropout_module(masked_softmax(scores, seen)) @ values
        return out.flatten(2, 3)[:, :, :length]


def neighbours(x: Tensor, block: int, fill: int) -> Tensor:
    """Each block with the one before and the one after it, zero beyond the ends.

    Args:
        x: [B, H, ..., T].
        block: L.
        fill: T + fill is M times L.

    Returns:
        [B, H, M, ..., 3L].
    """
    windows = F.pad(x, (block, block + fill)).unfold(-1, 3 * block, block)
    return windows.movedim(-2, 2)
