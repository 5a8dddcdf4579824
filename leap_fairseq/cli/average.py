"""Averages the weights of the last checkpoints of a training.

leap-fairseq average SAVE_DIR OUT.pt [N] [--by epoch|update] [--best N]
"""

import argparse
import logging
import sys

LOG_LEVEL = logging.WARNING


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options, which are the arguments of :func:`leap_fairseq.models.averaging.average_checkpoints`."""
    parser.add_argument("folder", metavar="SAVE_DIR", help="--save-dir of the training")
    parser.add_argument("out", metavar="OUT.pt", help="the checkpoint to write")
    parser.add_argument("count", metavar="N", type=int, nargs="?", help="how many, the newest (default: 10)")
    parser.add_argument("--by", choices=("epoch", "update"), help="which (default: by epoch if there are any)")
    parser.add_argument("--best", metavar="N", type=int, help="the best N instead of the newest")


def run(options: argparse.Namespace) -> None:
    """Averages, and says what."""
    if options.best is not None and (options.count is not None or options.by):
        raise argparse.ArgumentTypeError("--best N stands alone: leave the other N and --by out")
    from leap_fairseq.models.averaging import average_checkpoints

    count, series = (options.best, "best") if options.best is not None else (options.count, options.by)
    paths = average_checkpoints(options.folder, options.out, 10 if count is None else count, series)
    sys.stdout.write(f"{options.out}: mean of {', '.join(path.name for path in paths)}\n")
