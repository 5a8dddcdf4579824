"""Checkpoints of fairseq's own models as ones of ours: the same weights, with softmax attention in every block.

Weights have the same names, and options too; what a checkpoint says of itself is what differs.
"""

import re
from argparse import Namespace
from pathlib import Path
from typing import Any, Dict, Mapping, Union

from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.tasks import TASK_REGISTRY
from omegaconf import OmegaConf

from leap_fairseq.files import DataError
from leap_fairseq.models.averaging import without_moving_average
from leap_fairseq.models.checked import asked_for
from leap_fairseq.models.option_rules import dataclass_of, model_rules, task_rules

MODELS = {
    "transformer_lm": "leap_transformer_lm",
    "convtransformer_simul_trans": "leap_convtransformer_simul_trans",
    "convtransformer": "leap_convtransformer",
}
"""Models of fairseq's that are ours with softmax attention; the name of an architecture begins with its model's."""

OTHERS = ("convtransformer_augmented_memory", "convtransformer_emformer")
"""Architectures that are none of them, whatever they begin with."""

WAITK = ("waitk", "waitk_fixed_pre_decision")
"""Values of fairseq's ``--simul-type`` whose attention is softmax over what wait-k has read."""

UNREAD = re.compile(r".+\.encoder_attn\.([qk]_proj_soft\.(weight|bias)|energy_bias)")
"""Weights of fairseq's wait-k attention that do not change its output."""

ATTENTIONS = ("encoder_self_attention", "decoder_self_attention", "decoder_cross_attention")
"""Options of ours that choose the attention of a block."""


def adopted(state: Mapping[str, Any], path: Path) -> Dict[str, Any]:
    """A checkpoint as one of ours: that of a model of fairseq's as our model with softmax in every block.

    Args:
        state: as :func:`leap_fairseq.models.checked.read_plain` gives it.
        path: of its file, for messages.

    Returns:
        What a model is loaded from, with all options of the model; without the state of the optimizer and a moving
        average of the weights.

    Raises:
        DataError: neither a model of ours nor one of theirs, another policy than wait-k, or as for
            :func:`leap_fairseq.models.checked.asked_for`.
    """
    cfg, weights, arch = state["cfg"], state["model"], architecture(state)
    theirs = None if arch in OTHERS else next(filter(arch.startswith, MODELS), None)
    if theirs:
        cfg = {**cfg, **_ours(_section(cfg, "model"), _section(cfg, "task"), arch, MODELS[theirs], path)}
        weights = {name: weight for name, weight in weights.items() if not UNREAD.fullmatch(name)}
    asked = asked_for(cfg, path)
    kept = {name: state[name] for name in ("args", "optimizer_history") if name in state}
    kept["extra_state"] = without_moving_average(state.get("extra_state"))
    return {**kept, "cfg": {**cfg, **asked, "model": _completed(asked["model"])}, "model": weights}


def architecture(state: Mapping[str, Any]) -> str:
    """The architecture that a checkpoint names; "None" where it does not."""
    options = _section(state["cfg"], "model")
    return str(options.get("arch") or options.get("_name"))


def _ours(
    model: Mapping[str, Any], task: Mapping[str, Any], arch: str, family: str, path: Path
) -> Dict[str, Dict[str, Any]]:
    """The options of a model of fairseq's and of its task that ours have, as ours."""
    if "simul_trans" in family and model.get("simul_type") not in WAITK:
        raise DataError(
            f"{path} was trained with --simul-type {ascii(model.get('simul_type'))}, but must be one of "
            f"{', '.join(WAITK)}: train --arch {family} from the beginning"
        )
    name = f"leap_{arch}" if f"leap_{arch}" in ARCH_MODEL_REGISTRY else family
    rules = model_rules(name)
    options = {option: value for option, value in model.items() if option in rules}
    options.update({block: "softmax" for block in ATTENTIONS if block in rules}, _name=name, arch=name)
    job = str(task.get("_name") or task.get("task")).removeprefix("simul_")
    known = task_rules(job) if job in TASK_REGISTRY else {}
    return {"model": options, "task": {**{n: x for n, x in task.items() if n in known}, "_name": job, "task": job}}


def _completed(model: Union[Namespace, Dict[str, Any]]) -> Union[Namespace, Dict[str, Any]]:
    """All options of a model: those that a checkpoint lacks as the model's architecture has them."""
    options = dict(vars(model) if isinstance(model, Namespace) else model)
    registered = ARCH_MODEL_REGISTRY[options["_name"]]
    config = dataclass_of(registered) or registered.options
    defaults = OmegaConf.to_container(OmegaConf.structured(config), enum_to_str=True)
    # Some stand for options of other sections, which a checkpoint has by value.
    for name, value in defaults.items():
        if "${" not in str(value) and options.get(name) is None:
            options[name] = value
    if not isinstance(model, Namespace):
        return options
    model = Namespace(**options)
    ARCH_CONFIG_REGISTRY[options["_name"]](model)
    return model


def _section(cfg: Mapping[str, Any], part: str) -> Dict[str, Any]:
    """The options of a model or task, whichever form they have; none, where they have another."""
    section = cfg.get(part)
    section = vars(section) if type(section) is Namespace else section
    return section if type(section) is dict else {}
