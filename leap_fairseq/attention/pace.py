"""The pace of a key, learned from the token itself: what it counts for in the ages of those before it.

A half-life of 64 tokens is as long behind a heading as behind a comma. With a pace, tokens that begin something new let
a head forget what was before them, and tokens that mean nothing to it leave its memory as it is; see
:mod:`leap_fairseq.attention.half_life`.

Shape legend: B batch, S keys, H heads, C model dimension.
"""

import torch
from torch import Tensor, nn

STEEPNESS = 2.0
"""A key counts for e**-2 to e**2 keys, 0.14 to 7.4."""


class LearnedPace(nn.Linear):
    """``exp(2 tanh(W x + b))``, for each head; begins at 1, which is what a key counts for without it.

    Args:
        embed_dim: C.
        num_heads: H.

    Source:
        Decays that depend on the token: Yang et al., Gated Linear Attention, ICML 2024; Lin et al., Forgetting
        Transformer, ICLR 2025. Here they are bounded, and relative to the half-life of the head.
    """

    def reset_parameters(self) -> None:
        """Begins with a pace of 1."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Gives the pace of each token.

        Args:
            x: [B, S, C], of which the keys are made.

        Returns:
            [B, S, H], float32 at least.
        """
        logits = super().forward(x)
        return torch.exp(STEEPNESS * torch.tanh(logits.to(torch.promote_types(logits.dtype, torch.float32))))
