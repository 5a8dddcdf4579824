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

from leap_fairseq.cli import command
from leap_fairseq.files import whole_file
from leap_fairseq.models.checked import read_plain
from leap_fairseq.models.of_fairseq import adopted, architecture

OFFICIAL = "transformer_lm"
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
    if not architecture(state).startswith(OFFICIAL) or QUERY_WEIGHT not in state["model"]:
        raise ValueError(
            f"the model is {architecture(state)}, but must be {OFFICIAL} of the fork: give a checkpoint that its "
            "fairseq-train saved for --task language_modeling"
        )
    converted = adopted(state, path)
    options, weights = converted["cfg"]["model"], converted["model"]
    if LEAP_WEIGHT in weights:
        head_dim = weights[QUERY_WEIGHT].shape[0] // options["decoder_attention_heads"]
        options.update(decoder_self_attention="leap", leap_factor=head_dim // weights[LEAP_WEIGHT].shape[0])
    return converted


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
