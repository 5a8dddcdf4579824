"""fairseq's softmax attention under a visibility schedule: the baseline of every comparison.

Shape legend: B batch, T queries, S keys, H heads, K head dimension, C model dimension.
"""

from typing import Optional, Tuple

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor
from torch.nn.functional import pad

from leap_fairseq.attention import KINDS, full_visibility
from leap_fairseq.attention.visibility import Schedule
from leap_fairseq.layers.state import Count
from leap_fairseq.modules.absorbed_frames import AbsorbedFrames
from leap_fairseq.modules.source_memory import SourceMemory, check_absorbing


class MultiheadSoftmaxAttention(MultiheadAttention):
    """``MultiheadAttention`` whose mask comes from a schedule, and whose source may grow or change.

    fairseq keeps the projected source of the first step for good; here it is kept as long as the source stays. Of a
    source that is absorbed piece by piece, each row keeps its own frames (:class:`AbsorbedFrames`).

    Args:
        schedule: how many keys each query sees (default: all).
        args, kwargs: as for fairseq's ``MultiheadAttention``.
    """

    kind = KINDS["softmax"]

    def __init__(self, *args, schedule: Schedule = full_visibility, **kwargs):
        super().__init__(*args, **kwargs)
        self.schedule = schedule

    def forward(
        self, query, key, value, key_padding_mask=None, incremental_state=None, *, attn_mask=None, **options
    ) -> Tuple[Tensor, Optional[Tensor]]:
        """Attends; arguments and results are those of fairseq's ``MultiheadAttention``.

        Raises:
            ValueError: frames of a source whose earlier ones were absorbed, or a whole source for streams of several
                ages.
        """
        if self.encoder_decoder_attention:
            options["static_kv"] = True
        elif key is None:
            key = value = query
        if attn_mask is None and self.encoder_decoder_attention and incremental_state is not None:
            state = self.get_state(incremental_state) or self.zero_state(query.shape[1])
            if self.get_source(incremental_state) is None and not (state.empty and len(key)):
                if len(key):
                    raise ValueError("this source was absorbed: its frames are not there any more, give none")
                self.set_state(incremental_state, state.answered(len(query)))
                marked = self.get_incremental_state(incremental_state, "marked")
                return self._read(query, state, marked, **options)
            attn_mask = self._mask(query, len(key), state.queries)
            self._take_source(key, value, key_padding_mask, incremental_state)
            self.set_state(incremental_state, state.answered(len(query)))
        elif attn_mask is None:
            earlier = self._get_input_buffer(incremental_state).get("prev_key")
            answered = 0 if earlier is None else earlier.shape[2]
            attn_mask = self._mask(query, answered + len(key), answered)
        return super().forward(query, key, value, key_padding_mask, incremental_state, attn_mask=attn_mask, **options)

    def absorb(self, frames: Tensor, incremental_state: dict) -> None:
        """As :meth:`MultiheadLinearAttention.absorb`; unlike a linear state, what is kept grows."""
        check_absorbing(self.get_source(incremental_state))
        state = self.get_state(incremental_state) or self.zero_state(frames.shape[1])
        key, value = (self._by_head(projection(frames)) for projection in (self.k_proj, self.v_proj))
        self.set_state(incremental_state, state.absorb(key, value))

    def mark_source(self, incremental_state: dict, batch_size: int = 1) -> None:
        """As :meth:`MultiheadLinearAttention.mark_source`."""
        state = self.get_state(incremental_state) or self.zero_state(batch_size)
        self.set_incremental_state(incremental_state, "marked", state)

    def forget_source(self, incremental_state: dict) -> None:
        """As :meth:`MultiheadLinearAttention.forget_source`."""
        state = self.get_state(incremental_state)
        if state is not None:
            self._set_input_buffer(incremental_state, {})
            self.set_state(incremental_state, state.without_frames())
            self.set_incremental_state(incremental_state, "source", None)

    def reorder_incremental_state(self, incremental_state: dict, new_order: Tensor) -> dict:
        """Follows beam search: row b of the new batch continues row ``new_order[b]`` of the old one."""
        for name in ("memory", "marked"):
            held = self.get_incremental_state(incremental_state, name)
            if held is not None:
                self.set_incremental_state(incremental_state, name, held.reorder(new_order))
        return super().reorder_incremental_state(incremental_state, new_order)

    def zero_state(self, batch_size: int) -> AbsorbedFrames:
        """The state of cross-attention before the first token.

        Args:
            batch_size: B.
        """
        return AbsorbedFrames((None,) * batch_size)

    def get_state(self, incremental_state: dict) -> Optional[AbsorbedFrames]:
        """What cross-attention has absorbed and answered, None before its first token."""
        return self.get_incremental_state(incremental_state, "memory")

    def set_state(self, incremental_state: dict, state: AbsorbedFrames) -> None:
        """Takes the place of the state of this attention."""
        self.set_incremental_state(incremental_state, "memory", state)

    def get_source(self, incremental_state: dict) -> Optional[SourceMemory]:
        """As :meth:`MultiheadLinearAttention.get_source`."""
        return self.get_incremental_state(incremental_state, "source")

    def _by_head(self, x: Tensor) -> Tensor:
        """[T, B, C] as [B, H, T, K]."""
        return x.unflatten(-1, (self.num_heads, self.head_dim)).permute(1, 2, 0, 3)

    def _read(self, query, state, marked, need_weights=True, need_head_weights=False, static_kv=True):
        """Output [T, B, C] and weights of queries that see all that was absorbed; ``static_kv`` is fairseq's."""
        out, weights = state.read(self._by_head(self.q_proj(query) * self.scaling), self.dropout_module)
        out = self.out_proj(out.permute(2, 0, 1, 3).flatten(2))
        if not (need_weights or need_head_weights):
            return out, None
        if marked is not None:
            counts = [0 if row is None else row[0].shape[1] for row in marked.rows]
            parts = [each.tensor_split((count,), -1) for each, count in zip(weights, counts)]
            weights = [torch.stack([part.sum(-1) for part in pair], -1) for pair in parts]
        longest = max(each.shape[-1] for each in weights)
        padded = torch.stack([pad(each, (0, longest - each.shape[-1])) for each in weights], dim=1)
        return out, padded if need_head_weights else padded.mean(0)

    def _take_source(self, key, value, padding, incremental_state) -> None:
        """Remembers a source that is given whole; what fairseq has kept of another one is dropped."""
        source = self.get_source(incremental_state)
        if source is None or len(source.key) != len(key) or not source.begins(key, value, padding, len(key)):
            self._set_input_buffer(incremental_state, {})
        source = SourceMemory.of(key, value, padding, incremental_state.values())
        self.set_incremental_state(incremental_state, "source", source)

    def _mask(self, query: Tensor, keys: int, answered: Count) -> Optional[Tensor]:
        """The mask [T, S] of the next queries by the schedule, None to see all keys."""
        if not isinstance(answered, int):
            raise ValueError("streams of several ages read what they absorb: give no whole source")
        visible = self.schedule(len(query), keys, answered)
        if bool((visible == keys).all()):
            return None
        return prefix_mask(visible, keys, query)


def prefix_mask(visible: Tensor, keys: int, like: Tensor) -> Tensor:
    """The mask [T, S] that leaves query i the first ``visible[i]`` keys: -inf on the others, 0 on these.

    Args:
        visible: int64 [T].
        keys: S.
        like: gives the type and the device, where it is made: it may be large.
    """
    hidden = torch.arange(keys, device=like.device) >= visible.to(like.device).unsqueeze(-1)
    return like.new_zeros(hidden.shape).masked_fill(hidden, -torch.inf)
