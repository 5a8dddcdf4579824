"""Proportions: where in its sequence a token stands, as a number in [0, 1].

Attention is re-weighted by cos(pi/2 * (P_q - P_k)). LeaPformer learns the proportion from the token itself;
cosFormer divides the position by a length that must be known beforehand.

Shape legend: B batch, T tokens, H heads, K head dimension.
"""

import math
from typing import Optional

import torch
from torch import Tensor, nn

from leap_fairseq.attention.checks import INTEGERS, check_tensor, counted


class LeapProportion(nn.Sequential):
    """The LeaP network: ``P = sigmoid(W2 relu(W1 x + b1) + b2)``, shared by all heads of a layer.

    The parameters are named ``0.weight``, ``0.bias``, ``2.weight``, ``2.bias``, as in the official code, so that
    its checkpoints load.

    Args:
        head_dim: K, the dimension of a head.
        leap_factor: W1 maps to K / leap_factor.
        width: how many features it reads for each dimension of the head, as an ``AttentionKind`` has them.

    Raises:
        ValueError: leap_factor is below 1 or does not divide head_dim, or one of the numbers is not whole.

    Source:
        Agostinelli, Hong, Chen, LeaPformer, ICML 2024, section 3.2.
    """

    def __init__(self, head_dim: int, leap_factor: int = 4, width: int = 1):
        if counted("head_dim", head_dim) % max(counted("leap_factor", leap_factor), 1) or not leap_factor:
            divisors = [d for d in range(1, head_dim + 1) if head_dim % d == 0]
            raise ValueError(
                f"leap_factor {leap_factor} does not divide the head dimension {head_dim}: "
                f"choose --leap-factor from {divisors}"
            )
        hidden = head_dim // leap_factor
        super().__init__(nn.Linear(width * head_dim, hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Gives the proportion of each token.

        Args:
            x: [B, T, H, width * K], queries or keys behind the feature map.

        Returns:
            [B, T, H] in (0, 1), float32 at least: near 1 a half type has few numbers left, and the cosine of a
            difference that is close to 1 would be rounding alone.

        Raises:
            ValueError: x has another number of features than the network, or another type without autocast.
        """
        first, relu, second, sigmoid = self
        width, dtype = first.in_features, first.weight.dtype
        if x.shape[-1:] != (width,) or x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
            check_tensor("q and k of a LeaP network", x, (*x.shape[:-1], width), [dtype])
        logits = second(relu(first(x)))
        return sigmoid(logits.to(torch.promote_types(x.dtype, torch.float32))).squeeze(-1)


def static_proportion(positions: Tensor, max_length: int) -> Tensor:
    """The proportion of cosFormer: ``i / M``, at most 1.

    Args:
        positions: integer positions from 0, any shape.
        max_length: M, the length of the longest sequence, in tokens.

    Returns:
        float32 of the shape of ``positions``, in [0, 1].

    Raises:
        ValueError: max_length is below 1 or no whole number, or positions are not integers.

    Source:
        Qin et al., cosFormer, ICLR 2022, equation 10.
    """
    if counted("max_length", max_length) < 1:
        raise ValueError(f"max_length {max_length} must be at least 1: cosformer needs the maximum length beforehand")
    check_tensor("positions", positions, positions.shape, INTEGERS)
    return (positions.clamp(min=0).float() / max_length).clamp(max=1.0)


def reweighted_features(x: Tensor, proportion: Optional[Tensor]) -> Tensor:
    """Turns the re-weighting into features: cos(a - b) = cos a cos b + sin a sin b.

    Args:
        x: [B, T, H, K], queries or keys behind the feature map.
        proportion: [B, T, H] in [0, 1], or None for no re-weighting.

    Returns:
        [B, T, H, 2K], ``(x cos(pi/2 P), x sin(pi/2 P))``; or x itself where there is no proportion. The dot product
        of a query's and a key's features is the attention weight before normalisation.
    """
    if proportion is None:
        return x
    angle = (proportion.to(x.dtype) * (math.pi / 2)).unsqueeze(-1)
    return torch.cat((x * angle.cos(), x * angle.sin()), dim=-1)
