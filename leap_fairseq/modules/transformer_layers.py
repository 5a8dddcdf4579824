"""fairseq's transformer layers with a chosen attention in each block."""

import copy
import functools
from typing import Optional

from fairseq.modules.transformer_layer import TransformerDecoderLayerBase, TransformerEncoderLayerBase
from torch import Tensor, nn

from leap_fairseq.modules.attention_spec import AttentionSpec


class LeapEncoderLayer(TransformerEncoderLayerBase):
    """An encoder layer whose self-attention is built from a spec.

    Args:
        cfg: fairseq's ``TransformerConfig``.
        self_attention: the attention of this block.
    """

    def __init__(self, cfg, self_attention: AttentionSpec):
        # fairseq's constructor calls the hook below, so the spec must be there first.
        self.self_attention_spec = self_attention
        super().__init__(cfg)

    def build_self_attention(self, embed_dim, cfg):
        """fairseq's hook."""
        return _build(self.self_attention_spec, self, embed_dim, cfg, cfg.encoder, self_attention=True)

    def step(self, x: Tensor, incremental_state: dict, padding: Optional[Tensor] = None) -> Tensor:
        """The next frames of a stream.

        Args:
            x: [T, B, C], the frames behind those of the last call.
            incremental_state: fairseq's dictionary of states, empty before the first frames.
            padding: bool [B, T], True = a frame that is none; None where all are.

        Returns:
            [T, B, C].
        """
        # fairseq's forward hands its attention a mask and no state: a view of this layer has one that brings its own.
        view = copy.copy(self)
        view.__dict__["self_attn"] = functools.partial(self.self_attn, incremental_state=incremental_state)
        return view(x, padding)


class LeapDecoderLayer(TransformerDecoderLayerBase):
    """A decoder layer whose self- and cross-attention are built from specs.

    Args:
        cfg: fairseq's ``TransformerConfig``.
        self_attention: the attention over the target.
        cross_attention: the attention over the source, or None for a language model.

    Attributes:
        checkpointed: whether it is called by an activation checkpoint.
    """

    def __init__(self, cfg, self_attention: AttentionSpec, cross_attention: Optional[AttentionSpec] = None):
        self.checkpointed = cfg.checkpoint_activations
        self.self_attention_spec, self.cross_attention_spec = self_attention, cross_attention
        super().__init__(cfg, no_encoder_attn=cross_attention is None)
        # fairseq would otherwise ask every layer for its weights in evaluation, at quadratic cost; its hook
        # make_generation_fast_(need_attn=...) turns them on for --print-alignment.
        self.need_attn = False

    def forward(self, x, encoder_out=None, encoder_padding_mask=None, incremental_state=None, **options):
        """Computes as fairseq's layer does; in an activation checkpoint, the state is left as it is.

        Returns:
            What fairseq's does; with a state in a checkpoint, the new state as the third.
        """
        # The checkpoint computes the layer once more on the way back, which must begin as the first time.
        state = dict(incremental_state) if self.checkpointed and incremental_state is not None else incremental_state
        out, weights, more = super().forward(x, encoder_out, encoder_padding_mask, state, **options)
        return out, weights, more if state is incremental_state else state

    def build_self_attention(self, embed_dim, cfg, add_bias_kv=False, add_zero_attn=False):
        """fairseq's hook; its two extra keys have no counterpart in linear attention and no option that sets them."""
        return _build(self.self_attention_spec, self, embed_dim, cfg, cfg.decoder, self_attention=True)

    def build_encoder_attention(self, embed_dim, cfg):
        """fairseq's hook."""
        options = {"kdim": cfg.encoder.embed_dim, "vdim": cfg.encoder.embed_dim, "encoder_decoder_attention": True}
        return _build(self.cross_attention_spec, self, embed_dim, cfg, cfg.decoder, **options)

    def seeing(self, mask: Tensor) -> "LeapDecoderLayer":
        """A view of this layer with a mask of its cross-attention, which fairseq's forward does not hand on.

        Args:
            mask: [T, S], -inf on hidden frames.
        """
        view = copy.copy(self)
        # An activation checkpoint would call this layer itself.
        view.__dict__.pop("forward", None)
        view.__dict__["encoder_attn"] = functools.partial(self.encoder_attn, attn_mask=mask)
        return view


def _build(spec: AttentionSpec, layer: nn.Module, embed_dim: int, cfg, side, **options) -> nn.Module:
    """The attention of a layer, as fairseq's options of the model and of its encoder or decoder say."""
    options.update(q_noise=layer.quant_noise, qn_block_size=layer.quant_noise_block_size)
    return spec.build(embed_dim, side.attention_heads, dropout=cfg.attention_dropout, **options)
