"""Options that all models share, as dataclasses: the command line and the table of options are made from them.

A field says in its metadata what the option shapes, so that a checkpoint is never taken for another model:

    shapes    the parts of a model that compute something else with another value: "encoder", "decoder", "policy"
    fairseq   what a model of fairseq's, which has no such option, computes by
    lengths   of an attention: the options with its maximum lengths, which matter to kinds that need a length
    matters   tells from the model's options and its kinds of attention whether the value matters; by default it does
"""

import dataclasses
from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any, Dict, Iterator, List, Mapping, Optional, Set, Type

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from leap_fairseq.attention import KINDS
from leap_fairseq.attention.visibility import Schedule
from leap_fairseq.modules import ATTENTION_KINDS, AttentionSpec

VISIBILITIES = ("full", "segment")
BOTH = ("encoder", "decoder")

OF_FAIRSEQ = {
    ("model",): ("arch",),
    BOTH: ("activation_fn", "no_scale_embedding", "no_token_positional_embeddings"),
    ("encoder",): (
        *("conv_out_channels", "encoder_attention_heads", "encoder_embed_dim", "encoder_ffn_embed_dim"),
        *("encoder_layers", "encoder_normalize_before", "input_channels", "input_feat_per_channel"),
    ),
    ("decoder",): (
        *("adaptive_input", "adaptive_input_cutoff", "adaptive_input_factor", "adaptive_softmax_cutoff"),
        *("adaptive_softmax_factor", "base_layers", "char_embedder_highway_layers", "character_embedding_dim"),
        *("decoder_attention_heads", "decoder_embed_dim", "decoder_ffn_embed_dim", "decoder_input_dim"),
        *("decoder_layers", "decoder_learned_pos", "decoder_normalize_before", "decoder_output_dim"),
        *("no_decoder_final_norm", "scale_heads", "share_decoder_input_output_embed", "tie_adaptive_proj"),
        "tie_adaptive_weights",
    ),
}
"""What fairseq's own options shape, whose fields are not ours; an "arch" is a name for the model as a whole."""


def _learns_proportions(options: Mapping[str, Any], kinds: Set[str]) -> bool:
    return any(kind in KINDS and KINDS[kind].proportions == "learned" for kind in kinds)


def _has_segments(options: Mapping[str, Any], kinds: Set[str]) -> bool:
    return str(options.get("encoder_visibility")) == "segment"


def option(default: Any, help: str, *shapes: str, **metadata: Any) -> Any:
    """The field of an option that shapes parts of a model; the names of its metadata are those above."""
    return field(default=default, metadata={"help": help, "shapes": shapes, **metadata})


def attention_option(help: str, part: str, *lengths: str) -> Any:
    """The field of an attention that is chosen by its kind."""
    return option("leap", help, part, fairseq="softmax", lengths=lengths)


def half_life_option(part: str, token: str = "token") -> Any:
    """The field of the half-life of a self-attention."""
    help = (
        f"the weight of a {token} halves every so many {token}s: one number, or a range such as 8-2048 that is spread "
        "over the heads; by default nothing is forgotten"
    )
    return option(None, help, part, fairseq=None)


def learned_pace_option(part: str, token: str = "token") -> Any:
    """The field of the pace of a self-attention with half-lives."""
    help = (
        f"each {token} learns, for each head, how many {token}s it counts for in the ages of those before it, 0.14 to "
        "7.4; with a half-life"
    )
    return option(False, help, part, fairseq=False)


def leap_factor_option(default: int) -> Any:
    """The field of ``--leap-factor``."""
    text = "hidden width of the LeaP networks is the head dimension divided by this"
    return option(default, text, *BOTH, matters=_learns_proportions)


@dataclass
class AttentionOptions(FairseqDataclass):
    """Linear attention, in every block that uses it."""

    leap_factor: int = leap_factor_option(4)
    normalizer_floor: float = option(0.1, "the denominator of linear attention is at least this (above 0)", *BOTH)


@dataclass
class SpeechAttentionOptions(AttentionOptions):
    """The attention of each block of a speech model."""

    encoder_self_attention: ChoiceEnum(ATTENTION_KINDS) = attention_option(
        "attention over the speech", "encoder", "max_source_positions"
    )
    decoder_self_attention: ChoiceEnum(ATTENTION_KINDS) = attention_option(
        "attention over the text so far", "decoder", "max_target_positions"
    )
    decoder_cross_attention: ChoiceEnum(ATTENTION_KINDS) = attention_option(
        "attention of the text to the speech", "decoder", "max_target_positions", "max_source_positions"
    )
    encoder_attention_half_life: Optional[str] = half_life_option("encoder", "frame")
    decoder_attention_half_life: Optional[str] = half_life_option("decoder")
    encoder_attention_learned_pace: bool = learned_pace_option("encoder", "frame")
    decoder_attention_learned_pace: bool = learned_pace_option("decoder")
    encoder_visibility: ChoiceEnum(VISIBILITIES) = option(
        "full",
        "what a frame of speech sees: full, the whole utterance, which streaming encodes anew with every pre-decision; "
        "segment, the segments up to its own, which streaming encodes once",
        "encoder",
        fairseq="full",
    )
    encoder_segment: Optional[int] = option(
        None,
        "encoder frames of a segment, of 40 ms each (default: --fixed-pre-decision-ratio, which it must divide)",
        "encoder",
        matters=_has_segments,
    )


@dataclass
class WaitkOptions(SpeechAttentionOptions):
    """The simultaneous policy."""

    waitk_lagging: str = option(
        "3",
        "k of wait-k: pre-decisions read before the first token; a range such as 1-7 trains one model for all of them, "
        "each batch drawing its k (validation uses the highest)",
        "policy",
    )
    fixed_pre_decision_ratio: int = option(
        7, "encoder frames of one pre-decision; a frame is 40 ms of speech", "policy"
    )


def shaping_options(part: Optional[str] = None) -> Dict[str, Mapping[str, Any]]:
    """The options of all models that decide what the weights compute; a dropout or a learning rate does not.

    Args:
        part: only those that shape the "encoder", the "decoder" or the "policy"; None for the model as a whole.

    Returns:
        The metadata of each, by its name.
    """
    options: Dict[str, Mapping[str, Any]] = {
        name: {"shapes": parts} for parts, names in OF_FAIRSEQ.items() for name in names
    }
    for config in _with_subclasses(AttentionOptions):
        options.update({f.name: f.metadata for f in dataclasses.fields(config) if "shapes" in f.metadata})
    return {name: metadata for name, metadata in options.items() if part is None or part in metadata["shapes"]}


def _with_subclasses(config: Type[AttentionOptions]) -> Iterator[Type[AttentionOptions]]:
    yield config
    for subclass in config.__subclasses__():
        yield from _with_subclasses(subclass)


def model_options(cfg: Optional[Mapping[str, Any]]) -> Dict[str, Any]:
    """The options of the model in fairseq's configuration of a training, of either kind."""
    model = (cfg or {}).get("model") or {}
    return dict(vars(model) if isinstance(model, Namespace) else model)


def differences(before: Mapping[str, Any], now: Mapping[str, Any], part: Optional[str] = None) -> List[str]:
    """The options by which two models, or a part of them, compute something else, each as "--name A, not B".

    Args:
        before: the options that a checkpoint was trained with; without any, nothing differs.
        now: those of the command.
        part: as for :func:`shaping_options`.
    """
    if not before:
        return []
    options = {name: metadata for name, metadata in shaping_options(part).items() if name in now}
    attentions = {name: str(now[name]) for name, metadata in options.items() if "lengths" in metadata}
    kinds = set(attentions.values())
    names = [n for n, metadata in options.items() if "matters" not in metadata or metadata["matters"](now, kinds)]
    for name, kind in attentions.items():
        if kind in KINDS and KINDS[kind].needs_length:
            names += options[name]["lengths"]
    changed = []
    for name in sorted(set(names)):
        value = now.get(name)
        was = before.get(name, options.get(name, {}).get("fairseq", value))
        if str(was) != str(value):
            changed.append(f"--{name.replace('_', '-')} {was}, not {value}")
    return changed


def refuse_options(args: Any, model: str, neutral: Mapping[str, Any]) -> None:
    """Refuses options that a model has by fairseq, and that would change nothing.

    Args:
        args: the model's options.
        model: its name.
        neutral: of each such option, the value with which nothing is asked for.

    Raises:
        ValueError: one of them is set.
    """
    for name, nothing in neutral.items():
        value = getattr(args, name, nothing)
        if value is not None and value != nothing:
            raise ValueError(
                f"--{name.replace('_', '-')} has no effect in {model}: leave it out (of a checkpoint that was trained "
                f"with it: --model-overrides \"{{'{name}': {nothing}}}\")"
            )


def refuse_fading_whole(options: Mapping[str, Any]) -> None:
    """Refuses half-lives of speech whose frames all see all of it.

    Args:
        options: of a model.

    Raises:
        ValueError: with what they need.
    """
    if options.get("encoder_attention_half_life") and options["encoder_visibility"] != "segment":
        raise ValueError(
            "--encoder-attention-half-life needs --encoder-visibility segment: of a whole utterance, which all frames "
            "see, its end would fade least for each of them"
        )


def refuse_generation_options(cfg: Any, reasons: Mapping[str, str]) -> None:
    """Refuses options of fairseq's generation that a model cannot follow.

    Args:
        cfg: fairseq's configuration of a command.
        reasons: of each such option, what it needs.

    Raises:
        ValueError: one of them is set.
    """
    for name, reason in reasons.items():
        if getattr(cfg.generation, name, None):
            raise ValueError(f"--{name.replace('_', '-')} needs {reason}: leave it out")


def attention_spec(
    args: Any,
    kind: str,
    schedule: Schedule,
    max_query_positions: int,
    max_key_positions: Optional[int] = None,
    half_life: Optional[str] = None,
    learned_pace: bool = False,
) -> AttentionSpec:
    """The attention of a block from the model's options `args`; others and `Raises` as for :class:`AttentionSpec`."""
    return AttentionSpec(
        kind,
        leap_factor=args.leap_factor,
        normalizer_floor=args.normalizer_floor,
        schedule=schedule,
        max_query_positions=max_query_positions,
        max_key_positions=max_key_positions or max_query_positions,
        half_life=half_life,
        learned_pace=learned_pace,
    )
