"""Makes a trained translator one folder: weights, options, data YAML, CMVN, SentencePiece model and dictionary.

    leap-fairseq export translator/checkpoint_best.pt my_translator
    leap-fairseq translate speech.wav --model my_translator

From Python, `leap_fairseq.models.load_translator("my_translator")` loads it.
"""

import argparse
import logging

from leap_fairseq.cli.model_options import add_data_options, add_dtype_option, torch_dtype

LOG_LEVEL = logging.WARNING


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options, which are the arguments of :func:`leap_fairseq.models.export.export_translator`."""
    parser.add_argument("checkpoint", help="of a leap_convtransformer_simul_trans")
    parser.add_argument("out", help="the folder to make")
    add_data_options(parser)
    add_dtype_option(parser, "of the weights in the folder; fp16 halves its size (default: as they are)")


def run(options: argparse.Namespace) -> None:
    """Writes the folder."""
    from leap_fairseq.models.export import export_translator

    dtype = torch_dtype(options.dtype)
    export_translator(options.checkpoint, options.out, options.data_bin, options.config_yaml, dtype)
