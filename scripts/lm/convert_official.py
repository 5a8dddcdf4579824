#!/usr/bin/env python
"""Makes a language model of the authors' fork one of this plugin: the same weights, under the options used here.

    python scripts/lm/convert_official.py checkpoint_best.pt converted.pt

The weights need no change, for their names are the same. What the checkpoint says of itself does: there the model is
`transformer_lm` with --dec-leapformer-enable, here `leap_transformer_lm` with --decoder-self-attention leap. The
attention and the LeaP factor are read off the weights. The result is for evaluation and generation, and as
--finetune-from-model; the state of the optimizer is left out.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Dict

import torch
from omegaconf import OmegaConf

from leap_fairseq.cli import command
from leap_fairseq.files import whole_file
from leap_fairseq.models.checked import asked_for, read_plain
from leap_fairseq.models.leap_transformer_lm import LeapTransformerLanguageModelConfig
from leap_fairseq.models.option_rules import model_rules, task_rules

OFFICIAL, OURS = "transformer_lm", "leap_transformer_lm"
LEAP_WEIGHT = "decoder.layers.0.self_attn.q_LeaP.0.weight"
QUERY_WEIGHT = "decoder.layers.0.self_attn.q_proj.weight"


def convert(state: Dict[str, Any], path: Path) -> Dict[str, Any]:
    """Makes what the fork's fairseq-train saved of a language model a checkpoint of ``leap_transformer_lm``.

    Args:
        state: the content of the checkpoint.
        path: of its file, for messages.

    Raises:
        ValueError: it is something else, or an option has a value of another type.
    """
    cfg, weights = state["cfg"], state["model"]
    given, task = (cfg.get(part) if isinstance(cfg.get(part), dict) else {} for part in ("model", "task"))
    if not str(given.get("_name", "")).startswith(OFFICIAL) or QUERY_WEIGHT not in weights:
        raise ValueError(
            f"the model is {given.get('_name') or 'not named'}, but must be {OFFICIAL} of the fork: give a checkpoint "
            "that its fairseq-train saved for --task language_modeling"
        )
    defaults = OmegaConf.to_container(OmegaConf.structured(LeapTransformerLanguageModelConfig), enum_to_str=True)
    # Some stand for options of other sections, which the checkpoint has by value.
    defaults = {name: value for name, value in defaults.items() if "${" not in str(value)}
    options = {name: value for name, value in {**defaults, **given}.items() if name in model_rules(OURS)}
    options.update(_name=OURS, decoder_self_attention="softmax")
    task = {name: value for name, value in task.items() if name in ("_name", *task_rules("language_modeling"))}
    asked_for({"model": options, "task": task}, path)
    if LEAP_WEIGHT in weights:
        head_dim = weights[QUERY_WEIGHT].shape[0] // options["decoder_attention_heads"]
        options.update(decoder_self_attention="leap", leap_factor=head_dim // weights[LEAP_WEIGHT].shape[0])
    kept = {name: state[name] for name in ("model", "extra_state", "args", "optimizer_history") if name in state}
    return {**kept, "cfg": {**cfg, "model": options, "task": task}}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the paths."""
    parser.add_argument("official", type=Path, help="checkpoint of the fork")
    parser.add_argument("converted", type=Path, help="checkpoint to write")


def run(options: argparse.Namespace) -> None:
    """Converts."""
    state = convert(read_plain(options.official), options.official)
    with whole_file(options.converted) as file:
        torch.save(state, file)


if __name__ == "__main__":
    sys.exit(command.main(sys.modules[__name__]))
