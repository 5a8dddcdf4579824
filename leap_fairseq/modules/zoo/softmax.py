"""Softmax attention over everything: the baseline, quadratic in the length.

    out_i = sum_j exp(q_i . k_j / sqrt(K)) v_j / sum_j exp(q_i . k_j / sqrt(K))

Shape legend: B batch, T tokens, H heads, K head dimension.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from leap_fairseq.modules.zoo.base import ZooAttention


class SoftmaxAttention(ZooAttention):
    """Softmax attention by torch's fused kernels, which do not store the weights (on a CPU: without dropout).

    Source:
        Vaswani et al., Attention Is All You Need, 2017, equation 1.
    """

    def attend(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor) -> Tensor:
        """See :meth:`ZooAttention.attend`."""
        # A sequence that is all padding reads its first key, whose value is zero.
        first = torch.arange(valid.shape[1], device=valid.device) == 0
        seen = valid | (first & ~valid.any(1, keepdim=True))
        dropout = self.dropout_module.p if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None, None], dropout_p=dropout)
