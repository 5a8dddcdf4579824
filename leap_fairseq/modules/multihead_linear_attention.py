"""Linear attention with the interface of fairseq's ``MultiheadAttention``: T x B x C, masks, incremental state.

What is computed is :class:`leap_fairseq.layers.LinearAttention`. Parameters carry the official names, so that official
checkpoints load.

Shape legend: B batch, T queries, S keys, H heads, C model dimension.
"""

from typing import Optional, Tuple

import torch
from fairseq.incremental_decoding_utils import with_incremental_state
from fairseq.modules.fairseq_dropout import FairseqDropout
from fairseq.modules.quant_noise import quant_noise
from torch import Tensor

from leap_fairseq.layers import LayerState, LinearAttention
from leap_fairseq.modules.source_memory import SourceMemory, check_absorbing


@with_incremental_state
class MultiheadLinearAttention(LinearAttention):
    """Linear attention over a visible prefix, in fairseq's shape.

    Args:
        embed_dim: C, divisible by ``num_heads``.
        num_heads: H.
        kdim, vdim: dimensions of key and value inputs (default: C).
        dropout: probability that a key is dropped from the numerator, for all queries of a sample and head.
        self_attention: keys come from the queries' own sequence, as they do wherever they do not come from an encoder.
        encoder_decoder_attention: keys come from an encoder.
        attention: the kind, a linear one of :data:`leap_fairseq.attention.KINDS`.
        q_noise, qn_block_size: fairseq's quantization noise on the projections.
        options: bias, leap_factor, normalizer_floor, schedule, max_query_positions, max_key_positions,
            half_life, learned_pace, as for :class:`leap_fairseq.layers.LinearAttention`.

    Raises:
        ValueError: as :class:`leap_fairseq.layers.LinearAttention`.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        kdim: Optional[int] = None,
        vdim: Optional[int] = None,
        dropout: float = 0.0,
        *,
        self_attention: bool = False,
        encoder_decoder_attention: bool = False,
        attention: str = "leap",
        q_noise: float = 0.0,
        qn_block_size: int = 8,
        **options,
    ):
        sizes = (embed_dim, num_heads, kdim, vdim)
        super().__init__(*sizes, kind=attention, cross_attention=encoder_decoder_attention, **options)
        self.self_attention, self.encoder_decoder_attention = self_attention, encoder_decoder_attention
        self.dropout_module = FairseqDropout(dropout, module_name=self.__class__.__name__)
        for projection in (self.k_proj, self.v_proj, self.q_proj, self.out_proj):
            quant_noise(projection, q_noise, qn_block_size)

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
            key, value: [S, B, kdim], [S, B, vdim]. In self-attention None for the queries; with an incremental state,
                the new tokens only. In cross-attention, the source so far: it may stay, grow or change between calls;
                none of it (S = 0) where its frames go to :meth:`absorb`.
            key_padding_mask: [B, S], True = padding; padding may lie on either side and hold anything.
            incremental_state: fairseq's dictionary of decoding states, or None to compute all queries at once.
            need_weights: also return the weights, at quadratic cost.
            static_kv: without effect: the source is compared with the one read before.
            attn_mask: [T, S] with -inf (or True) on hidden keys, which must leave a visible prefix that does not
                shrink; None for the schedule of this attention.
            before_softmax: not available: there is no softmax.
            need_head_weights: also return the weights, of each head instead of their mean.

        Returns:
            The output [T, B, C], and weights [B, T, S] ([H, B, T, S] for each head) or None.

        Raises:
            ValueError: a mask that is not a prefix or comes with an incremental state, or weights of keys that are no
                longer there.
        """
        if before_softmax:
            raise ValueError("before_softmax is not available: linear attention has no softmax")
        if attn_mask is not None and incremental_state is not None:
            raise ValueError(
                "attn_mask and incremental_state do not go together: a step's visibility is its schedule's"
            )
        need_weights = need_weights or need_head_weights
        padding = None if key_padding_mask is None else key_padding_mask.to(torch.bool)
        x = query.transpose(0, 1)
        if self.encoder_decoder_attention and incremental_state is not None:
            out, weights = self._source_step(x, key, value, padding, incremental_state, need_weights)
        else:
            state = None
            if incremental_state is not None:
                state = self.get_state(incremental_state) or self.zero_state(x.shape[0])
                if need_weights:
                    raise ValueError(
                        "no weights in incremental self-attention: the state does not hold the earlier keys"
                    )
            own = (key is None or key is query) and not self.encoder_decoder_attention
            k, v = None if own else key.transpose(0, 1), None if value is key else value.transpose(0, 1)
            visible = None if attn_mask is None else visible_prefix(attn_mask)
            out, state = self._attend(x, k, v, padding, state, visible)
            self.set_state(incremental_state, state)
            weights = self.weights(x, k, key_padding_mask=padding, visible=visible) if need_weights else None
        if weights is not None:
            weights = weights.transpose(0, 1) if need_head_weights else weights.mean(dim=1)
        return self.out_proj(out.flatten(2).transpose(0, 1)), weights

    def _source_step(self, x, key, value, padding, incremental_state, need_weights):
        """Output and weights of the next queries to a source, of which the state holds a beginning."""
        state, weights = self.get_state(incremental_state) or self.zero_state(x.shape[0]), None
        source = self.get_source(incremental_state)
        if source is None and (state.keys or not key.shape[0]):
            marked = self.get_incremental_state(incremental_state, "marked")
            if key.shape[0] or (need_weights and marked is None):
                raise ValueError(
                    "this source was absorbed: its frames are not there any more, give none and ask no weights"
                )
            if need_weights:
                weights = self.shares(x, marked, state)
            out, state = self._read(x, state)
        else:
            visible = self.schedule(x.shape[1], key.shape[0], state.queries)
            first, last = (int(visible[0]), int(visible[-1])) if len(visible) else (state.keys, 0)
            # What was absorbed beyond the keys that the next query may see would leak.
            kept = source is not None and state.keys <= first
            if not (kept and source.begins(key, value, padding, state.keys)):
                state = state.without_keys()
            new, k = slice(state.keys, last), key.transpose(0, 1)
            v = None if value is key else value.transpose(0, 1)[:, new]
            if need_weights:
                weights = self.weights(x, k, key_padding_mask=padding, first_query=state.queries)
            if last <= state.keys:
                out, state = self._read(x, state)
            else:
                padding_of_new = None if padding is None else padding[:, new]
                out, state = self._attend(x, k[:, new], v, padding_of_new, state, visible - state.keys)
            source = SourceMemory.of(key, value, padding, incremental_state.values())
            self.set_incremental_state(incremental_state, "source", source)
        self.set_state(incremental_state, state)
        return out, weights

    def absorb(self, frames: Tensor, incremental_state: dict) -> None:
        """Takes the next frames of a source that arrives in pieces; the queries to come read all of them.

        Afterwards, :meth:`forward` is called with this state and without frames (S = 0). The schedule has no say: what
        a query may read is decided by what is absorbed before it.

        Args:
            frames: [S, B, kdim], keys and values.
            incremental_state: fairseq's dictionary of decoding states.

        Raises:
            ValueError: the earlier frames were given to :meth:`forward`, or this is self-attention.
        """
        check_absorbing(self.get_source(incremental_state))
        state = self.get_state(incremental_state) or self.zero_state(frames.shape[1])
        self.set_state(incremental_state, super().absorb(frames.transpose(0, 1), state))

    def mark_source(self, incremental_state: dict, batch_size: int = 1) -> None:
        """What is absorbed from here on are the newest frames.

        With ``need_weights``, the queries to come return weights [B, T, 2] ([H, B, T, 2] for each head): the share of
        what was absorbed by now, and that of the rest.

        Args:
            incremental_state: fairseq's dictionary of decoding states.
            batch_size: B, where nothing was absorbed yet.
        """
        state = self.get_state(incremental_state) or self.zero_state(batch_size)
        self.set_incremental_state(incremental_state, "marked", state)

    def forget_source(self, incremental_state: dict) -> None:
        """Drops what was read of a source, for one that is absorbed anew; the queries stay counted."""
        state = self.get_state(incremental_state)
        if state is not None:
            self.set_state(incremental_state, state.without_keys())
            self.set_incremental_state(incremental_state, "source", None)

    def reorder_incremental_state(self, incremental_state: dict, new_order: Tensor) -> dict:
        """Follows beam search: row b of the new batch continues row ``new_order[b]`` of the old one."""
        for name in ("memory", "marked", "source"):
            held = self.get_incremental_state(incremental_state, name)
            if held is not None:
                self.set_incremental_state(incremental_state, name, held.reorder(new_order))
        return incremental_state

    def get_state(self, incremental_state: dict) -> Optional[LayerState]:
        """The state of this attention, None before its first token."""
        return self.get_incremental_state(incremental_state, "memory")

    def set_state(self, incremental_state: dict, state: LayerState) -> None:
        """Takes the place of the state of this attention."""
        self.set_incremental_state(incremental_state, "memory", state)

    def get_source(self, incremental_state: dict) -> Optional[SourceMemory]:
        """The whole source that the last queries were given, None where there is none or it is absorbed."""
        return self.get_incremental_state(incremental_state, "source")

    def _get_input_buffer(self, incremental_state: Optional[dict]) -> dict:
        # fairseq's decoder layer asks for cached keys and values before every self-attention; here there are none.
        return {}


def visible_prefix(attn_mask: Tensor) -> Tensor:
    """Reads a mask [T, S] as visible counts [T] on the CPU, as schedules make them; waits for a GPU once."""
    seen = (~attn_mask if attn_mask.dtype == torch.bool else attn_mask >= 0).cpu()
    visible = seen.sum(-1)
    prefix = torch.arange(seen.shape[-1], device=seen.device) < visible.unsqueeze(-1)
    if not torch.equal(prefix, seen) or bool((visible[1:] < visible[:-1]).any()):
        raise ValueError("attn_mask must leave each query a prefix of the keys that does not shrink")
    return visible
