"""fairseq's softmax attention under a visibility schedule: the baseline of every comparison.

Shape legend: B batch, T queries, S keys, C model dimension.
"""

from typing import Optional, Tuple

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor

from leap_fairseq.attention import full_visibility
from leap_fairseq.attention.visibility import Schedule
from leap_fairseq.layers.state import SourceMemory, check_absorbing


class MultiheadSoftmaxAttention(MultiheadAttention):
    """``MultiheadAttention`` whose mask comes from a schedule, and whose source may grow or change.

    fairseq keeps the projected source of the first step for good; here it is kept as long as the source stays.

    Args:
        schedule: how many keys each query sees (default: all).
        args, kwargs: as for fairseq's ``MultiheadAttention``.
    """

    def __init__(self, *args, schedule: Schedule = full_visibility, **kwargs):
        super().__init__(*args, **kwargs)
        self.schedule = schedule

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
        """Attends; arguments and results are those of fairseq's ``MultiheadAttention``."""
        if attn_mask is None:
            answered, num_keys = self._progress(query, key, value, key_padding_mask, incremental_state)
            attn_mask = self._mask(query, num_keys, answered)
            if num_keys and not key.shape[0]:
                key = value = None  # fairseq's form of "all keys are in the state"
        return super().forward(
            query,
            key,
            value,
            key_padding_mask=key_padding_mask,
            incremental_state=incremental_state,
            need_weights=need_weights,
            static_kv=static_kv or self.encoder_decoder_attention,
            attn_mask=attn_mask,
            before_softmax=before_softmax,
            need_head_weights=need_head_weights,
        )

    def absorb(self, frames: Tensor, incremental_state: dict) -> None:
        """Takes the next frames of a source that arrives in pieces; unlike a linear state, what is kept grows.

        Afterwards, :meth:`forward` is called with this state and without frames (S = 0).

        Args:
            frames: [S, B, kdim], keys and values.
            incremental_state: fairseq's dictionary of decoding states.

        Raises:
            ValueError: the earlier frames were given to :meth:`forward`.
        """
        progress = self.get_incremental_state(incremental_state, "progress") or {"queries": 0, "source": None}
        check_absorbing(progress["source"])
        buffer = dict(self._get_input_buffer(incremental_state))
        for name, projection in (("prev_key", self.k_proj), ("prev_value", self.v_proj)):
            new = projection(frames).unflatten(-1, (self.num_heads, self.head_dim)).permute(1, 2, 0, 3)
            buffer[name] = torch.cat((buffer[name], new), dim=2) if name in buffer else new
        self._set_input_buffer(incremental_state, {**buffer, "prev_key_padding_mask": None})
        absorbed = progress.get("absorbed", 0) + len(frames)
        self.set_incremental_state(incremental_state, "progress", {**progress, "absorbed": absorbed})

    def _progress(self, query, key, value, padding, incremental_state) -> Tuple[int, int]:
        """Queries answered before this step, and keys there are in all."""
        if incremental_state is None:
            return 0, key.shape[0]
        if not self.encoder_decoder_attention:
            earlier = self._get_input_buffer(incremental_state).get("prev_key")
            answered = 0 if earlier is None else earlier.shape[2]
            return answered, answered + key.shape[0]
        progress = self.get_incremental_state(incremental_state, "progress") or {"queries": 0, "source": None}
        source, answered = progress["source"], progress["queries"]
        if "absorbed" in progress:
            progress = {**progress, "queries": answered + query.shape[0]}
            self.set_incremental_state(incremental_state, "progress", progress)
            return answered, progress["absorbed"]
        length = key.shape[0]
        if source is None or source.key.shape[0] != length or not source.begins(key, value, padding, length):
            self._set_input_buffer(incremental_state, {})
        progress = {"queries": answered + query.shape[0], "source": SourceMemory.of(key, value, padding)}
        self.set_incremental_state(incremental_state, "progress", progress)
        return answered, length

    def _mask(self, query: Tensor, num_keys: int, answered: int) -> Optional[Tensor]:
        visible = self.schedule(query.shape[0], num_keys, answered)
        if bool((visible == num_keys).all()):
            return None
        hidden = torch.arange(num_keys) >= visible.unsqueeze(-1)
        return torch.zeros(hidden.shape, dtype=query.dtype).masked_fill(hidden, float("-inf")).to(query.device)
