"""Multi-head linear attention with the interface of fairseq's ``MultiheadAttention``.

Training computes all queries at once; with an incremental state, any number of new tokens or frames is absorbed into
a state of constant size. Parameters carry the official names, so that official checkpoints load.

Shape legend: B batch, T queries, S keys, H heads, K head dimension, C model dimension.
"""

import math
from dataclasses import replace
from typing import Optional, Sequence, Tuple

import torch
from fairseq.incremental_decoding_utils import with_incremental_state
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.quant_noise import quant_noise
from torch import Tensor, nn

from leap_fairseq.attention import (
    FEATURE_MAPS,
    LeapProportion,
    LinearAttentionState,
    full_visibility,
    spread_half_lives,
    static_proportion,
)
from leap_fairseq.attention.inputs import zero_padding
from leap_fairseq.attention.visibility import Schedule
from leap_fairseq.layers.heads import Heads, token_positions, visible_prefix
from leap_fairseq.layers.state import (
    AttentionMemory,
    SourceMemory,
    as_offset,
    check_absorbing,
    increased,
)

LINEAR_KINDS = ("leap", "cosformer", "relu", "elu")


@with_incremental_state
class MultiheadLinearAttention(nn.Module):
    """Linear attention over a visible prefix, in fairseq's shape.

    Args:
        embed_dim: C, divisible by ``num_heads``.
        num_heads: H.
        kdim, vdim: dimensions of key and value inputs (default: C).
        dropout: probability that a key is dropped from the numerator, for all queries of a sample and head.
        bias: whether the projections have a bias.
        self_attention: keys come from the queries' own sequence.
        encoder_decoder_attention: keys come from an encoder.
        attention: "leap" (learned proportions), "cosformer" (static ones), "relu" or "elu" (none).
        leap_factor: hidden width of the LeaP networks is K / leap_factor.
        normalizer_floor: the denominator is at least this.
        schedule: how many keys each query sees (default: all); see :mod:`leap_fairseq.attention.visibility`.
        max_query_positions, max_key_positions: the maximum lengths that "cosformer" divides by.
        half_life: the weight of a key halves every so many tokens: a number, or a range over the heads; see
            :func:`leap_fairseq.attention.spread_half_lives`. None to forget nothing. For self-attention only.
        q_noise, qn_block_size: fairseq's quantization noise on the projections.

    Raises:
        ValueError: an unknown kind, a head dimension that is not whole, a leap_factor that does not divide it, a
            normalizer_floor of 0 or less, "cosformer" without maximum lengths, or a half-life that cannot be.

    Source:
        Agostinelli, Hong, Chen, LeaPformer, ICML 2024; cosFormer: Qin et al., ICLR 2022.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        kdim: Optional[int] = None,
        vdim: Optional[int] = None,
        dropout: float = 0.0,
        bias: bool = True,
        self_attention: bool = False,
        encoder_decoder_attention: bool = False,
        attention: str = "leap",
        leap_factor: int = 4,
        normalizer_floor: float = 0.1,
        schedule: Schedule = full_visibility,
        max_query_positions: Optional[int] = None,
        max_key_positions: Optional[int] = None,
        half_life: Optional[str] = None,
        q_noise: float = 0.0,
        qn_block_size: int = 8,
    ):
        super().__init__()
        if attention not in LINEAR_KINDS:
            raise ValueError(f"unknown linear attention {attention!r}: choose from {', '.join(LINEAR_KINDS)}")
        if embed_dim % num_heads:
            raise ValueError(f"embed_dim {embed_dim} is not divisible by {num_heads} attention heads")
        if not normalizer_floor > 0:
            raise ValueError(f"normalizer_floor {normalizer_floor} must be above 0: set --normalizer-floor")
        if attention == "cosformer" and not (max_query_positions and max_key_positions):
            raise ValueError("cosformer attention needs max_query_positions and max_key_positions beforehand")
        if half_life and not self_attention:
            raise ValueError("half_life is for self-attention: the frames of a source are all equally new")
        self.embed_dim, self.num_heads, self.head_dim = embed_dim, num_heads, embed_dim // num_heads
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        self.self_attention, self.encoder_decoder_attention = self_attention, encoder_decoder_attention
        self.attention, self.normalizer_floor, self.schedule = attention, normalizer_floor, schedule
        self.max_positions = (max_query_positions, max_key_positions)
        # No buffer: the core reads it on the CPU, as it does the schedule.
        self.half_life = spread_half_lives(half_life, num_heads) if half_life else None
        self.feature_map = FEATURE_MAPS["elu" if attention == "elu" else "relu"]
        self.scaling = self.head_dim**-0.5
        self.dropout_module = FairseqDropout(dropout, module_name=self.__class__.__name__)

        def linear(in_features):
            return quant_noise(nn.Linear(in_features, embed_dim, bias=bias), q_noise, qn_block_size)

        self.k_proj, self.v_proj = linear(self.kdim), linear(self.vdim)
        self.q_proj, self.out_proj = linear(embed_dim), linear(embed_dim)
        if attention == "leap":
            self.q_LeaP = LeapProportion(self.head_dim, leap_factor)
            self.k_LeaP = LeapProportion(self.head_dim, leap_factor)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialises the projections as fairseq's ``MultiheadAttention`` does."""
        gain = 1 / math.sqrt(2) if self.kdim == self.vdim == self.embed_dim else 1.0
        for projection in (self.k_proj, self.v_proj, self.q_proj):
            nn.init.xavier_uniform_(projection.weight, gain=gain)
        nn.init.xavier_uniform_(self.out_proj.weight)
        if self.out_proj.bias is not None:
            nn.init.constant_(self.out_proj.bias, 0.0)

    def forward(
        self,
        query: Tensor,
        key: Optional[Tensor],
        value: Optional[Tensor],
        key_padding_mask: Optional[Tensor] = None,
        incremental_state: Optional[dict] = None,
        need_weights: bool = True,
        static_kv: bool = False,
        attn_mask: Optional[Tensor] = None,
        before_softmax: bool = False,
        need_head_weights: bool = False,
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """Attends.

        Args:
            query: [T, B, C].
            key, value: [S, B, kdim], [S, B, vdim]. In self-attention with an incremental state, the new tokens only.
                In cross-attention, the source so far: it may stay, grow or change between calls; none of it (S = 0)
                where its frames go to :meth:`absorb`.
            key_padding_mask: [B, S], True = padding; padding may lie on either side and hold anything.
            incremental_state: fairseq's dictionary of decoding states, or None to compute all queries at once.
            need_weights: also return the weights, at quadratic cost.
            static_kv: without effect: the source is compared with the one read before.
            attn_mask: [T, S] with -inf (or True) on hidden keys, which must leave a visible prefix that does not
                shrink; None for the schedule of this attention.
            before_softmax: not available: there is no softmax.
            need_head_weights: weights of each head instead of their mean.

        Returns:
            The output [T, B, C], and weights [B, T, S] ([H, B, T, S] for each head) or None.

        Raises:
            ValueError: a mask that is not a prefix or comes with an incremental state, or weights of a self-attention
                whose keys are no longer there.
        """
        if before_softmax:
            raise ValueError("before_softmax is not available: linear attention has no softmax")
        padding = None if key_padding_mask is None else key_padding_mask.to(torch.bool)
        if padding is not None and query is key:
            query = _silence_infinite(query, padding)
        if attn_mask is not None and incremental_state is not None:
            raise ValueError(
                "attn_mask and incremental_state do not go together: a step's visibility is its schedule's"
            )
        if incremental_state is None:
            out, weights = self._all_at_once(query, key, value, padding, attn_mask, need_weights)
        else:
            memory = self.get_incremental_state(incremental_state, "memory") or self._empty_memory(query)
            if memory.absorbed:
                out, weights, memory = self._absorbed_step(memory, query, key, need_weights)
            else:
                step = self._cross_step if self.encoder_decoder_attention else self._self_step
                out, weights, memory = step(memory, query, key, value, padding, need_weights)
            self.set_incremental_state(incremental_state, "memory", memory)
        if weights is not None:
            weights = weights.transpose(0, 1) if need_head_weights else weights.mean(dim=1)
        return self.out_proj(out.flatten(2).transpose(0, 1)), weights

    def absorb(self, frames: Tensor, incremental_state: dict) -> None:
        """Takes the next frames of a source that arrives in pieces; they are read by the queries to come.

        Afterwards, :meth:`forward` is called with this state and without frames (S = 0).

        Args:
            frames: [S, B, kdim], keys and values.
            incremental_state: fairseq's dictionary of decoding states.

        Raises:
            ValueError: the earlier frames were given to :meth:`forward`.
        """
        memory = self.get_incremental_state(incremental_state, "memory") or self._empty_memory(frames)
        check_absorbing(memory.source)
        positions = as_offset(memory.keys, frames.device) + token_positions(frames, None)
        k, v, p_k = self._key_side(frames, frames, None, positions)
        keys = increased(memory.keys, len(frames))
        memory = replace(memory, state=memory.state.absorb(k, v, p_k), keys=keys, absorbed=True)
        self.set_incremental_state(incremental_state, "memory", memory)

    def merge_states(self, incremental_states: Sequence[dict], merged: dict) -> None:
        """Brings the memories of several streams together, however long each has been going on.

        Args:
            incremental_states: fairseq's dictionaries of decoding states, each of one row.
            merged: gets the memory of all of them, a row each.

        Raises:
            ValueError: one has read a whole source, instead of absorbing its pieces.
        """
        empty = self._empty_memory(self.q_proj.weight.new_zeros(0, 1, self.embed_dim))
        memories = [self.get_incremental_state(state, "memory") or empty for state in incremental_states]
        self.set_incremental_state(merged, "memory", AttentionMemory.merge(memories))

    def split_state(self, merged: dict, incremental_states: Sequence[dict]) -> None:
        """The reverse of :meth:`merge_states`.

        Args:
            merged: a dictionary with a memory of all streams.
            incremental_states: get the memory of a row each.
        """
        memory = self.get_incremental_state(merged, "memory")
        for number, state in enumerate(incremental_states):
            self.set_incremental_state(state, "memory", memory.row(number))

    def reorder_incremental_state(self, incremental_state: dict, new_order: Tensor) -> dict:
        """Follows beam search: row b of the new batch continues row ``new_order[b]`` of the old one.

        Args:
            incremental_state: fairseq's dictionary of decoding states.
            new_order: int64 [B'].
        """
        memory = self.get_incremental_state(incremental_state, "memory")
        if memory is not None:
            self.set_incremental_state(incremental_state, "memory", memory.reorder(new_order))
        return incremental_state

    def detach_state(self, incremental_state: dict) -> None:
        """Cuts the graph behind the memory; the numbers stay.

        Args:
            incremental_state: fairseq's dictionary of decoding states.
        """
        memory = self.get_incremental_state(incremental_state, "memory")
        if memory is not None:
            state = LinearAttentionState(memory.state.kvz.detach())
            self.set_incremental_state(incremental_state, "memory", replace(memory, state=state))

    def export_state(self, incremental_state: dict) -> dict:
        """The memory of a self-attention as plain numbers and tensors.

        Args:
            incremental_state: fairseq's dictionary of decoding states.
        """
        memory = self.get_incremental_state(incremental_state, "memory")
        return {"kvz": memory.state.kvz, "keys": memory.keys, "queries": memory.queries, "positions": memory.positions}

    def import_state(self, incremental_state: dict, exported: dict) -> None:
        """Puts an exported memory into a dictionary of decoding states.

        Args:
            incremental_state: fairseq's dictionary of decoding states.
            exported: by :meth:`export_state` of an attention of the same sizes.

        Raises:
            ValueError: the sizes differ.
        """
        kvz = exported["kvz"]
        expected = self._empty_memory(kvz.new_zeros(1, len(kvz), self.embed_dim)).state.kvz
        if kvz.shape[1:] != expected.shape[1:]:
            raise ValueError(
                f"the state has heads, features and values {tuple(kvz.shape[1:])}, the model "
                f"{tuple(expected.shape[1:])}: use the model that it was saved with"
            )
        counts = {name: exported[name] for name in ("keys", "queries", "positions")}
        memory = AttentionMemory(LinearAttentionState(kvz), **counts)
        self.set_incremental_state(incremental_state, "memory", memory)

    def _get_input_buffer(self, incremental_state: Optional[dict]) -> dict:
        # fairseq's decoder layer asks for cached keys and values before every self-attention; here there are none.
        return {}

    def _all_at_once(self, query, key, value, padding, attn_mask, need_weights):
        """Output [B, T, H, K] and weights [B, H, T, S] or None of a whole sequence."""
        if attn_mask is None:
            visible = self.schedule(query.shape[0], key.shape[0], 0)
        else:
            visible = visible_prefix(attn_mask)
        key_positions = token_positions(key, padding)
        query_positions = key_positions if self.self_attention else token_positions(query, None)
        heads = self._heads(query, key, value, padding, query_positions, key_positions)
        return heads.attend(visible), heads.weights(visible) if need_weights else None

    def _self_step(self, memory, query, key, value, padding, need_weights):
        """The next tokens of a sequence whose earlier tokens are in the memory."""
        if need_weights:
            raise ValueError("no weights in incremental self-attention: the state does not hold the earlier keys")
        visible = memory.visible(self.schedule, query.shape[0], key.shape[0])
        positions = memory.positions.unsqueeze(1) + token_positions(key, padding)
        heads = self._heads(query, key, value, padding, positions, positions)
        out, state = heads.step(memory.state, visible)
        seen = key.shape[0] if padding is None else (~padding).sum(1)
        memory = replace(
            memory,
            state=state,
            keys=increased(memory.keys, key.shape[0]),
            queries=increased(memory.queries, query.shape[0]),
            positions=memory.positions + seen,
        )
        return out, None, memory

    def _cross_step(self, memory, query, key, value, padding, need_weights):
        """The next queries to a source of which the memory may hold a beginning."""
        visible = self.schedule(query.shape[0], key.shape[0], memory.queries)
        memory = memory.at_source(SourceMemory.of(key, value, padding), int(visible[0]))
        last = int(visible[-1])
        new = slice(memory.keys, last)
        query_positions, key_positions = memory.queries + token_positions(query, None), token_positions(key, padding)
        new_key = key[new]
        new_value = new_key if value is key else value[new]
        new_padding = None if padding is None else padding[:, new]
        heads = self._heads(query, new_key, new_value, new_padding, query_positions, key_positions[:, new])
        out, state = heads.step(memory.state, visible - memory.keys)
        weights = None
        if need_weights:
            weights = self._heads(query, key, value, padding, query_positions, key_positions).weights(visible)
        return out, weights, replace(memory, state=state, keys=last, queries=memory.queries + query.shape[0])

    def _absorbed_step(self, memory, query, key, need_weights):
        """The next queries to a source of which only the state is left."""
        if key.shape[0] or need_weights:
            raise ValueError(
                "this source was absorbed: its frames are not there any more, give none and ask no weights"
            )
        hidden = -int(memory.visible(self.schedule, query.shape[0], 0)[0])
        if hidden:
            raise ValueError(
                f"{memory.keys} frames of the source were absorbed, but the next query may not see the last {hidden}: "
                "absorb no more than the schedule shows, and give one token at a time"
            )
        positions = as_offset(memory.queries, query.device) + token_positions(query, None)
        q, p_q = self._query_side(query, positions)
        out = memory.state.read(q, p_q, self.normalizer_floor)
        return out, None, replace(memory, queries=increased(memory.queries, query.shape[0]))

    def _heads(self, query, key, value, padding, query_positions, key_positions) -> Heads:
        q, p_q = self._query_side(query, query_positions)
        k, v, p_k = self._key_side(key, value, padding, key_positions)
        return Heads(q, k, v, p_q, p_k, padding, self.normalizer_floor, self.half_life)

    def _query_side(self, query, positions):
        """Queries behind the feature map [B, T, H, K], and their proportions or None."""
        q = self.feature_map(self._split(self.q_proj(query.transpose(0, 1)) * self.scaling))
        return q, self._proportion(q, positions, 0)

    def _key_side(self, key, value, padding, positions):
        """Keys behind the feature map, values, and proportions or None; padded inputs are silenced first."""
        # Silencing before the projection: 0 * inf would otherwise reach the gradient of its weight.
        k_in = zero_padding(key.transpose(0, 1), padding)
        v_in = k_in if value is key else zero_padding(value.transpose(0, 1), padding)
        k = self.feature_map(self._split(self.k_proj(k_in)))
        return k, self._drop_keys(self._split(self.v_proj(v_in))), self._proportion(k, positions, 1)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, self.head_dim))

    def _proportion(self, x: Tensor, positions: Tensor, side: int) -> Optional[Tensor]:
        """Proportions [B, T, H] of queries (side 0) or keys (1)."""
        if self.attention == "leap":
            return (self.q_LeaP, self.k_LeaP)[side](x)
        if self.attention == "cosformer":
            return static_proportion(positions, self.max_positions[side]).unsqueeze(-1).expand(x.shape[:-1])
        return None

    def _drop_keys(self, v: Tensor) -> Tensor:
        # Weights do not exist here: a dropped key leaves the numerator of every query and stays in the denominator,
        # which equals dropping weights in expectation.
        if not self.training or self.dropout_module.p == 0:
            return v
        return v * self.dropout_module(v.new_ones(v.shape[:-1] + (1,)))

    def _empty_memory(self, query: Tensor) -> AttentionMemory:
        state = LinearAttentionState.zeros(
            query.shape[1],
            self.num_heads,
            self.head_dim,
            self.head_dim,
            reweighted=self.attention in ("leap", "cosformer"),
            dtype=query.dtype,
            device=query.device,
        )
        if self.encoder_decoder_attention:
            return AttentionMemory(state)
        return AttentionMemory(state, positions=torch.zeros(query.shape[1], dtype=torch.int64, device=query.device))


def _silence_infinite(query: Tensor, padding: Tensor) -> Tensor:
    # A padded query reaches no other row, but 0 * inf would reach the gradient of the projection.
    return query.masked_fill(padding.t().unsqueeze(-1) & ~torch.isfinite(query), 0)
