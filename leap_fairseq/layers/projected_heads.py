"""The parameters of multi-head linear attention, and what they make of its inputs: features, proportions, values.

Shape legend: B batch, T tokens, H heads, K head dimension, C model dimension.
"""

import math
from typing import Optional, Tuple, Union

import torch
from torch import Tensor, nn

from leap_fairseq.attention import KINDS, LeapProportion, full_visibility, spread_half_lives, static_proportion
from leap_fairseq.attention.checks import counted
from leap_fairseq.attention.pace import LearnedPace
from leap_fairseq.attention.visibility import Schedule


class ProjectedHeads(nn.Module):
    """What each head is given of a sequence. Arguments and errors are those of :class:`LinearAttention`."""

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        kdim: Optional[int] = None,
        vdim: Optional[int] = None,
        dropout: float = 0.0,
        bias: bool = True,
        kind: str = "leap",
        leap_factor: int = 4,
        normalizer_floor: float = 0.1,
        schedule: Schedule = full_visibility,
        max_query_positions: Optional[int] = None,
        max_key_positions: Optional[int] = None,
        half_life: Union[str, int, None] = None,
        learned_pace: bool = False,
        cross_attention: bool = False,
    ):
        super().__init__()
        known = [name for name, each in KINDS.items() if each.linear]
        if kind not in known:
            raise ValueError(f"unknown linear attention {kind!r}: choose from {', '.join(known)}")
        if counted("embed_dim", embed_dim, 1) % counted("num_heads", num_heads, 1):
            raise ValueError(f"embed_dim {embed_dim} is not divisible by {num_heads} attention heads")
        if not normalizer_floor > 0:
            raise ValueError(f"normalizer_floor {normalizer_floor} must be above 0: set --normalizer-floor")
        if KINDS[kind].needs_length and not (max_query_positions and max_key_positions):
            raise ValueError(f"{kind} attention needs max_query_positions and max_key_positions beforehand")
        if half_life is not None and cross_attention:
            raise ValueError("half_life is for self-attention: the frames of a source are all equally new")
        if learned_pace and half_life is None:
            raise ValueError("learned_pace is for half-lives: give half_life, too")
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        self.kind, self.normalizer_floor, self.schedule = KINDS[kind], normalizer_floor, schedule
        self.max_positions = (max_query_positions, max_key_positions)
        self.cross_attention = cross_attention
        # No buffer: the core reads it on the CPU, as it does the schedule.
        self.half_life = None if half_life is None else spread_half_lives(str(half_life), num_heads)
        self.scaling = 1.0 if self.kind.scale else self.head_dim**-0.5
        self.dropout_module = nn.Dropout(dropout)
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (
            nn.Linear(width, embed_dim, bias=bias) for width in (self.kdim, self.vdim, embed_dim, embed_dim)
        )
        for name in ("q_scale", "k_scale", "contrast"):
            learned = nn.Parameter(torch.empty(num_heads)) if name in self.kind.learned else None
            self.register_parameter(name, learned)
        if self.kind.proportions == "learned":
            sizes = (self.head_dim, leap_factor, self.kind.width)
            self.q_LeaP, self.k_LeaP = (LeapProportion(*sizes) for _ in range(2))
        self.pace = LearnedPace(embed_dim, num_heads) if learned_pace else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialises the projections as fairseq's ``MultiheadAttention`` does."""
        gain = 1 / math.sqrt(2) if self.kdim == self.vdim == self.embed_dim else 1.0
        for projection in (self.k_proj, self.v_proj, self.q_proj):
            nn.init.xavier_uniform_(projection.weight, gain=gain)
        nn.init.xavier_uniform_(self.out_proj.weight)
        if self.out_proj.bias is not None:
            nn.init.constant_(self.out_proj.bias, 0.0)
        for name, start in self.kind.learned.items():
            nn.init.constant_(getattr(self, name), start)
        if self.pace is not None:
            self.pace.reset_parameters()

    def _positions(self, x: Tensor, first: Union[int, Tensor], padding: Optional[Tensor] = None) -> Optional[Tensor]:
        """Positions [B, T] of the tokens of x, from the first one's, for a kind that reads them."""
        return first + token_positions(x, padding) if self.kind.needs_length else None

    def _queries(self, x: Tensor, positions: Optional[Tensor]) -> Tuple[Tensor, Optional[Tensor]]:
        """Features [B, T, H, ...] of queries, and their proportions."""
        q = self.q_proj(x)
        return self._mapped(q if self.kind.scale else q * self.scaling, positions, 0)

    def _mapped(self, x: Tensor, positions: Optional[Tensor], side: int) -> Tuple[Tensor, Optional[Tensor]]:
        """Features [B, T, H, ...] of queries (side 0) or keys (1), and their proportions [B, T, H] or None."""
        x = self.kind.mapped(x.unflatten(-1, (self.num_heads, self.head_dim)), (self.q_scale, self.k_scale)[side])
        if self.kind.proportions == "learned":
            return x, (self.q_LeaP, self.k_LeaP)[side](x)
        if self.kind.proportions == "static":
            return x, static_proportion(positions, self.max_positions[side]).unsqueeze(-1).expand(x.shape[:-1])
        return x, None

    def _values(self, value: Tensor) -> Tensor:
        v = self.v_proj(value).unflatten(-1, (self.num_heads, self.head_dim))
        # fairseq's --retain-dropout has dropout in evaluation.
        drops = self.training or getattr(self.dropout_module, "apply_during_inference", False)
        if not drops or self.dropout_module.p == 0:
            return v
        # Weights do not exist here: a dropped key leaves the numerator of every query and stays in the denominator,
        # which equals dropping weights in expectation.
        return v * self.dropout_module(v.new_ones(v.shape[:-1] + (1,)))


def token_positions(x: Tensor, padding: Optional[Tensor]) -> Tensor:
    """Positions [B, T] of the tokens of x [B, T, C] from 0, padding not counted."""
    if padding is None:
        return torch.arange(x.shape[1], device=x.device).expand(x.shape[0], -1)
    return ((~padding).cumsum(1) - 1).clamp(min=0)
