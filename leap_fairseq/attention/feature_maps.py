"""Feature maps: the non-negative f of linear attention, applied to the queries and the keys.

Shape legend: any shape; the last dimension is K, the dimension of a head, the last but one H, the heads.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from leap_fairseq.attention.checks import check_floating, check_tensor
from leap_fairseq.attention.compiled_features import can_map, compiled_hedgehog


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


def hedgehog(x: Tensor, scale: Tensor) -> Tensor:
    """``2K softmax([s x, -s x])`` over the features: exponential, so that a query may single out a key.

    The larger s, the sharper: at s = 0 all weights are equal. The features of a token are 1 on average whatever K is,
    so that a floor of the denominator means the same as with the other maps.

    Args:
        x: queries or keys, floating, [..., H, K].
        scale: s of each head, floating, [H].

    Returns:
        [..., H, 2K] in the type of x, >= 0.

    Raises:
        ValueError: x is not floating, or has another number of heads than the scale.

    Source:
        Zhang et al., The Hedgehog & the Porcupine, ICLR 2024, section 4.2, with the identity times s for its linear
        layer: that of keys and queries stands before the map already.
    """
    check_floating(x)
    check_tensor("the scale of a feature map", scale, x.shape[-2:-1])
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    scale = scale.to(wide.dtype)
    if can_map(wide, scale):
        return compiled_hedgehog(wide, scale).to(x.dtype)
    wide = wide * scale.unsqueeze(-1)
    return (torch.cat((wide, -wide), dim=-1).softmax(-1) * (2 * x.shape[-1])).to(x.dtype)
