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

from leap_fairseq.attention.checks import (
    FLOATING,
    INTEGERS,
    SMALLEST,
    check_floor,
    check_half_life,
    check_keys,
    check_pace,
    check_queries,
    check_tensor,
    counted,
    described,
    one_of,
)
from leap_fairseq.attention.compiled_library import Tokens, can_step, step
from leap_fairseq.attention.half_life import Fading, aged_keys
from leap_fairseq.attention.inputs import key_side, normalise, query_side, slot_queries, sum_dtype, without_autocast


@dataclass(frozen=True)
class LinearAttentionState:
    """What linear attention remembers of the keys read so far. Immutable: every operation returns a new state.

    Whether a tensor from elsewhere, such as a file, can be a state is checked once, here; whether a state fits its
    tokens, at each operation.

    Attributes:
        kvz: [B, H, F, V + 1], kv_state and, as the last column, z_state; float32 or float64.

    Raises:
        ValueError: kvz has other dimensions or another type, or holds nan or inf.
    """

    kvz: Tensor

    def __post_init__(self):
        check_tensor("a state (kvz)", self.kvz, ("B", "H", "F", "V + 1"), SMALLEST)
        if self.kvz.shape[-1] == 0:
            raise ValueError(f"a state (kvz) needs a last column, the sum of the features: got {described(self.kvz)}")
        if not bool(torch.isfinite(self.kvz).all()):
            raise ValueError("a state (kvz) must be finite, got nan or inf: absorb the keys again")

    @classmethod
    def computed(cls, kvz: Tensor) -> "LinearAttentionState":
        """The state of sums that this package has computed itself, which are not looked at.

        Args:
            kvz: [B, H, F, V + 1].
        """
        state = object.__new__(cls)
        object.__setattr__(state, "kvz", kvz)
        return state

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

        Raises:
            ValueError: a size is no whole number from 0, or the type is not floating.
        """
        sizes = {"batch_size": batch_size, "num_heads": num_heads, "features": features, "value_dim": value_dim}
        *rows, values = (counted(name, size) for name, size in sizes.items())
        if dtype not in FLOATING:
            raise ValueError(f"a state is for queries and keys in {one_of(FLOATING)}, got {dtype}")
        return cls.computed(torch.zeros(*rows, values + 1, dtype=sum_dtype(dtype), device=device))

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
        pace: Optional[Tensor] = None,
    ) -> "LinearAttentionState":
        """Adds any number of keys.

        Args:
            k: [B, S, H, K] behind the feature map.
            v: [B, S, H, V].
            key_proportion: [B, S, H], given exactly if the state is re-weighted.
            key_padding_mask: bool [B, S], True = padding.
            half_life: [H] in keys, the same with every call, or None: nothing is forgotten.
            pace: [B, S, H], what each key counts for in the ages of those before it, or None: 1.

        Returns:
            The new state.

        Raises:
            ValueError: the keys do not fit the state, or what comes with them does not fit the keys.
        """
        tokens = Tokens(self.kvz, None, k, v, None, key_proportion, pace=pace)
        if key_padding_mask is None and can_step(tokens):
            check_half_life(half_life, k.shape[2], self.kvz.dtype)
            check_pace(pace, half_life, k)
            return LinearAttentionState.computed(step(tokens, half_life)[1])
        check_keys(k, v, key_proportion, key_padding_mask)
        self.check(k, key_proportion, v)
        check_half_life(half_life, k.shape[2], self.kvz.dtype)
        check_pace(pace, half_life, k)
        features, values = key_side(k, v, key_proportion, key_padding_mask)
        kvz, fading = self.kvz, Fading.of(half_life, pace, key_padding_mask)
        if fading is not None:
            since, until = (torch.tensor(count, device=kvz.device) for count in (0, k.shape[1]))
            kvz = kvz * fading.left(since, until, kvz).unsqueeze(-1).unsqueeze(-1)
        return LinearAttentionState.computed(kvz + aged_keys(features, fading).transpose(-1, -2) @ values)

    @without_autocast
    def sums(
        self,
        q: Tensor,
        query_proportion: Optional[Tensor] = None,
        newer: Optional[Tensor] = None,
        fading: Optional[Fading] = None,
    ) -> Tensor:
        """What the absorbed keys contribute to the queries.

        Args:
            q: [B, T, H, K] behind the feature map.
            query_proportion: [B, T, H], given exactly if the state is re-weighted.
            newer: integer [T], how many keys behind those of the state a query sees; needed where weights fade.
            fading: by half-lives, with the clock of the newer keys; or None.

        Returns:
            [B, H, T, V + 1], the numerator and, in the last column, the denominator.

        Raises:
            ValueError: the queries do not fit the state, or a fading comes without ``newer``.
        """
        check_queries(q, query_proportion)
        self.check(q, query_proportion)
        if fading is not None:
            check_half_life(fading.half_life, q.shape[2], self.kvz.dtype)
            check_tensor("newer", newer, q.shape[1:2], INTEGERS)
        features = query_side(q, query_proportion)
        sums = features @ self.kvz
        # The newest key of the state is as old as there are newer ones.
        return sums if fading is None else sums * fading.left(torch.zeros_like(newer), newer, sums).unsqueeze(-1)

    def step(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        query_proportion: Optional[Tensor] = None,
        key_proportion: Optional[Tensor] = None,
        normalizer_floor: float = 0.1,
        contrast: Optional[Tensor] = None,
        half_life: Optional[Tensor] = None,
        pace: Optional[Tensor] = None,
    ) -> Tuple[Tensor, "LinearAttentionState"]:
        """Adds keys and answers queries that see them all: a token, or a segment of speech, in one pass where compiled.

        Args:
            q, k: [B, T, H, K] and [B, S, H, K] behind the feature map.
            v: [B, S, H, V].
            query_proportion, key_proportion: [B, T, H] and [B, S, H], given exactly if the state is re-weighted.
            normalizer_floor: the denominator is at least this.
            contrast: [H], or None; see :mod:`leap_fairseq.attention.contrast`.
            half_life: [H] in keys, the same with every call, or None: nothing is forgotten.
            pace: [B, S, H], what each key counts for in the ages of those before it, or None: 1.

        Returns:
            The output [B, T, H, V] in the type of ``v``, and the new state.

        Raises:
            ValueError: the tokens do not fit the state, or the floor is not above 0.
        """
        tokens = Tokens(self.kvz, q, k, v, query_proportion, key_proportion, normalizer_floor, contrast, pace)
        if can_step(tokens):
            check_half_life(half_life, q.shape[2], self.kvz.dtype)
            check_pace(pace, half_life, k)
            out, kvz = step(tokens, half_life)
            return out, LinearAttentionState.computed(kvz)
        after = self.absorb(k, v, key_proportion, half_life=half_life, pace=pace)
        check_queries(q, query_proportion)
        out = after.read(q.to(sum_dtype(q.dtype)), query_proportion, normalizer_floor, contrast=contrast)
        return out.to(v.dtype), after

    def read(
        self,
        q: Tensor,
        query_proportion: Optional[Tensor] = None,
        normalizer_floor: float = 0.1,
        slots: bool = False,
        contrast: Optional[Tensor] = None,
    ) -> Tensor:
        """Answers any number of queries, each of which sees all keys absorbed.

        Args:
            q: [B, T, H, K] behind the feature map.
            query_proportion: [B, T, H], given exactly if the state is re-weighted.
            normalizer_floor: the denominator is at least this.
            slots: read the average of each feature; see :mod:`leap_fairseq.attention.slots`.
            contrast: [H], or None; see :mod:`leap_fairseq.attention.contrast`.

        Returns:
            [B, T, H, V] in the type of ``q``.

        Raises:
            ValueError: the queries do not fit the state, or the floor is not above 0.
        """
        check_floor(normalizer_floor, self.kvz.dtype)
        tokens = Tokens(self.kvz, q, None, None, query_proportion, None, normalizer_floor, contrast)
        if not slots and can_step(tokens):
            return step(tokens)[0]
        queries = q
        if slots:
            check_queries(q, query_proportion)
            self.check(q, query_proportion)
            queries = slot_queries(q, self.z_state.unsqueeze(1))
        out = normalise(self.sums(queries, query_proportion), normalizer_floor, q.dtype)
        if contrast is None:
            return out
        check_tensor("contrast", contrast, q.shape[2:3], FLOATING, q.device)
        # Without proportions, one answer to them all.
        sums = self.sums(torch.ones_like(q[:, :1] if query_proportion is None else q), query_proportion)
        return out - contrast.unsqueeze(-1).to(q.dtype) * normalise(sums, normalizer_floor, q.dtype)

    def flat(self, key_dim: int) -> "LinearAttentionState":
        """The state of keys that have one feature each, the sum of theirs; re-weighted if these are.

        Args:
            key_dim: K.
        """
        return LinearAttentionState.computed(self.kvz.unflatten(2, (-1, key_dim)).sum(3))

    def reorder(self, new_order: Tensor) -> "LinearAttentionState":
        """The state of a re-ordered batch (beam search).

        Args:
            new_order: int64 [B'], indices into the batch; repeats are allowed.

        Raises:
            ValueError: it is no such vector, or an index lies outside of the batch.
        """
        check_tensor("new_order", new_order, ["B"], [torch.int32, torch.int64], self.kvz.device)
        try:
            return LinearAttentionState.computed(self.kvz.index_select(0, new_order))
        except IndexError as error:
            raise ValueError(f"new_order must lie in [0, {len(self.kvz)}), got {new_order.tolist()}") from error

    def check(self, x: Tensor, proportion: Optional[Tensor], v: Optional[Tensor] = None) -> None:
        """Refuses tokens that this state is not for.

        Args:
            x: [B, T, H, K], their queries or keys.
            proportion: [B, T, H], or None.
            v: [B, T, H, V], or None where any values will do.

        Raises:
            ValueError: with what the state holds, and what such tokens need.
        """
        features = (1 if proportion is None else 2) * x.shape[3]
        batch, heads, have, width = self.kvz.shape
        if features != have:
            raise ValueError(
                f"this state holds {have} features a head, the tokens have {features}: "
                "a re-weighted state needs proportions with every key and query, a plain one none"
            )
        width = width if v is None else v.shape[3] + 1
        check_tensor("this state", self.kvz, (x.shape[0], x.shape[2], features, width), [sum_dtype(x.dtype)], x.device)
