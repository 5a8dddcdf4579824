"""Feature maps: the non-negative f of linear attention, applied to the (scaled) queries and the keys.

Shape legend: any shape; the last dimension is K, the dimension of a head.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from leap_fairseq.attention.checks import check_floating


def relu(x: Tensor) -> Tensor:
    """``max(x, 0)``, the feature map of cosFormer and LeaPformer.

    Args:
        x: queries or keys, floating, any shape.

    Returns:
        A tensor of the same shape, >= 0.

    Raises:
        ValueError: x is not floating.

    Source:
        Qin et al., cosFormer, ICLR 2022, equation 8.
    """
    check_floating(x)
    return F.relu(x)


def elu_plus_one(x: Tensor) -> Tensor:
    """``elu(x) + 1``, which is positive everywhere and so never gives an empty denominator.

    Args:
        x: queries or keys, floating, any shape.

    Returns:
        A tensor of the same shape, > 0.

    Raises:
        ValueError: x is not floating.

    Source:
        Katharopoulos et al., Transformers are RNNs, ICML 2020, equation 7.
    """
    check_floating(x)
    # elu(x) is close to -1 for most x < 0, and adding 1 would leave a half type no digits.
    return torch.where(x > 0, x + 1, x.clamp(max=0).exp())
