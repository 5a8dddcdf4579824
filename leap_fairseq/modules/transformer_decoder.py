"""fairseq's transformer decoder with a chosen attention in each block, fed with any number of new tokens at a time.

Shape legend: B batch, T tokens, S source frames, C model dimension.
"""

import re
from typing import Any, Dict, List, Optional, Tuple

import torch
from fairseq.distributed import fsdp_wrap
from fairseq.models.transformer import TransformerDecoder
from fairseq.modules import SinusoidalPositionalEmbedding
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from torch import Tensor

from leap_fairseq.modules.attention_spec import AttentionSpec
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

    def build_decoder_layer(self, cfg, no_encoder_attn=False):
        """fairseq's hook, with its activation checkpoints and sharding."""
        layer = LeapDecoderLayer(cfg, self.self_attention_spec, self.cross_attention_spec)
        if cfg.checkpoint_activations:
            layer = checkpoint_wrapper(layer, offload_to_cpu=cfg.offload_activations)
        # fairseq wraps every checkpointed layer, however small.
        return fsdp_wrap(layer, min_num_params=0 if cfg.checkpoint_activations else cfg.min_params_to_wrap)

    def upgrade_state_dict_named(self, state_dict: Dict[str, Tensor], name: str) -> Dict[str, Tensor]:
        """fairseq's hook before weights are loaded; refuses those of another dictionary in one line.

        Args:
            state_dict: of the whole model.
            name: of this decoder in it.

        Raises:
            ValueError: the embedding has another number of symbols than the dictionary.
        """
        # One matrix, or one for each band of an adaptive input.
        bands = re.compile(rf"{re.escape(name)}\.embed_tokens\.(embeddings\.\d+\.0\.)?weight")
        size = sum(weight.shape[0] for key, weight in state_dict.items() if bands.fullmatch(key))
        if size and size != len(self.dictionary):
            raise ValueError(
                f"the checkpoint has a dictionary of {size} symbols, the data folder has {len(self.dictionary)}: "
                "give the folder that the model was trained on"
            )
        return super().upgrade_state_dict_named(state_dict, name)

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
        tokens, positions = self._next_tokens(prev_output_tokens, incremental_state)
        x = self._embed(tokens, positions).transpose(0, 1)
        padding = tokens.eq(self.padding_idx)
        padding = padding if bool(padding.any()) else None
        source, source_padding = _source(encoder_out)
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

    def _next_tokens(self, prev_output_tokens: Tensor, incremental_state) -> Tuple[Tensor, Optional[Tensor]]:
        """The tokens not computed yet, and how many before them were not padding, int64 [B] (None from scratch)."""
        if incremental_state is None:
            return prev_output_tokens, None
        progress = self.get_incremental_state(incremental_state, "progress")
        if progress is None:
            progress = {"tokens": 0, "seen": prev_output_tokens.new_zeros(prev_output_tokens.shape[0])}
        first, length = progress["tokens"], prev_output_tokens.shape[1]
        if length <= first:
            raise ValueError(
                f"{length} tokens given, but {first} have been computed: give the whole prefix with at least one more"
            )
        tokens = prev_output_tokens[:, first:]
        seen = progress["seen"] + tokens.ne(self.padding_idx).sum(1)
        self.set_incremental_state(incremental_state, "progress", {"tokens": length, "seen": seen})
        return tokens, progress["seen"]

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
        if not isinstance(embed, SinusoidalPositionalEmbedding):
            return torch.nn.functional.embedding(numbers, embed.weight, embed.padding_idx)
        size = int(numbers.max()) + 1
        if size > embed.weights.shape[0]:
            table = embed.get_embedding(2 * size, embed.embedding_dim, embed.padding_idx)
            embed.weights = table.to(embed.weights)
        return embed.weights[numbers]


def _source(encoder_out: Optional[Dict[str, List[Tensor]]]) -> Tuple[Optional[Tensor], Optional[Tensor]]:
    """Encoder frames [S, B, C] and their padding mask [B, S], each None where there is none."""
    if encoder_out is None or not encoder_out["encoder_out"]:
        return None, None
    padding = encoder_out["encoder_padding_mask"]
    return encoder_out["encoder_out"][0], padding[0] if padding else None
