"""``leap_convtransformer``: offline speech recognition and translation, a ConvTransformer with linear attention."""

import dataclasses
from typing import Optional, Tuple

from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import register_model, register_model_architecture
from fairseq.models.speech_to_text.convtransformer import (
    ConvTransformerModel,
    base_architecture,
    convtransformer_espnet,
)
from torch import Tensor

from leap_fairseq.attention import causal_visibility, full_visibility
from leap_fairseq.attention.visibility import Schedule
from leap_fairseq.models.checked import CheckedModel
from leap_fairseq.models.options import SpeechAttentionOptions, attention_spec, refuse_generation_options
from leap_fairseq.models.pretrained import load_pretrained
from leap_fairseq.models.speech_encoder import EncoderState, LeapConvTransformerEncoder, max_encoder_frames
from leap_fairseq.modules import LeapTransformerDecoder, mergeable
from leap_fairseq.streaming.source import PrefixSource, SegmentSource, Source


@register_model("leap_convtransformer")
class LeapConvTransformerModel(CheckedModel, ConvTransformerModel):
    """Convolutional subsampling, a transformer encoder and decoder, with a chosen attention in each block.

    Source:
        Inaguma et al., ESPnet-ST, ACL 2020 (the network); Agostinelli, Hong, Chen, LeaPformer, ICML 2024.
    """

    tasks = ("leap_speech_to_text", "speech_to_text")
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
            ValueError: attention options that do not fit the sizes, or an embedding that cannot be shared.
        """
        # The options of an argparse model have no defaults on the command line; an old checkpoint may lack new ones.
        for option in dataclasses.fields(cls.options):
            if option.name != "_name" and getattr(args, option.name, None) is None:
                setattr(args, option.name, option.default)
        if args.encoder_segment is None:
            args.encoder_segment = getattr(args, "fixed_pre_decision_ratio", None)
        width, own = args.decoder_output_dim, args.decoder_embed_dim
        if args.share_decoder_input_output_embed and own != width:
            raise ValueError(
                f"--share-decoder-input-output-embed does not go with --decoder-embed-dim {own} and "
                f"--decoder-output-dim {width}, for one matrix is both: make them equal, or leave it out"
            )
        return super().build_model(args, task)

    @classmethod
    def build_encoder(cls, args):
        """fairseq's hook."""
        encoder = LeapConvTransformerEncoder(args)
        load_pretrained(encoder, "encoder", args)
        return encoder

    @classmethod
    def build_decoder(cls, args, task, embed_tokens):
        """fairseq's hook."""
        tokens, frames = args.max_target_positions, max_encoder_frames(args)
        over_text = attention_spec(
            *(args, args.decoder_self_attention, causal_visibility, tokens),
            half_life=args.decoder_attention_half_life,
            learned_pace=args.decoder_attention_learned_pace,
        )
        to_speech = attention_spec(args, args.decoder_cross_attention, cls.schedule_of(args), tokens, frames)
        decoder = cls.decoder_class(args, task.target_dictionary, embed_tokens, over_text, to_speech)
        load_pretrained(decoder, "decoder", args)
        return decoder

    def prepare_for_inference_(self, cfg):
        """fairseq's hook.

        Raises:
            ValueError: an option of generation that needs what a speech corpus has not.
        """
        refuse_generation_options(cfg, {"constraints": "words that a translation must have, which speech data lack"})
        super().prepare_for_inference_(cfg)

    @property
    def frames_are_final(self) -> bool:
        """Whether a frame of the encoder stays what it is, whatever is heard after its segment."""
        return self.encoder.segment is not None

    @property
    def streams_merge(self) -> bool:
        """Whether several streams can be computed together, whenever each began.

        Their frames must be final, and every self-attention linear.
        """
        return self.frames_are_final and mergeable(self)

    def new_source(self, keep: bool = False) -> Source:
        """The speech of a sentence to come, as the encoder's visibility allows to compute it.

        Args:
            keep: keep all of it, for a sentence of a long form.
        """
        return SegmentSource(self, keep) if self.frames_are_final else PrefixSource(self)

    def encode_segment(
        self, features: Tensor, state: Optional[EncoderState] = None, last: bool = False
    ) -> Tuple[Tensor, EncoderState]:
        """Encodes the next features of a stream; see :meth:`LeapConvTransformerEncoder.encode_segment`."""
        return self.encoder.encode_segment(features, state, last)

    @staticmethod
    def schedule_of(args) -> Schedule:
        """How much of the speech each token sees: here, all of it."""
        return full_visibility


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
    base_architecture(args)
