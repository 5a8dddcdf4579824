"""From softmax to linear attention: a trained model of fairseq's, or of ours, with another attention in its blocks.

Weights keep their names and values. What a kind has beside them begins where its weights are nearest to softmax's,
:mod:`leap_fairseq.models.distillation` brings them nearer, and a training with ``--finetune-from-model`` does the rest.

Source: Zhang et al., The Hedgehog & the Porcupine, ICLR 2024, section 4.3 (finetuned conversion).
"""

import re
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, Mapping, NamedTuple, Optional, Tuple, Union

import torch
from torch import Tensor, nn

from leap_fairseq.files import DataError, whole_file
from leap_fairseq.models.checked import read_plain
from leap_fairseq.models.distillation import Distillation, distill
from leap_fairseq.models.of_fairseq import adopted, architecture
from leap_fairseq.models.option_rules import model_rules
from leap_fairseq.models.options import model_options, refuse_fading_whole
from leap_fairseq.modules import AttentionSpec

SOFTMAX = "softmax"


class Block(NamedTuple):
    """Where a model has an attention.

    Attributes:
        modules: matches the names of its attentions.
        side: "encoder" or "decoder", whose options have its sizes.
        source: the side that its keys come from.
    """

    modules: re.Pattern
    side: str
    source: str


BLOCKS = {
    "encoder_self_attention": Block(re.compile(r"encoder\..+\.self_attn"), "encoder", "encoder"),
    "decoder_self_attention": Block(re.compile(r"decoder\..+\.self_attn"), "decoder", "decoder"),
    "decoder_cross_attention": Block(re.compile(r"decoder\..+\.encoder_attn"), "decoder", "encoder"),
}
"""By the options that choose their kind."""

FADING = {
    f"{prefix}attention_{what}": (block, what)
    for prefix, block in (
        ("encoder_", "encoder_self_attention"),
        ("decoder_", "decoder_self_attention"),
        ("", "decoder_self_attention"),
    )
    for what in ("half_life", "learned_pace")
}
"""By the options of half-lives and paces, the block that fades by it and the argument of :class:`AttentionSpec`."""

QUERY = ".q_proj.weight"


def convert_checkpoint(
    checkpoint: Union[str, Path],
    out: Union[str, Path],
    kinds: Mapping[str, str],
    default: Optional[str] = None,
    options: Mapping[str, Any] = {},
    distillation: Optional[Distillation] = None,
) -> Dict[str, Tuple[str, str]]:
    """Writes a trained model with another attention in blocks that have softmax.

    Args:
        checkpoint: of fairseq's ``transformer_lm``, ``convtransformer`` or ``convtransformer_simul_trans`` (wait-k), or
            of our models of these names.
        out: the .pt file to write, whole or not at all; its folder is made. The state of the optimizer is left out.
        kinds: the attention of single blocks, by their options, such as ``decoder_cross_attention``.
        default: that of all others that have softmax; None: they keep it.
        options: others of the model, which the new attentions use: leap_factor, normalizer_floor, half-lives, paces.
        distillation: how the new attentions are trained to give what the old ones give; None: not at all.

    Returns:
        Of each block, by its option, the attention that it had and the one that it has.

    Raises:
        DataError: another model, one without such a block or option, a block without softmax, nothing to convert, or an
            output that does not end in .pt or is the checkpoint itself. Others are those of
            :func:`leap_fairseq.models.checked.read_plain`.
        ValueError: options of the attention that do not fit the model, or as for :func:`distill`.
    """
    checkpoint, out = Path(checkpoint), Path(out)
    if out.suffix != ".pt" or out.resolve() == checkpoint.resolve():
        raise DataError(f"{out} must end in .pt and be another file than the checkpoint: give one, as converted.pt")
    given = read_plain(checkpoint)
    softmax = adopted(given, checkpoint)
    state, changed = with_attention(softmax, checkpoint, kinds, default, options)
    if all(before == after for before, after in changed.values()) and architecture(given) == architecture(state):
        raise DataError(
            f"{checkpoint} has {_listed(changed)}, and would have no other: give --attention, or that of a block that "
            "has softmax"
        )
    if distillation is not None:
        distill(softmax, state, checkpoint, distillation)
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(out) as file:
        torch.save(state, file)
    return changed


def with_attention(
    state: Mapping[str, Any], path: Path, kinds: Mapping[str, str], default: Optional[str], options: Mapping[str, Any]
) -> Tuple[Dict[str, Any], Dict[str, Tuple[str, str]]]:
    """A checkpoint of ours with another attention; arguments, results and errors as for :func:`convert_checkpoint`."""
    trained = model_options(state["cfg"])
    rules = model_rules(trained["_name"])
    blocks = [name for name in BLOCKS if name in rules]
    for name, value in {**dict.fromkeys(blocks, default), **kinds, **options}.items():
        if name not in rules:
            raise DataError(f"{path} is a {trained['_name']}, which has no {_flag(name)}: leave it out")
        if not rules[name].fits(value):
            raise DataError(f"{_flag(name)} is {value}, but must be {rules[name]}")
    changed = {}
    for name in blocks:
        before = str(trained[name])
        changed[name] = (before, kinds.get(name) or (default if default and before == SOFTMAX else before))
    _refuse_linear(path, trained, changed, options)
    new = {**trained, **options, **{name: after for name, (_, after) in changed.items()}}
    refuse_fading_whole(new)
    weights = dict(state["model"])
    for name, (before, after) in changed.items():
        if before != after:
            weights.update(_new_weights(weights, BLOCKS[name], new, path, after))
    form = Namespace(**new) if isinstance(state["cfg"]["model"], Namespace) else new
    return {**state, "cfg": {**state["cfg"], "model": form}, "model": weights}, changed


def _refuse_linear(
    path: Path, trained: Mapping[str, Any], changed: Mapping[str, Tuple[str, str]], options: Mapping[str, Any]
) -> None:
    """Refuses another attention in place of a linear one, other options of one that stays, half-lives of softmax."""
    for name, (before, after) in changed.items():
        if before not in (SOFTMAX, after):
            remedy = f"softmax alone is converted, leave {_flag(name)} out"
            raise DataError(f"{path} was trained with {_flag(name)} {before}: {remedy}")
        for option, value in options.items():
            if option in FADING and FADING[option][0] != name:
                continue
            if after == SOFTMAX and option in FADING:
                raise DataError(f"{path} would keep softmax, which never fades: leave {_flag(option)} out")
            if before != SOFTMAX and value != trained[option]:
                was = f"{_flag(option)} {trained[option]} in its {_flag(name)}"
                raise DataError(f"{path} has {was}, which stays: leave {_flag(option)} out")


def _new_weights(
    weights: Mapping[str, Tensor], block: Block, options: Mapping[str, Any], path: Path, kind: str
) -> Dict[str, Tensor]:
    """What a kind has beside the weights of softmax, for all attentions of a block."""
    modules = [name.removesuffix(QUERY) for name in weights if name.endswith(QUERY)]
    modules = list(filter(block.modules.fullmatch, modules))
    if not modules:
        raise DataError(f"{path} has no weights of {block.modules.pattern}: give a checkpoint of a whole model")
    found: Dict[str, Tensor] = {}
    for module in modules:
        old = {n.removeprefix(f"{module}."): x for n, x in weights.items() if n.startswith(f"{module}.")}
        softmax, linear = (_attention(block, options, name) for name in (SOFTMAX, kind))
        try:
            softmax.load_state_dict(old, strict=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{path}: {module} is not softmax attention of the sizes of the options: {reason}"
            ) from error
        begin_near_softmax(linear)
        for name, value in linear.state_dict().items():
            if name not in old:
                found[f"{module}.{name}"] = value.to(old["q_proj.weight"])
    return found


def _attention(block: Block, options: Mapping[str, Any], kind: str) -> nn.Module:
    """An attention of a block, whose lengths and schedule shape no weights."""
    fading = {
        argument: options[option]
        for option, (of, argument) in FADING.items()
        if BLOCKS[of] is block and kind != SOFTMAX and options.get(option)
    }
    lengths = {"max_query_positions": 1, "max_key_positions": 1}
    spec = AttentionSpec(kind, options["leap_factor"], options["normalizer_floor"], **lengths, **fading)
    width, keys = options[f"{block.side}_embed_dim"], options[f"{block.source}_embed_dim"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return spec.build(width, options[f"{block.side}_attention_heads"], kdim=keys, vdim=keys)


@torch.no_grad()
def begin_near_softmax(attention: nn.Module) -> None:
    """Gives a learned scale its value of softmax: K**0.25 for queries and for keys.

    The features exp(+-s x_i) of a query and a key have the products exp(+-s (q_i + k_i)). At s = K**0.25 these are the
    orthogonal positive features of exp(q . k / K**0.5) along the axes of a head, but for a factor of the key's length;
    and near zero, where their sum is 1 + s**2 q . k / K and more that no key changes, s**2 = K**0.5 is softmax's slope.

    Args:
        attention: a linear one.

    Source:
        Choromanski et al., Rethinking Attention with Performers, ICLR 2021, lemma 1 and section 2.4.
    """
    if attention.kind.scale is not None:
        for scale in (attention.q_scale, attention.k_scale):
            scale.fill_(attention.head_dim**0.25)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _listed(changed: Mapping[str, Tuple[str, str]]) -> str:
    return ", ".join(f"{_flag(name)} {before}" for name, (before, _) in changed.items()) or "no attention"
