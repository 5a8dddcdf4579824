"""Options that all models share, as dataclasses: the command line and the README's table are made from them."""

from dataclasses import dataclass, field

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from leap_fairseq.modules import ATTENTION_KINDS


@dataclass
class AttentionOptions(FairseqDataclass):
    """Linear attention, in every block that uses it."""

    leap_factor: int = field(
        default=4,
        metadata={"help": "hidden width of the LeaP networks is the head dimension divided by this"},
    )
    normalizer_floor: float = field(
        default=0.1,
        metadata={"help": "the denominator of linear attention is at least this (above 0)"},
    )


@dataclass
class SpeechAttentionOptions(AttentionOptions):
    """The attention of each block of a speech model."""

    encoder_self_attention: ChoiceEnum(ATTENTION_KINDS) = field(
        default="leap", metadata={"help": "attention over the speech"}
    )
    decoder_self_attention: ChoiceEnum(ATTENTION_KINDS) = field(
        default="leap", metadata={"help": "attention over the text so far"}
    )
    decoder_cross_attention: ChoiceEnum(ATTENTION_KINDS) = field(
        default="leap", metadata={"help": "attention of the text to the speech"}
    )


@dataclass
class WaitkOptions(SpeechAttentionOptions):
    """The simultaneous policy."""

    waitk_lagging: str = field(
        default="3",
        metadata={
            "help": "k of wait-k: pre-decisions read before the first token; a range such as 1-7 trains one model "
            "for all of them, each batch drawing its k (validation uses the highest)"
        },
    )
    fixed_pre_decision_ratio: int = field(
        default=7,
        metadata={"help": "encoder frames of one pre-decision; a frame is 40 ms of speech"},
    )
