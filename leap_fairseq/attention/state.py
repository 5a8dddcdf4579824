"""The recurrent twin: a state of constant size that absorbs keys and answers queries.

    kv_state = sum_j phi(k_j) v_j^T      [F, V]
    z_state  = sum_j phi(k_j)            [F]
    out_i    = phi(q_i) . kv_state / max(phi(q_i) . z_state, floor)

with phi the features of :func:`leap_fairseq.attention.proportions.reweighted_features`. Both sums are kept in one
tensor, z as the last column, in float32 at least. With a half-life they shrink with every key that is absorbed.

Shape legend: B batch, T queries, S keys, H heads, K key dimension, V value dimension, F = 2K (K without proportions).
"""

from dataclasses import dataclass
from typing import Optional, Tuple

import torch
from torch import Tensor

from leap_fairseq.attention.compiled_library import can_step, step
from leap_fairseq.attention.half_life import aged_keys, remaining
from leap_fairseq.attention.inputs import key_side, normalise, query_side, sum_dtype, without_autocast


@dataclass(frozen=True)
class LinearAttentionState:
    """What linear attention remembers of the keys read so far. Immutable: every operation returns a new state.

    Attributes:
        kvz: [B, H, F, V + 1], kv_state and, as the last column, z_state.
    """

    kvz: Tensor

    @classmethod
    def zeros(
        cls,
        batch_size: int,
        num_heads: int,
        features: int,
        value_dim: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: Optional[torch.device] = None,
    ) -> "LinearAttentionState":
        """The state before the first key.

        Args:
            batch_size, num_heads, features, value_dim: B, H, F, V; F is 2K where keys come with proportions, else K.
            dtype: of the queries and keys; the state is float32 at least.
            device: where the state lives.
        """
        shape = (batch_size, num_heads, features, value_dim + 1)
        return cls(torch.zeros(shape, dtype=sum_dtype(dtype), device=device))

    @property
    def kv_state(self) -> Tensor:
        """[B, H, F, V]."""
        return self.kvz[..., :-1]

    @property
    def z_state(self) -> Tensor:
        """[B, H, F]."""
        return self.kvz[..., -1]

    @without_autocast
    def absorb(
        self,
        k: Tensor,
        v: Tensor,
        key_proportion: Optional[Tensor] = None,
        key_padding_mask: Optional[Tensor] = None,
        half_life: Optional[Tensor] = None,
    ) -> "LinearAttentionState":
        """Adds any number of keys.

        Args:
            k: [B, S, H, K] behind the feature map.
            v: [B, S, H, V].
            key_proportion: [B, S, H], given exactly if the state is re-weighted.
            key_padding_mask: bool [B, S], True = padding.
            half_life: [H] in keys, the same with every call, or None: nothing is forgotten.

        Returns:
            The new state.

        Raises:
            ValueError: the features of the keys do not fit the state.
        """
        features, values = key_side(k, v, key_proportion, key_padding_mask)
        self._check(features)
        kvz = self.kvz
        if half_life is not None:
            kvz = kvz * remaining(half_life, torch.tensor(features.shape[-2]), kvz).view(-1, 1, 1)
        return LinearAttentionState(kvz + aged_keys(features, half_life).transpose(-1, -2) @ values)

    @without_autocast
    def sums(
        self,
        q: Tensor,
        query_proportion: Optional[Tensor] = None,
        newer: Optional[Tensor] = None,
        half_life: Optional[Tensor] = None,
    ) -> Tensor:
        """What the absorbed keys contribute to the queries.

        Args:
            q: [B, T, H, K] behind the feature map.
            query_proportion: [B, T, H], given exactly if the state is re-weighted.
            newer: integer [T], how many keys behind those of the state a query sees; needed with a half-life.
            half_life: [H] in keys, or None.

        Returns:
            [B, H, T, V + 1], the numerator and, in the last column, the denominator.

        Raises:
            ValueError: the features of the queries do not fit the state.
        """
        features = query_side(q, query_proportion)
        self._check(features)
        sums = features @ self.kvz
        # The newest key of the state is as old as there are newer ones.
        return sums if half_life is None else sums * remaining(half_life, newer, sums).unsqueeze(-1)

    def step(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        query_proportion: Optional[Tensor] = None,
        key_proportion: Optional[Tensor] = None,
        normalizer_floor: float = 0.1,
    ) -> Tuple[Tensor, "LinearAttentionState"]:
        """Adds one key and answers one query that sees it: a token of decoding, in one pass where compiled.

        Args:
            q, k: [B, 1, H, K] behind the feature map.
            v: [B, 1, H, V].
            query_proportion, key_proportion: [B, 1, H], given exactly if the state is re-weighted.
            normalizer_floor: the denominator is at least this.

        Returns:
            The output [B, 1, H, V], and the new state.

        Raises:
            ValueError: the features do not fit the state.
        """
        reweighted = query_proportion is not None and key_proportion is not None
        fits = self.kvz.shape[-2] == (2 if reweighted else 1) * q.shape[-1]
        if fits and can_step(self.kvz, q, k, v, query_proportion, key_proportion):
            out, kvz = step(self.kvz, q, k, v, query_proportion, key_proportion, normalizer_floor)
            return out, LinearAttentionState(kvz)
        after = self.absorb(k, v, key_proportion)
        return after.read(q, query_proportion, normalizer_floor), after

    def read(self, q: Tensor, query_proportion: Optional[Tensor] = None, normalizer_floor: float = 0.1) -> Tensor:
        """Answers any number of queries, each of which sees all keys absorbed.

        Args:
            q: [B, T, H, K] behind the feature map.
            query_proportion: [B, T, H], given exactly if the state is re-weighted.
            normalizer_floor: the denominator is at least this.

        Returns:
            [B, T, H, V].

        Raises:
            ValueError: the features of the queries do not fit the state.
        """
        return normalise(self.sums(q, query_proportion), normalizer_floor, q.dtype)

    def reorder(self, new_order: Tensor) -> "LinearAttentionState":
        """The state of a re-ordered batch (beam search).

        Args:
            new_order: int64 [B'], indices into the batch; repeats are allowed.
        """
        return LinearAttentionState(self.kvz.index_select(0, new_order))

    def _check(self, features: Tensor) -> None:
        if features.shape[-1] != self.kvz.shape[-2]:
            raise ValueError(
                f"this state holds {self.kvz.shape[-2]} features a head, the tokens have {features.shape[-1]}: "
                "a re-weighted state needs proportions with every key and query, a plain one none"
            )
