#!/usr/bin/env python
"""Speed and memory of what is linear here against what it replaces, behind a gate of equality.

    python scripts/benchmark.py attention --tsv attention.tsv --png attention.png
    python scripts/benchmark.py lm --lengths 512 4096
    python scripts/benchmark.py decode --positions 100 32000
    python scripts/benchmark.py simulst --arch leap_convtransformer_simul_trans_espnet

Nothing is measured before everything that is compared has been found equal to its law. What is compared runs in turn,
in one process, and ratios are medians over the rounds: they hold on a busy machine too. Every table ends with the
hardware, versions and threads. `benchmark.py COMMAND --help` explains its columns.
"""

import argparse
import sys
import warnings
from typing import List, Optional

import torch

# isort: split
# Before fairseq, which else lets every library log its details.
import leap_fairseq.models  # noqa: F401  (registers the models)

# isort: split
from benchmarks import attention, decoding, language_model, streaming

COMMANDS = {"attention": attention, "lm": language_model, "decode": decoding, "simulst": streaming}


def parse_arguments(given: Optional[List[str]] = None) -> argparse.Namespace:
    """Reads the command line.

    Args:
        given: the arguments (default: of this process).
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.__doc__.splitlines()[0],
            description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_options(command)
        command.add_argument("--threads", type=int, metavar="N", help="of torch (default: its own choice)")
        command.add_argument("--tsv", metavar="OUT", help="write the table here, numbers unrounded")
        command.add_argument("--png", metavar="OUT", help="write the picture here")
    return parser.parse_args(given)


def main(given: Optional[List[str]] = None) -> int:
    """The command line.

    Args:
        given: the arguments (default: of this process).

    Returns:
        The exit code: 1 where the gate is red, or the options do not fit.
    """
    options = parse_arguments(given)
    try:
        if options.threads is not None:
            if options.threads < 1:
                raise ValueError(f"--threads {options.threads} must be at least 1")
            torch.set_num_threads(options.threads)
        with warnings.catch_warnings():
            # hydra's, of what fairseq still uses.
            warnings.simplefilter("ignore")
            COMMANDS[options.command].run(options)
    except (ImportError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
