"""fairseq's softmax attention under a visibility schedule: the baseline of every comparison.

Shape legend: B batch, T queries, S keys, C model dimension.
"""

from typing import Any, Dict, Optional, Tuple

import torch
from fairseq.modules import MultiheadAttention
from torch import Tensor

from leap_fairseq.attention import KINDS, full_visibility
from leap_fairseq.attention.visibility import Schedule
from leap_fairseq.modules.source_memory import SourceMemory, check_absorbing


class MultiheadSoftmaxAttention(MultiheadAttention):
    """``MultiheadAttention`` whose mask comes from a schedule, and whose source may grow or change.

    fairseq keeps the projected source of the first step for good; here it is kept as long as the source stays.

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
            ValueError: frames of a source whose earlier ones were absorbed.
        """
        if attn_mask is None:
            attn_mask = self._mask(query, key, value, key_padding_mask, incremental_state)
            if not len(key):
                key = value = None  # fairseq's form of "all keys are in the state"
        if self.encoder_decoder_attention:
            options["static_kv"] = True
        return super().forward(query, key, value, key_padding_mask, incremental_state, attn_mask=attn_mask, **options)

    def absorb(self, frames: Tensor, incremental_state: dict) -> None:
        """As :meth:`MultiheadLinearAttention.absorb`; unlike a linear state, what is kept grows."""
        progress = self._progress(incremental_state)
        check_absorbing(progress["source"])
        buffer = dict(self._get_input_buffer(incremental_state))
        for name, projection in (("prev_key", self.k_proj), ("prev_value", self.v_proj)):
            new = projection(frames).unflatten(-1, (self.num_heads, self.head_dim)).permute(1, 2, 0, 3)
            buffer[name] = torch.cat((buffer[name], new), dim=2) if name in buffer else new
        self._set_input_buffer(incremental_state, {**buffer, "prev_key_padding_mask": None})
        progress = {**progress, "absorbed": progress["absorbed"] + len(frames)}
        self.set_incremental_state(incremental_state, "progress", progress)

    def forget_source(self, incremental_state: dict) -> None:
        """As :meth:`MultiheadLinearAttention.forget_source`."""
        progress = {**self._progress(incremental_state), "source": None, "absorbed": 0}
        self._set_input_buffer(incremental_state, {})
        self.set_incremental_state(incremental_state, "progress", progress)

    def _progress(self, incremental_state: dict) -> Dict[str, Any]:
        """Queries answered to the source, frames of it that were absorbed, or the source that was given whole."""
        progress = self.get_incremental_state(incremental_state, "progress")
        return progress or {"queries": 0, "absorbed": 0, "source": None}

    def _mask(self, query, key, value, padding, incremental_state) -> Optional[Tensor]:
        """The mask [T, S] of the next queries by the schedule, None to see all keys; notes what they are given."""
        queries, keys, answered = query.shape[0], key.shape[0], 0
        if incremental_state is not None and self.encoder_decoder_attention:
            progress = self._progress(incremental_state)
            answered, source = progress["queries"], progress["source"]
            absorbing = source is None and (progress["absorbed"] or not keys)
            if absorbing:
                if keys:
                    raise ValueError("this source was absorbed: its frames are not there any more, give none")
                if not progress["absorbed"]:
                    self.absorb(key, incremental_state)  # an empty state, of which fairseq reads nothing
            else:
                if source is None or len(source.key) != keys or not source.begins(key, value, padding, keys):
                    self._set_input_buffer(incremental_state, {})
                source = SourceMemory.of(key, value, padding)
            progress = {**progress, "queries": answered + queries, "source": source}
            self.set_incremental_state(incremental_state, "progress", progress)
            if absorbing:
                return None
        elif incremental_state is not None:
            earlier = self._get_input_buffer(incremental_state).get("prev_key")
            answered = 0 if earlier is None else earlier.shape[2]
            keys += answered
        visible = self.schedule(queries, keys, answered)
        if bool((visible == keys).all()):
            return None
        hidden = torch.arange(keys) >= visible.unsqueeze(-1)
        return torch.zeros(hidden.shape, dtype=query.dtype).masked_fill(hidden, float("-inf")).to(query.device)
