"""``leap_convtransformer``: offline speech recognition and translation, a ConvTransformer with linear attention.

Shape legend: B batch, T feature frames, S = ceil(T / 4) encoder frames, C model dimension.
"""

import argparse
import copy
import dataclasses
from typing import Dict, List

import torch
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import register_model, register_model_architecture
from fairseq.models.speech_to_text.convtransformer import (
    ConvTransformerEncoder,
    ConvTransformerModel,
    base_architecture,
    convtransformer_espnet,
)
from fairseq.models.transformer import TransformerConfig
from torch import Tensor, nn

from leap_fairseq.attention import causal_visibility, full_visibility
from leap_fairseq.models.options import SpeechAttentionOptions
from leap_fairseq.models.pretrained import load_pretrained
from leap_fairseq.modules import AttentionSpec, ConvSubsampler, LeapEncoderLayer, LeapTransformerDecoder

SUBSAMPLING = 4


@register_model("leap_convtransformer")
class LeapConvTransformerModel(ConvTransformerModel):
    """Convolutional subsampling, a transformer encoder and decoder, with a chosen attention in each block.

    Source:
        Inaguma et al., ESPnet-ST, ACL 2020 (the network); Agostinelli, Hong, Chen, LeaPformer, ICML 2024.
    """

    options = SpeechAttentionOptions
    decoder_class = LeapTransformerDecoder

    @classmethod
    def add_args(cls, parser):
        """Adds fairseq's options for ConvTransformer and those of the attention."""
        ConvTransformerModel.add_args(parser)
        gen_parser_from_dataclass(parser, cls.options(), delete_default=True)

    @classmethod
    def build_model(cls, args, task):
        """Builds the model.

        Raises:
            ValueError: attention options that do not fit the sizes.
        """
        # The options of an argparse model have no defaults on the command line; an old checkpoint may lack new ones.
        for option in dataclasses.fields(cls.options):
            if option.name != "_name" and getattr(args, option.name, None) is None:
                setattr(args, option.name, option.default)
        return super().build_model(args, task)

    @classmethod
    def build_encoder(cls, args):
        """fairseq's hook."""
        encoder = LeapConvTransformerEncoder(args)
        if getattr(args, "load_pretrained_encoder_from", None):
            load_pretrained(encoder, "encoder", args, args.load_pretrained_encoder_from)
        return encoder

    @classmethod
    def build_decoder(cls, args, task, embed_tokens):
        """fairseq's hook."""
        decoder = cls.decoder_class(
            args,
            task.target_dictionary,
            embed_tokens,
            self_attention=attention_spec(
                args, args.decoder_self_attention, causal_visibility, args.max_target_positions
            ),
            cross_attention=cls.cross_attention(args),
        )
        if getattr(args, "load_pretrained_decoder_from", None):
            load_pretrained(decoder, "decoder", args, args.load_pretrained_decoder_from)
        return decoder

    @classmethod
    def cross_attention(cls, args) -> AttentionSpec:
        """The attention of the text to the speech: here, to all of it."""
        return attention_spec(
            args,
            args.decoder_cross_attention,
            full_visibility,
            args.max_target_positions,
            max_encoder_frames(args),
        )


class LeapConvTransformerEncoder(ConvTransformerEncoder):
    """fairseq's convolutional transformer encoder, with a chosen attention and an utterance independent of its batch.

    Args:
        args: the model's options.
    """

    def __init__(self, args):
        # fairseq builds everything but the layers, which are ours.
        without_layers = copy.copy(args)
        without_layers.encoder_layers = 0
        super().__init__(without_layers)
        # fairseq makes a norm for the output of pre-norm layers and never applies it; its gradient would be missing.
        self.layer_norm = None
        self.conv = ConvSubsampler(args.conv_out_channels)
        spec = attention_spec(args, args.encoder_self_attention, full_visibility, max_encoder_frames(args))
        cfg = TransformerConfig.from_namespace(args)
        self.transformer_layers = nn.ModuleList(LeapEncoderLayer(cfg, spec) for _ in range(args.encoder_layers))

    def upgrade_state_dict_named(self, state_dict, name):
        """Leaves the unused norm of a checkpoint of fairseq's own encoder out."""
        for parameter in ("weight", "bias"):
            state_dict.pop(f"{name}.layer_norm.{parameter}", None)
        return super().upgrade_state_dict_named(state_dict, name)

    def forward(self, src_tokens: Tensor, src_lengths: Tensor) -> Dict[str, List[Tensor]]:
        """Encodes utterances.

        Args:
            src_tokens: [B, T, M], features; anything may lie beyond the lengths.
            src_lengths: int64 [B], frames of each utterance.

        Returns:
            fairseq's dictionary: "encoder_out" holds [S, B, C]; "encoder_padding_mask" bool [B, S], True = padding,
            or nothing where there is none.
        """
        x, lengths = self.conv(src_tokens, src_lengths)
        x = self.embed_scale * self.out(x)
        padding = torch.arange(x.shape[1], device=x.device) >= lengths.unsqueeze(1)
        x = x + self.embed_positions(padding)
        x = nn.functional.dropout(x, p=self.dropout, training=self.training).transpose(0, 1)
        mask = padding if bool(padding.any()) else None
        for layer in self.transformer_layers:
            x = layer(x, mask)
        return {
            "encoder_out": [x],
            "encoder_padding_mask": [] if mask is None else [mask],
            "encoder_embedding": [],
            "encoder_states": [],
            "src_tokens": [],
            "src_lengths": [],
        }


def max_encoder_frames(args) -> int:
    """The longest utterance in encoder frames, from ``--max-source-positions``."""
    return -(-args.max_source_positions // SUBSAMPLING)


def attention_spec(args, kind, schedule, max_query_positions, max_key_positions=None) -> AttentionSpec:
    """The attention of a block from the model's options."""
    return AttentionSpec(
        kind,
        leap_factor=args.leap_factor,
        normalizer_floor=args.normalizer_floor,
        schedule=schedule,
        max_query_positions=max_query_positions,
        max_key_positions=max_key_positions or max_query_positions,
    )


def tiny_sizes(args: argparse.Namespace) -> None:
    """For demonstrations on a CPU: 3 + 2 pre-norm layers, d 128, 4 heads, 16 convolution channels."""
    defaults = {
        "encoder_embed_dim": 128,
        "encoder_ffn_embed_dim": 256,
        "encoder_layers": 3,
        "encoder_attention_heads": 4,
        "decoder_ffn_embed_dim": 512,
        "decoder_layers": 2,
        "decoder_attention_heads": 4,
        "encoder_normalize_before": True,
        "decoder_normalize_before": True,
        "conv_out_channels": 16,
    }
    for name, value in defaults.items():
        setattr(args, name, getattr(args, name, value))


@register_model_architecture("leap_convtransformer", "leap_convtransformer")
def leap_convtransformer(args):
    """The sizes of ``convtransformer``: 6 + 6 layers, d 512, 8 heads."""
    base_architecture(args)


@register_model_architecture("leap_convtransformer", "leap_convtransformer_espnet")
def leap_convtransformer_espnet(args):
    """The sizes of ``convtransformer_espnet``: 12 + 6 layers, d 256, 4 heads."""
    convtransformer_espnet(args)
    base_architecture(args)


@register_model_architecture("leap_convtransformer", "leap_convtransformer_tiny")
def leap_convtransformer_tiny(args):
    """3 + 2 layers, d 128, 4 heads."""
    tiny_sizes(args)
    base_architecture(args)
