#!/usr/bin/env python
"""Draws quality against latency from a table of scores, or one sentence of a run as a staircase.

Examples:
    python scripts/simulst/plot.py quality runs/demo/simulst.tsv --out quality_latency.png
    python scripts/simulst/plot.py staircase runs/demo/simuleval/leap-k3 --index 7 --out staircase.png
"""

import argparse
import logging
import sys

from leap_fairseq.simul.latency import read_instances
from leap_fairseq.simul.plots import plot_quality_latency, plot_staircase
from leap_fairseq.simul.scoring import read_tsv


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    quality = kinds.add_parser("quality", help="quality against latency, a line a group")
    quality.add_argument("table", metavar="TSV", help="scores of several runs, one a line")
    quality.add_argument("--quality", default="BLEU", help="column of the y axis (default: BLEU)")
    quality.add_argument("--latency", default="LAAL", help="column of the x axis (default: LAAL)")
    quality.add_argument("--group", default="attention", help="column that names the line (default: attention)")
    quality.add_argument("--label", default="waitk", help="column written beside the points (default: waitk)")
    staircase = kinds.add_parser("staircase", help="reads and writes of one sentence over time")
    staircase.add_argument("run", metavar="RUN_DIR", help="simuleval --output folder, or its instances.log")
    staircase.add_argument("--index", type=int, help="number of the sentence (default: the one with most words)")
    for kind in (quality, staircase):
        kind.add_argument("--out", required=True, metavar="PNG", help="picture to write")
    return parser.parse_args()


def draw_staircase(run: str, index: int, out: str) -> None:
    instances = {instance.index: instance for instance in read_instances(run)}
    if not instances:
        raise ValueError(f"{run}: holds no sentence")
    if index is None:
        index = max(instances, key=lambda number: len(instances[number].delays))
    if index not in instances:
        raise ValueError(f"--index {index}: the run has the sentences {min(instances)} to {max(instances)}")
    plot_staircase(instances[index], out)


def main() -> int:
    arguments = parse_arguments()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        if arguments.kind == "staircase":
            draw_staircase(arguments.run, arguments.index, arguments.out)
        else:
            rows = read_tsv(arguments.table)
            plot_quality_latency(
                rows, arguments.out, arguments.quality, arguments.latency, arguments.group, arguments.label
            )
    except (OSError, ValueError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
