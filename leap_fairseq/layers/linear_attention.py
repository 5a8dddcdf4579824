"""Linear attention as a plain layer of torch: a sequence at once, or piece by piece with a state of constant size.

Both are the same sums. Training computes all queries at once and pays for no state; decoding and streaming carry a
state on, which holds all that was read, however long.

Shape legend: B batch, T queries, S keys, H heads, K head dimension, C model dimension.
"""

import functools
from typing import Optional, Tuple

import torch
from torch import Tensor

from leap_fairseq.attention import LinearAttentionState, attention_weights, prefix_attention
from leap_fairseq.attention.inputs import slot_queries, zero_padding
from leap_fairseq.layers.projected_heads import ProjectedHeads
from leap_fairseq.layers.state import LayerState, as_offset


class LinearAttention(ProjectedHeads):
    """Multi-head linear attention over a visible prefix; batch first, returns ``(output, state)``.

    Args:
        embed_dim: C, divisible by ``num_heads``.
        num_heads: H.
        kdim, vdim: dimensions of key and value inputs (default: C).
        dropout: probability that a key is dropped from the numerator, for all queries of a sample and head.
        bias: whether the projections have a bias.
        kind: a linear one of :data:`leap_fairseq.attention.KINDS`.
        leap_factor: hidden width of the LeaP networks is K / leap_factor.
        normalizer_floor: the denominator is at least this.
        schedule: how many keys each query sees (default: all); see :mod:`leap_fairseq.attention.visibility`.
        max_query_positions, max_key_positions: the maximum lengths, for a kind that needs them ("cosformer").
        half_life: the weight of a key halves every so many tokens: a number, or a range over the heads such as
            "8-2048"; see :func:`leap_fairseq.attention.spread_half_lives`. None to forget nothing. For self-attention.
        learned_pace: each token learns what it counts for in the ages of those before it; see
            :mod:`leap_fairseq.attention.pace`. With a half-life.
        cross_attention: keys come from another sequence.

    Example:
        >>> import torch
        >>> from leap_fairseq.attention import causal_visibility
        >>> from leap_fairseq.layers import LinearAttention
        >>> layer = LinearAttention(embed_dim=64, num_heads=4, schedule=causal_visibility).eval()
        >>> x = torch.randn(2, 10, 64)
        >>> at_once, _ = layer(x)
        >>> state, outputs = layer.zero_state(batch_size=2), []
        >>> for token in x.split(1, dim=1):
        ...     output, state = layer(token, state=state)
        ...     outputs.append(output)
        >>> torch.allclose(torch.cat(outputs, dim=1), at_once, atol=1e-5)
        True

        Cross-attention to a source that arrives in pieces: a query reads all that has been absorbed.

        >>> layer, source = LinearAttention(64, 4, cross_attention=True).eval(), torch.randn(2, 30, 64)
        >>> state = layer.zero_state(batch_size=2)
        >>> for frames in source.split(7, dim=1):
        ...     state = layer.absorb(frames, state)
        >>> output, state = layer(x, state=state)
        >>> torch.allclose(output, layer(x, source)[0], atol=1e-5)
        True

    Raises:
        ValueError: an unknown kind, a head dimension that is not whole, a leap_factor that does not divide it, a
            normalizer_floor of 0 or less, a kind without the maximum lengths it needs, a half-life that cannot be, or a
            pace without one.

    Source:
        Agostinelli, Hong, Chen, LeaPformer, ICML 2024; cosFormer: Qin et al., ICLR 2022. Parameters carry the names of
        the official code.
    """

    def forward(
        self,
        query: Tensor,
        key: Optional[Tensor] = None,
        value: Optional[Tensor] = None,
        *,
        key_padding_mask: Optional[Tensor] = None,
        state: Optional[LayerState] = None,
    ) -> Tuple[Tensor, Optional[LayerState]]:
        """Attends.

        Args:
            query: [B, T, C]; with a state, the tokens behind those of the last call, one or many.
            key: [B, S, kdim]; with a state, the keys behind those of the last call. None: in self-attention the
                queries; in cross-attention, which then needs a state, all that it has absorbed.
            value: [B, S, vdim]; None: the keys.
            key_padding_mask: bool [B, S], True = padding; padding may lie on either side and hold anything.
            state: of :meth:`zero_state` or the last call; None to compute a whole sequence.

        Returns:
            The output [B, T, C], and the new state (None without one).

        Raises:
            ValueError: cross-attention with neither keys nor a state, the state of another batch or layer, or rows of
                the state that see differently many of the keys.
        """
        out, state = self._attend(query, key, value, key_padding_mask, state)
        return self.out_proj(out.flatten(2)), state

    def zero_state(self, batch_size: int) -> LayerState:
        """The state before the first token.

        Args:
            batch_size: B.
        """
        weight = self.q_proj.weight
        sizes = (batch_size, self.num_heads, self.kind.state_features(self.head_dim), self.head_dim)
        state = LinearAttentionState.zeros(*sizes, dtype=weight.dtype, device=weight.device)
        return LayerState(state, torch.zeros(batch_size, dtype=torch.int64, device=weight.device))

    def absorb(self, frames: Tensor, state: LayerState, key_padding_mask: Optional[Tensor] = None) -> LayerState:
        """Takes the next frames of a source that arrives in pieces; the queries to come read all of them.

        Args:
            frames: [B, S, kdim], keys and values.
            state: of this cross-attention.
            key_padding_mask: bool [B, S], True = padding.

        Returns:
            The new state.

        Raises:
            ValueError: this is self-attention, or the state is of another batch or layer.
        """
        if not self.cross_attention:
            raise ValueError("self-attention has no source to absorb: make the layer with cross_attention=True")
        state.check_rows(frames)
        positions = self._positions(frames, state.positions.unsqueeze(1), key_padding_mask)
        frames = zero_padding(frames, key_padding_mask)
        k, p_k = self._mapped(self.k_proj(frames), positions, 1)
        absorbed = state.state.absorb(k, self._values(frames), p_k, key_padding_mask)
        return state.advanced(absorbed, 0, frames.shape[1], key_padding_mask)

    def weights(
        self,
        query: Tensor,
        key: Optional[Tensor] = None,
        *,
        key_padding_mask: Optional[Tensor] = None,
        visible: Optional[Tensor] = None,
        first_query: int = 0,
    ) -> Tensor:
        """The normalised weights of a whole sequence, for inspection, at quadratic cost.

        Args:
            query, key, key_padding_mask: as for :meth:`forward`.
            visible: int64 [T], how many keys each query sees; None: what the schedule says.
            first_query: number of the first query, if not all are given.

        Returns:
            [B, H, T, S]; a row sums to 1, or to 1 - contrast, or to less where the floor is active.

        Raises:
            ValueError: what is given does not fit together.
        """
        q, k, options, _ = self._sides(query, key, key_padding_mask, first_query)
        if visible is None:
            visible = self.schedule(q.shape[1], k.shape[1], first_query)
        return attention_weights(q, k, visible, **options)

    def shares(self, query: Tensor, earlier: LayerState, state: LayerState) -> Tensor:
        """How the weights of queries divide between what was absorbed earlier and since; contrast is left out of them.

        Args:
            query: [B, T, C].
            earlier: a state of this cross-attention.
            state: that it became by absorbing more.

        Returns:
            [B, H, T, 2], which sum to 1; 0 and 1 where nothing was absorbed earlier.

        Raises:
            ValueError: the states are of another batch or layer.
        """
        state.check_rows(query)
        q, p_q = self._queries(query, self._positions(query, as_offset(state.queries, query.device)))
        if self.kind.slots:
            q = slot_queries(q, state.state.z_state.unsqueeze(1))
        sums = (LinearAttentionState.computed(each.state.kvz[..., -1:]) for each in (earlier, state))
        before, now = (each.sums(q, p_q) for each in sums)
        share = (before / now.clamp(min=torch.finfo(now.dtype).tiny)).clamp(0, 1)
        return torch.cat([share, 1 - share], -1)

    def _attend(self, query, key, value, padding, state, visible=None) -> Tuple[Tensor, Optional[LayerState]]:
        """Output [B, T, H, K] of all heads, and the state; `visible` [T] of the keys given: None for the schedule's."""
        if state is not None:
            state.check_rows(query)
        if key is None and self.cross_attention:
            return self._read(query, state)
        first_of = () if state is None else (as_offset(state.queries, query.device), state.positions.unsqueeze(1))
        q, k, options, key = self._sides(query, key, padding, *first_of)
        v = self._values(key if value is None else zero_padding(value, padding))
        see = self.schedule if state is None else functools.partial(state.visible, self.schedule)
        visible = see(q.shape[1], k.shape[1]) if visible is None else visible
        if state is None:
            return prefix_attention(q, k, v, visible, **options), None
        return state.step(q, k, v, visible, **options)

    def _read(self, query: Tensor, state: Optional[LayerState]) -> Tuple[Tensor, LayerState]:
        """Output [B, T, H, K] of queries that see all that was absorbed, and the state that has counted them."""
        if state is None:
            raise ValueError("cross-attention needs a key, or a state that has absorbed a source")
        positions = self._positions(query, as_offset(state.queries, query.device))
        q, p_q = self._queries(query, positions)
        out = state.state.read(q, p_q, self.normalizer_floor, self.kind.slots, self.contrast)
        return out, state.advanced(state.state, query.shape[1], 0)

    def _sides(self, query, key, padding, first_query=0, first_key=0) -> Tuple[Tensor, Tensor, dict, Tensor]:
        """Queries and keys behind the feature map, further options of the core, and the silenced keys."""
        own = key is None
        key_positions = self._positions(query if own else key, first_key, padding)
        query_positions = key_positions if own else self._positions(query, first_query)
        query = query.contiguous()
        # Silenced before the projections: 0 * inf would otherwise reach the gradient of their weights.
        key = zero_padding(query if own else key.contiguous(), padding)
        if own and padding is not None and not _all_finite(query):
            query = query.where(query.isfinite() | ~padding.unsqueeze(-1), 0)
        q, p_q = self._queries(query, query_positions)
        k, p_k = self._mapped(self.k_proj(key), key_positions, 1)
        options = {"query_proportion": p_q, "key_proportion": p_k, "key_padding_mask": padding}
        options.update(normalizer_floor=self.normalizer_floor, half_life=self.half_life)
        options.update(slots=self.kind.slots, contrast=self.contrast)
        options.update(pace=None if self.pace is None else self.pace(key))
        return q, k, options, key


def _all_finite(x: Tensor) -> bool:
    """Whether all numbers are known to be finite: on the CPU, from their sum; elsewhere nobody waits for an answer."""
    return x.is_cpu and bool(x.detach().sum(dtype=torch.float32).isfinite())
