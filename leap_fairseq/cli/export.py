#!/usr/bin/env python
"""Makes a trained translator one folder: weights, options, data YAML, CMVN, SentencePiece model and dictionary.

    python scripts/simulst/export.py translator/checkpoint_best.pt my_translator
    python -m leap_fairseq.cli.translate speech.wav --model my_translator

From Python, `StreamingTranslator.from_pretrained("my_translator")` loads it.
"""

import argparse
import pickle
import sys

from leap_fairseq.models.export import export_translator


def main() -> None:
    """The command line; its options are the arguments of `export_translator`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("checkpoint", help="of a leap_convtransformer_simul_trans")
    parser.add_argument("out", help="the folder to make")
    parser.add_argument("--data", help="folder of its data YAML (default: as in training)")
    parser.add_argument("--config-yaml", help="name of its data YAML (default: as in training)")
    options = parser.parse_args()
    try:
        export_translator(options.checkpoint, options.out, options.data, options.config_yaml)
    except (OSError, ValueError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
