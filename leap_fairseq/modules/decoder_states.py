"""The incremental state of a decoder: the states of its attentions, and how many tokens it has computed.

Shape legend: B batch, T tokens, S source frames, C model dimension.
"""

from typing import Any, Dict, Optional, Sequence

import torch
from torch import Tensor

from leap_fairseq.attention.checks import check_tensor, counted
from leap_fairseq.layers import LayerState
from leap_fairseq.modules.batched_states import linear_attentions, merge_attention, split_attention


class DecoderStates:
    """What a decoder of fairseq can do with a dictionary of its decoding states; a base class beside fairseq's.

    ``incremental_state`` is fairseq's dictionary of these states, empty before the first token.
    """

    def absorb(self, frames: Tensor, incremental_state: Dict[str, Any]) -> None:
        """Takes the next frames of a source that arrives in pieces, into the cross-attention of every layer.

        The decoder is then called with this state and without an ``encoder_out``, and each token reads all that was
        absorbed before it, whatever the schedule: what a token may read is decided by what is absorbed.

        Args:
            frames: [S, B, C], the frames behind those of the last call.
            incremental_state: that of the decoder.

        Raises:
            ValueError: the earlier frames were given as ``encoder_out``.
        """
        for layer in self.layers:
            layer.encoder_attn.absorb(frames, incremental_state)

    def forget_source(self, incremental_state: Dict[str, Any]) -> None:
        """Drops what was absorbed, for a source whose frames have changed; the tokens computed stay as they are."""
        for layer in self.layers:
            layer.encoder_attn.forget_source(incremental_state)

    def mark_source(self, incremental_state: Dict[str, Any], batch_size: int = 1) -> None:
        """What is absorbed from here on are the newest frames: ``forward_block`` can tell their share of the weights.

        Args:
            incremental_state: that of the decoder.
            batch_size: B, where nothing was absorbed yet.
        """
        for layer in self.layers:
            layer.encoder_attn.mark_source(incremental_state, batch_size)

    @staticmethod
    def copy_state(incremental_state: Dict[str, Any]) -> Dict[str, Any]:
        """The state as it is, which further tokens leave alone; it shares the tensors, to which no step writes."""
        # fairseq's softmax self-attention puts its new keys into the dictionary that it had.
        return {name: dict(held) if isinstance(held, dict) else held for name, held in incremental_state.items()}

    def merge_states(self, incremental_states: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
        """The states of several streams as one, whose next tokens :meth:`forward_block` computes together.

        Args:
            incremental_states: each of one row, empty before its first token; the streams may have been going on
                differently long.

        Returns:
            A dictionary with a row for each; of a single stream its own.

        Raises:
            ValueError: a self-attention is not linear, or a stream was given a whole source.
        """
        if len(incremental_states) == 1:
            return incremental_states[0]
        merged = merge_attention(self, incremental_states)
        seen = torch.cat([self._progress(state)["seen"] for state in incremental_states])
        self.set_incremental_state(merged, "progress", {"tokens": 0, "seen": seen})
        return merged

    def split_state(self, merged: Dict[str, Any], incremental_states: Sequence[Dict[str, Any]]) -> None:
        """The reverse of :meth:`merge_states`, after some tokens: brings the states that it was given up to date."""
        if len(incremental_states) == 1:
            return
        split_attention(self, merged, incremental_states)
        progress = self._progress(merged)
        for state, seen in zip(incremental_states, progress["seen"].split(1)):
            tokens = self._progress(state)["tokens"] + progress["tokens"]
            self.set_incremental_state(state, "progress", {"tokens": tokens, "seen": seen})
        # They are counted in, and may go on together.
        self.set_incremental_state(merged, "progress", {**progress, "tokens": 0})

    def detach_state(self, incremental_state: Dict[str, Any]) -> None:
        """Cuts the graph behind a state, so that the next block is not trained through the ones before it."""
        for attention in linear_attentions(self):
            state = attention.get_state(incremental_state)
            if state is not None:
                attention.set_state(incremental_state, state.detach())

    def export_state(self, incremental_state: Dict[str, Any]) -> Dict[str, Any]:
        """What a state holds, as plain numbers and tensors that do not depend on this process."""
        progress = self._progress(incremental_state)
        # --decoder-layerdrop leaves layers out.
        states = [
            attention.get_state(incremental_state) or attention.zero_state(len(progress["seen"]))
            for attention in linear_attentions(self)
        ]
        return {**progress, "attention": [state.to_plain() for state in states]}

    def import_state(self, exported: Dict[str, Any]) -> Dict[str, Any]:
        """The state that :meth:`export_state` of such a decoder was given, for this one; all of it is looked at.

        Raises:
            ValueError: it is none, or the decoders have other sizes.
        """
        attentions = linear_attentions(self)
        if not isinstance(exported, dict) or exported.keys() != {"attention", "tokens", "seen"}:
            raise ValueError("the state of a decoder must be attention, tokens and seen: use one that it has exported")
        layers, tokens, seen = exported["attention"], exported["tokens"], exported["seen"]
        if not isinstance(layers, list) or len(attentions) != len(layers):
            number = len(layers) if isinstance(layers, list) else "no"
            raise ValueError(
                f"the state has {number} layers, the model {len(attentions)}: use the model that it was saved with"
            )
        check_tensor("seen", seen, ["B"], [torch.int64], self.dictionary_crc32.device)
        if any(not 0 <= each <= counted("tokens", tokens) for each in seen.tolist()):
            raise ValueError(f"seen {seen.tolist()} must lie in [0, {tokens}], the number of tokens")
        incremental_state: Dict[str, Any] = {}
        for attention, plain in zip(attentions, layers):
            state = LayerState.from_plain(plain, attention.zero_state(1))
            state.check_rows(seen)
            attention.set_state(incremental_state, state)
        self.set_incremental_state(incremental_state, "progress", {"tokens": tokens, "seen": seen})
        return incremental_state

    def reorder_incremental_state(self, incremental_state: Dict[str, Any], new_order: Tensor) -> None:
        """Follows beam search, ``new_order`` int64 [B'], with the decoder's own count of positions."""
        progress = self.get_incremental_state(incremental_state, "progress")
        if progress is not None:
            seen = progress["seen"].index_select(0, new_order)
            self.set_incremental_state(incremental_state, "progress", {**progress, "seen": seen})

    def computed_tokens(self, incremental_state: Dict[str, Any]) -> int:
        """How many tokens were computed, padding included."""
        return self._progress(incremental_state)["tokens"]

    def _progress(self, incremental_state: Dict[str, Any], batch_size: int = 1) -> Dict[str, Any]:
        """How many tokens were computed, and how many of each row [B] were not padding."""
        progress = self.get_incremental_state(incremental_state, "progress")
        if progress is not None:
            return progress
        return {"tokens": 0, "seen": self.dictionary_crc32.new_zeros(batch_size)}

    def _count(self, tokens: Tensor, incremental_state: Optional[Dict[str, Any]]) -> Optional[Tensor]:
        """Counts the new tokens in, and returns how many before them were not padding, int64 [B] (None at once)."""
        if incremental_state is None:
            return None
        before = self._progress(incremental_state, tokens.shape[0])
        progress = {
            "tokens": before["tokens"] + tokens.shape[1],
            "seen": before["seen"] + tokens.ne(self.padding_idx).sum(1),
        }
        self.set_incremental_state(incremental_state, "progress", progress)
        return before["seen"]
