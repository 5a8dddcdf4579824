"""Makes a trained translator one folder: weights, options, data YAML, CMVN, SentencePiece model and dictionary.

    leap-fairseq export translator/checkpoint_best.pt my_translator
    leap-fairseq translate speech.wav --model my_translator

From Python, `leap_fairseq.models.load_translator("my_translator")` loads it.
"""

import argparse
import logging

from leap_fairseq.cli.translate import DTYPES

LOG_LEVEL = logging.WARNING


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options, which are the arguments of :func:`leap_fairseq.models.export.export_translator`."""
    parser.add_argument("checkpoint", help="of a leap_convtransformer_simul_trans")
    parser.add_argument("out", help="the folder to make")
    parser.add_argument("--data", help="folder of its data YAML (default: as in training)")
    parser.add_argument("--config-yaml", help="name of its data YAML (default: as in training)")
    text = "of the weights in the folder; float16 halves its size (default: as they are)"
    parser.add_argument("--dtype", choices=DTYPES, help=text)


def run(options: argparse.Namespace) -> None:
    """Writes the folder."""
    from leap_fairseq.models.export import export_translator

    # isort: split
    # Behind fairseq, whose import is made quick, and torch's with it.
    import torch

    dtype = getattr(torch, options.dtype) if options.dtype else None
    export_translator(options.checkpoint, options.out, options.data, options.config_yaml, dtype)
