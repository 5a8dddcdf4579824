"""Between fairseq's shape and the core's: heads ready for attention, positions of tokens, masks read as schedules.

Shape legend: B batch, T queries, S keys, H heads, K head dimension, C model dimension.
"""

from typing import NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from leap_fairseq.attention import LinearAttentionState, attention_weights, prefix_attention


class Heads(NamedTuple):
    """Arguments of the core.

    Attributes:
        q, k, v: [B, T, H, K].
        query_proportion, key_proportion: [B, T, H], or None.
        key_padding_mask: [B, S], or None.
        normalizer_floor: the denominator is at least this.
        half_life: [H], or None.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    query_proportion: Optional[Tensor]
    key_proportion: Optional[Tensor]
    key_padding_mask: Optional[Tensor]
    normalizer_floor: float
    half_life: Optional[Tensor] = None

    def _options(self) -> dict:
        return {name: getattr(self, name) for name in self._fields[3:]}

    def attend(self, visible: Tensor, initial_state: Optional[LinearAttentionState] = None) -> Tensor:
        """Output [B, T, H, K]."""
        return prefix_attention(self.q, self.k, self.v, visible, initial_state=initial_state, **self._options())

    def weights(self, visible: Tensor) -> Tensor:
        """Normalised weights [B, H, T, S]."""
        return attention_weights(self.q, self.k, visible, **self._options())

    def step(self, state: LinearAttentionState, visible: Tensor) -> Tuple[Tensor, LinearAttentionState]:
        """Output [B, T, H, K] behind a state, and the state that has absorbed the keys."""
        one_token = self.q.shape[1] == self.k.shape[1] == 1 == int(visible[0])
        if one_token and self.key_padding_mask is None and self.half_life is None:
            return state.step(*self[:5], self.normalizer_floor)
        after = state.absorb(self.k, self.v, self.key_proportion, self.key_padding_mask, self.half_life)
        if bool((visible == self.k.shape[1]).all()):
            return after.read(self.q, self.query_proportion, self.normalizer_floor), after
        return self.attend(visible, state), after


def token_positions(x: Tensor, padding: Optional[Tensor]) -> Tensor:
    """Positions [B, T] of the tokens of x [T, B, C] from 0, padding not counted."""
    if padding is None:
        return torch.arange(x.shape[0], device=x.device).expand(x.shape[1], -1)
    return ((~padding).cumsum(1) - 1).clamp(min=0)


def visible_prefix(attn_mask: Tensor) -> Tensor:
    """Reads a mask [T, S] as visible counts [T]."""
    seen = ~attn_mask if attn_mask.dtype == torch.bool else attn_mask >= 0
    visible = seen.sum(-1)
    prefix = torch.arange(seen.shape[-1], device=seen.device) < visible.unsqueeze(-1)
    if not torch.equal(prefix, seen) or bool((visible[1:] < visible[:-1]).any()):
        raise ValueError("attn_mask must leave each query a prefix of the keys that does not shrink")
    return visible
