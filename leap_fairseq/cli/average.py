#!/usr/bin/env python
"""Averages the weights of the last checkpoints of a training; called by scripts/simulst/average.sh.

python scripts/simulst/average.py SAVE_DIR OUT.pt [N] [--by epoch|update] [--best N]
"""

import argparse
import logging
import pickle
import sys

from leap_fairseq.models.averaging import average_checkpoints


def main() -> None:
    """The command line; its options are the arguments of `average_checkpoints`."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", metavar="SAVE_DIR", help="--save-dir of the training")
    parser.add_argument("out", metavar="OUT.pt", help="the checkpoint to write")
    parser.add_argument("count", metavar="N", type=int, nargs="?", help="how many, the newest (default: 10)")
    parser.add_argument("--by", choices=("epoch", "update"), help="which (default: by epoch if there are any)")
    parser.add_argument("--best", metavar="N", type=int, help="the best N instead of the newest")
    options = parser.parse_args()
    if options.best is not None and (options.count is not None or options.by):
        parser.error("--best N stands alone: leave the other N and --by out")
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s: %(message)s")
    count, series = (options.best, "best") if options.best is not None else (options.count, options.by)
    try:
        paths = average_checkpoints(options.folder, options.out, 10 if count is None else count, series)
    except (OSError, ValueError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        sys.exit(f"error: {error}")
    sys.stdout.write(f"{options.out}: mean of {', '.join(path.name for path in paths)}\n")


if __name__ == "__main__":
    main()
