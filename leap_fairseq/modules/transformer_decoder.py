"""fairseq's transformer decoder with a chosen attention in each block, fed with any number of new tokens at a time.

Shape legend: B batch, T tokens, S source frames, C model dimension.
"""

import re
import zlib
from typing import Any, Dict, List, Optional, Tuple

import torch
from fairseq.distributed import fsdp_wrap
from fairseq.models.transformer import TransformerDecoder
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from torch import Tensor

from leap_fairseq.modules.attention_spec import AttentionSpec
from leap_fairseq.modules.decoder_states import DecoderStates
from leap_fairseq.modules.multihead_softmax_attention import prefix_mask
from leap_fairseq.modules.positions import position_rows
from leap_fairseq.modules.transformer_layers import LeapDecoderLayer


class LeapTransformerDecoder(DecoderStates, TransformerDecoder):
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
            encoder_out: of the encoder. Its key "visible" may hold how many frames each token sees, int64 [T], in place
                of what the schedule says.
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

    def forward_block(
        self, tokens: Tensor, incremental_state: Dict[str, Any], need_attn: bool = False
    ) -> Tuple[Tensor, Dict[str, list]]:
        """Computes the next tokens of a text that need not be there any more: the state stands for it.

        Args:
            tokens: int64 [B, T], T >= 1, the tokens behind those of the last call.
            incremental_state: a dictionary, empty before the first block; it holds the state afterwards.
            need_attn: also return the weights of cross-attention, the mean of its layers and heads: the share of what
                was absorbed before :meth:`mark_source`, and that of the rest.

        Returns:
            As ``forward``: logits [B, T, vocabulary] (features, with an adaptive softmax), and a dictionary, whose
            "attn" is a list of one [B, T, 2] or None.
        """
        features, extra = self._features(tokens, None, incremental_state, None, None, need_attn)
        return self.output_layer(features), extra

    def _features(self, tokens, encoder_out, incremental_state, alignment_layer, alignment_heads, every_layer=False):
        """What :meth:`extract_features` returns, of the tokens to be computed; weights of one layer, or of all."""
        x = self._embed(tokens, self._count(tokens, incremental_state)).transpose(0, 1)
        padding = tokens.eq(self.padding_idx)
        padding = padding if bool(padding.any()) else None
        source, source_padding = _source(encoder_out)
        if source is None and self.cross_attention_spec is not None:
            # What there is of a source was absorbed; fairseq's layer would leave its cross-attention out.
            source = x.new_zeros(0, x.shape[1], self.layers[0].encoder_attn.kdim)
        attn: List[Tensor] = []
        inner_states = [x]
        layers = self.layers
        if encoder_out is not None and encoder_out.get("visible"):
            mask = prefix_mask(encoder_out["visible"][0], len(source), x)
            layers = [layer.seeing(mask) for layer in layers]
        for index, layer in enumerate(layers):
            wanted = every_layer or index == alignment_layer
            # An activation checkpoint keeps what it is given, for the way back.
            kept = incremental_state is not None and self.cfg.checkpoint_activations
            x, weights, after = layer(
                x,
                source,
                source_padding,
                dict(incremental_state) if kept else incremental_state,
                self_attn_padding_mask=padding,
                need_attn=wanted,
                need_head_weights=wanted,
            )
            if kept:
                incremental_state.update(after)
            inner_states.append(x)
            if weights is not None and (wanted or alignment_layer is None):
                attn.append(weights[:alignment_heads].mean(0) if wanted else weights)
        if self.layer_norm is not None:
            x = self.layer_norm(x)
        x = x.transpose(0, 1)
        if self.project_out_dim is not None:
            x = self.project_out_dim(x)
        # Without a choice, fairseq returns the weights of the last layer that gives any.
        weights = torch.stack(attn if every_layer else attn[-1:]).mean(0) if attn else None
        return x, {"attn": [weights], "inner_states": inner_states}

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
