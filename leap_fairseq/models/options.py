"""Options that all models share, as dataclasses: the command line and the README's table are made from them."""

from dataclasses import dataclass, field
from typing import Any, Optional

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from leap_fairseq.attention.visibility import Schedule
from leap_fairseq.modules import ATTENTION_KINDS, AttentionSpec

VISIBILITIES = ("full", "segment")


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
    encoder_visibility: ChoiceEnum(VISIBILITIES) = field(
        default="full",
        metadata={
            "help": "what a frame of speech sees: full, the whole utterance, which streaming encodes anew with every "
            "pre-decision; segment, the segments up to its own, which streaming encodes once"
        },
    )
    encoder_segment: Optional[int] = field(
        default=None,
        metadata={
            "help": "encoder frames of a segment, of 40 ms each (default: --fixed-pre-decision-ratio, which it must "
            "divide)"
        },
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


def attention_spec(
    args: Any, kind: str, schedule: Schedule, max_query_positions: int, max_key_positions: Optional[int] = None
) -> AttentionSpec:
    """The attention of a block from the model's options.

    Args:
        args: the model's options.
        kind: one of ``ATTENTION_KINDS``.
        schedule: how many keys each query sees.
        max_query_positions, max_key_positions: the maximum lengths (default of the second: the first).

    Raises:
        ValueError: an unknown kind.
    """
    return AttentionSpec(
        kind,
        leap_factor=args.leap_factor,
        normalizer_floor=args.normalizer_floor,
        schedule=schedule,
        max_query_positions=max_query_positions,
        max_key_positions=max_key_positions or max_query_positions,
    )
