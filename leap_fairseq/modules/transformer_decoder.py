"""fairseq's transformer decoder with a chosen attention in each block, fed with any number of new tokens at a time.

Shape legend: B batch, T tokens, S source frames, C model dimension.
"""

import re
import zlib
from typing import Any, Dict, List, Optional, Sequence, Tuple

import torch
from fairseq.distributed import fsdp_wrap
from fairseq.models.transformer import TransformerDecoder
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from torch import Tensor

from leap_fairseq.modules.attention_spec import AttentionSpec
from leap_fairseq.modules.batched_states import linear_attentions, merge_attention, split_attention
from leap_fairseq.modules.positions import position_rows
from leap_fairseq.modules.transformer_layers import LeapDecoderLayer


class LeapTransformerDecoder(TransformerDecoder):
    """A decoder whose attentions are built from specs; visibility comes from their schedules, never from a mask.

    Args:
        args: the model's options.
        dictionary: of the target.
        embed_tokens: its embedding.
        self_attention: over the target.
        cross_attention: over the source, or None for a language model.
    """

    def __init__(
        self,
        args,
        dictionary,
        embed_tokens,
        self_attention: AttentionSpec,
        cross_attention: Optional[AttentionSpec] = None,
    ):
        # fairseq's constructor calls build_decoder_layer, so the specs must be there first.
        self.self_attention_spec, self.cross_attention_spec = self_attention, cross_attention
        super().__init__(args, dictionary, embed_tokens, no_encoder_attn=cross_attention is None)
        # A dictionary of the same size with other words would give plausible wrong numbers.
        checksum = zlib.crc32("\n".join(dictionary.symbols).encode("utf-8"))
        self.register_buffer("dictionary_crc32", torch.tensor(checksum))

    def build_decoder_layer(self, cfg, no_encoder_attn=False):
        """fairseq's hook, with its activation checkpoints and sharding."""
        layer = LeapDecoderLayer(cfg, self.self_attention_spec, self.cross_attention_spec)
        if cfg.checkpoint_activations:
            layer = checkpoint_wrapper(layer, offload_to_cpu=cfg.offload_activations)
        # fairseq wraps every checkpointed layer, however small.
        return fsdp_wrap(layer, min_num_params=0 if cfg.checkpoint_activations else cfg.min_params_to_wrap)

    def upgrade_state_dict_named(self, state_dict: Dict[str, Tensor], name: str) -> Dict[str, Tensor]:
        """fairseq's hook before weights are loaded; refuses those of another dictionary in one line.

        Weights from elsewhere, which do not say the checksum of their dictionary, are taken if the size is right.

        Args:
            state_dict: of the whole model.
            name: of this decoder in it.

        Raises:
            ValueError: the embedding has another number of symbols than the dictionary, or was trained on other ones.
        """
        # One matrix, or one for each band of an adaptive input.
        bands = re.compile(rf"{re.escape(name)}\.embed_tokens\.(embeddings\.\d+\.0\.)?weight")
        size = sum(weight.shape[0] for key, weight in state_dict.items() if bands.fullmatch(key))
        here, remedy = len(self.dictionary), "give the folder that the model was trained on"
        if size and size != here:
            raise ValueError(f"the checkpoint has a dictionary of {size} symbols, the data folder has {here}: {remedy}")
        known = state_dict.setdefault(f"{name}.dictionary_crc32", self.dictionary_crc32)
        if int(known) != int(self.dictionary_crc32):
            raise ValueError(
                f"the checkpoint has a dictionary of {here} symbols with the checksum {int(known):08x}, the data "
                f"folder has one of the same size with {int(self.dictionary_crc32):08x}: {remedy}"
            )
        super().upgrade_state_dict_named(state_dict, name)
        if self.output_projection is None:
            # fairseq makes one of a tied embedding, also beside an adaptive softmax, which has none.
            state_dict.pop(f"{name}.output_projection.weight", None)
        return state_dict

    def extract_features(
        self,
        prev_output_tokens: Tensor,
        encoder_out: Optional[Dict[str, List[Tensor]]] = None,
        incremental_state: Optional[Dict[str, Any]] = None,
        full_context_alignment: bool = False,
        alignment_layer: Optional[int] = None,
        alignment_heads: Optional[int] = None,
    ) -> Tuple[Tensor, Dict[str, list]]:
        """Everything before the output projection.

        Args:
            prev_output_tokens: int64 [B, T], the whole prefix; with an incremental state, the tokens beyond those of
                the last call are computed, one or many.
            encoder_out: of the encoder.
            incremental_state: fairseq's dictionary of decoding states, or None to compute all tokens at once.
            full_context_alignment: not available: this decoder is causal.
            alignment_layer: layer whose cross-attention weights are wanted (quadratic cost; default: none).
            alignment_heads: average over the first heads only.

        Returns:
            [B, T, C] (T new tokens), and a dictionary with "attn" (a list of one [B, T, S] or None) and
            "inner_states".

        Raises:
            ValueError: full_context_alignment, or an incremental call without a new token.
        """
        if full_context_alignment:
            raise ValueError("full_context_alignment is not available: the attention of this decoder is causal")
        tokens = prev_output_tokens
        if incremental_state is not None:
            computed = self._progress(incremental_state)["tokens"]
            tokens = prev_output_tokens[:, computed:]
            if not tokens.shape[1]:
                raise ValueError(
                    f"{prev_output_tokens.shape[1]} tokens given, but {computed} have been "
                    "computed: give the whole prefix with at least one more"
                )
        return self._features(tokens, encoder_out, incremental_state, alignment_layer, alignment_heads)

    def forward_block(self, tokens: Tensor, incremental_state: Dict[str, Any]) -> Tuple[Tensor, Dict[str, list]]:
        """Computes the next tokens of a text that need not be there any more: the state stands for it.

        Args:
            tokens: int64 [B, T], T >= 1, the tokens behind those of the last call.
            incremental_state: a dictionary, empty before the first block; it holds the state afterwards.

        Returns:
            As ``forward``: logits [B, T, vocabulary] (features, with an adaptive softmax), and a dictionary.
        """
        features, extra = self._features(tokens, None, incremental_state, None, None)
        return self.output_layer(features), extra

    def absorb(self, frames: Tensor, incremental_state: Dict[str, Any]) -> None:
        """Takes the next frames of a source that arrives in pieces, into the cross-attention of every layer.

        The decoder is then called with this state and without an ``encoder_out``, and each token reads what has been
        absorbed before it: no more than its schedule shows.

        Args:
            frames: [S, B, C], the frames behind those of the last call.
            incremental_state: fairseq's dictionary of decoding states.

        Raises:
            ValueError: the earlier frames were given as ``encoder_out``.
        """
        for layer in self.layers:
            layer.encoder_attn.absorb(frames, incremental_state)

    def merge_states(self, incremental_states: Sequence[Dict[str, Any]]) -> Dict[str, Any]:
        """The states of several streams as one, whose next tokens :meth:`forward_block` computes together.

        Args:
            incremental_states: each of one row, empty before its first token; the streams may have been going on
                differently long.

        Returns:
            A dictionary with a row for each; of a single stream its own.

        Raises:
            ValueError: an attention is not linear, or a stream was given a whole source.
        """
        if len(incremental_states) == 1:
            return incremental_states[0]
        merged = merge_attention(self, incremental_states)
        seen = torch.cat([self._progress(state)["seen"] for state in incremental_states])
        self.set_incremental_state(merged, "progress", {"tokens": 0, "seen": seen})
        return merged

    def split_state(self, merged: Dict[str, Any], incremental_states: Sequence[Dict[str, Any]]) -> None:
        """The reverse of :meth:`merge_states`, after some tokens.

        Args:
            merged: what it returned.
            incremental_states: as they were given; they are brought up to date.
        """
        if len(incremental_states) == 1:
            return
        split_attention(self, merged, incremental_states)
        progress = self._progress(merged)
        for state, seen in zip(incremental_states, progress["seen"].split(1)):
            tokens = self._progress(state)["tokens"] + progress["tokens"]
            self.set_incremental_state(state, "progress", {"tokens": tokens, "seen": seen})

    def detach_state(self, incremental_state: Dict[str, Any]) -> None:
        """Cuts the graph behind a state, so that the next block is not trained through the ones before it.

        Args:
            incremental_state: of :meth:`forward_block`.
        """
        for attention in linear_attentions(self):
            attention.detach_state(incremental_state)

    def export_state(self, incremental_state: Dict[str, Any]) -> Dict[str, Any]:
        """What a state holds, as plain numbers and tensors that do not depend on this process.

        Args:
            incremental_state: of :meth:`forward_block`.
        """
        return {
            **self.get_incremental_state(incremental_state, "progress"),
            "attention": [attention.export_state(incremental_state) for attention in linear_attentions(self)],
        }

    def import_state(self, exported: Dict[str, Any]) -> Dict[str, Any]:
        """The state that :meth:`export_state` was given, for this decoder.

        Args:
            exported: by a decoder of the same sizes.

        Raises:
            ValueError: the sizes differ.
        """
        incremental_state: Dict[str, Any] = {}
        attentions = linear_attentions(self)
        if len(attentions) != len(exported["attention"]):
            raise ValueError(
                f"the state has {len(exported['attention'])} layers, the model {len(attentions)}: use the model that "
                "it was saved with"
            )
        for attention, memory in zip(attentions, exported["attention"]):
            attention.import_state(incremental_state, memory)
        progress = {name: exported[name] for name in ("tokens", "seen")}
        self.set_incremental_state(incremental_state, "progress", progress)
        return incremental_state

    def _features(self, tokens, encoder_out, incremental_state, alignment_layer, alignment_heads):
        """What :meth:`extract_features` returns, of the tokens to be computed."""
        x = self._embed(tokens, self._count(tokens, incremental_state)).transpose(0, 1)
        padding = tokens.eq(self.padding_idx)
        padding = padding if bool(padding.any()) else None
        source, source_padding = _source(encoder_out)
        if source is None and self.cross_attention_spec is not None:
            # What there is of a source was absorbed; fairseq's layer would leave its cross-attention out.
            source = x.new_zeros(0, x.shape[1], self.layers[0].encoder_attn.kdim)
        attn, inner_states = None, [x]
        for index, layer in enumerate(self.layers):
            wanted = index == alignment_layer
            x, weights, _ = layer(
                x,
                source,
                source_padding,
                incremental_state,
                self_attn_padding_mask=padding,
                need_attn=wanted,
                need_head_weights=wanted,
            )
            inner_states.append(x)
            if weights is not None and (wanted or alignment_layer is None):
                attn = weights[:alignment_heads].mean(0) if wanted else weights
        if self.layer_norm is not None:
            x = self.layer_norm(x)
        x = x.transpose(0, 1)
        if self.project_out_dim is not None:
            x = self.project_out_dim(x)
        return x, {"attn": [attn], "inner_states": inner_states}

    def reorder_incremental_state(self, incremental_state: Dict[str, Any], new_order: Tensor) -> None:
        """Follows beam search with the decoder's own count of positions.

        Args:
            incremental_state: fairseq's dictionary of decoding states.
            new_order: int64 [B'].
        """
        progress = self.get_incremental_state(incremental_state, "progress")
        if progress is not None:
            seen = progress["seen"].index_select(0, new_order)
            self.set_incremental_state(incremental_state, "progress", {**progress, "seen": seen})

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

    def _embed(self, tokens: Tensor, seen: Optional[Tensor]) -> Tensor:
        x = self.embed_scale * self.embed_tokens(tokens)
        if self.quant_noise is not None:
            x = self.quant_noise(x)
        if self.project_in_dim is not None:
            x = self.project_in_dim(x)
        if self.embed_positions is not None:
            x = x + self._embed_positions(tokens, seen)
        if self.layernorm_embedding is not None:
            x = self.layernorm_embedding(x)
        return self.dropout_module(x)

    def _embed_positions(self, tokens: Tensor, seen: Optional[Tensor]) -> Tensor:
        """Position embeddings [B, T, C]; a token's number counts no padding, and the work no earlier token."""
        embed, pad = self.embed_positions, self.padding_idx
        if seen is None:
            return embed(tokens)
        real = tokens.ne(pad)
        numbers = torch.where(real, seen.unsqueeze(1) + real.cumsum(1) + pad, torch.full_like(tokens, pad))
        return position_rows(embed, numbers)


def _source(encoder_out: Optional[Dict[str, List[Tensor]]]) -> Tuple[Optional[Tensor], Optional[Tensor]]:
    """Encoder frames [S, B, C] and their padding mask [B, S], each None where there is none."""
    if encoder_out is None or not encoder_out["encoder_out"]:
        return None, None
    padding = encoder_out["encoder_padding_mask"]
    return encoder_out["encoder_out"][0], padding[0] if padding else None
