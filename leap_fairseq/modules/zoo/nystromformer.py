"""Nystromformer: softmax attention through landmarks.

    out = softmax(Q K~^T / sqrt(K)) A^+ softmax(Q~ K^T / sqrt(K)) V,     A = softmax(Q~ K~^T / sqrt(K))
    Z_0 = A^T / (|A|_1 |A|_inf),  Z <- Z (13 I - A Z (15 I - A Z (7 I - A Z))) / 4,  A^+ = Z after six of these

The landmarks Q~, K~ are means over m segments of a sequence, cut by its own length, so that padding takes no part; a
sequence of at most m tokens is its own landmarks. The paper's convolution of the values is left out, as in the
comparison that this zoo follows.

Shape legend: B batch, T tokens, H heads, K head dimension, m landmarks.
"""

from typing import Tuple

import torch
from torch import Tensor

from leap_fairseq.modules.zoo.base import ZooAttention, lengths_of, masked_softmax


class NystromformerAttention(ZooAttention):
    """``sizes.features`` landmarks.

    Attributes:
        iterations: of the pseudo-inverse.

    Source:
        Xiong et al., Nystromformer, AAAI 2021, section 3.
    """

    iterations = 6

    def attend(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor) -> Tensor:
        """See :meth:`ZooAttention.attend`."""
        q, k = q * self.head_dim**-0.25, k * self.head_dim**-0.25
        means, used = segment_means(valid, self.sizes.features, q.dtype)
        q_landmarks, k_landmarks = means.unsqueeze(1) @ q, means.unsqueeze(1) @ k
        used_keys = used[:, None, None, :]
        to_landmarks = masked_softmax(q @ k_landmarks.transpose(-1, -2), used_keys)
        between = masked_softmax(q_landmarks @ k_landmarks.transpose(-1, -2), used_keys)
        # A landmark without a token stands apart, so that the inverse of the others is what it would be alone.
        identity = torch.eye(between.shape[-1], dtype=q.dtype, device=q.device)
        between = torch.where(used[:, None, :, None], between, identity)
        from_landmarks = masked_softmax(q_landmarks @ k.transpose(-1, -2), valid[:, None, None, :])
        return to_landmarks @ (pseudo_inverse(between, self.iterations) @ (from_landmarks @ v))


def segment_means(valid: Tensor, count: int, dtype: torch.dtype) -> Tuple[Tensor, Tensor]:
    """The matrix of means over the segments of each sequence, token i of n lying in segment ``i * m // max(n, m)``.

    Args:
        valid: bool [B, T].
        count: m.
        dtype: of the matrix.

    Returns:
        [B, m, T], rows that sum to 1, or to 0 where a segment is empty; and bool [B, m], those that are not.
    """
    longest = lengths_of(valid).clamp(min=count).unsqueeze(1)
    segment = torch.arange(valid.shape[1], device=valid.device) * count // longest
    member = (segment.unsqueeze(1) == torch.arange(count, device=valid.device).unsqueeze(1)) & valid.unsqueeze(1)
    sizes = member.sum(-1, keepdim=True)
    return member.to(dtype) / sizes.clamp(min=1), sizes.squeeze(-1) > 0


def pseudo_inverse(matrix: Tensor, iterations: int) -> Tensor:
    """The iteration above, for each matrix [..., m, m] by itself; a step takes the error to its third power."""
    rows, columns = (matrix.abs().sum(dim).amax(-1) for dim in (-1, -2))
    inverse = matrix.transpose(-1, -2) / (rows * columns)[..., None, None]
    return refined_inverse(matrix, inverse, iterations)


def refined_inverse(matrix: Tensor, inverse: Tensor, iterations: int) -> Tensor:
    """An approximate inverse Z of A, [..., m, m], made better: ``Z <- Z (13 I - A Z (15 I - A Z (7 I - A Z))) / 4``."""
    identity = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    for _ in range(iterations):
        product = matrix @ inverse
        inverse = inverse @ (13 * identity - product @ (15 * identity - product @ (7 * identity - product))) / 4
    return inverse
