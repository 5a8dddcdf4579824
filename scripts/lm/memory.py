#!/usr/bin/env python
"""Measures the peak memory of training a language model as its blocks grow, at the same number of tokens a batch.

Each point (an attention, a length) is a process of its own: it builds the model as fairseq-train does and makes some
updates (forward, backward, Adam) on random tokens. The columns:

    before_mib       resident before the first batch: imports, weights, the averages of Adam
    peak_mib         the most that was resident at any time
    activations_mib  the difference, which the batch takes: activations, and gradients
    growth           peak_mib over that of the first length
    seconds          of the fastest update
    time             seconds over those of the first attention at the same length

With --device cuda, memory is what torch has allocated on the device.

Examples:
    python scripts/lm/memory.py
    python scripts/lm/memory.py --attention leap relu softmax --lengths 256 1024 4096 --tokens 4096 --out memory.tsv
"""

import argparse
import sys
from pathlib import Path

import torch

from leap_fairseq.cli import command
from leap_fairseq.modules import ATTENTION_KINDS
from leap_fairseq.report.tables import format_table, write_tsv

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import training  # noqa: E402
from benchmarks.measuring import apart, check_positive  # noqa: E402


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    kinds = f"of {', '.join(ATTENTION_KINDS)} (default: leap softmax)"
    lengths = [512, 1024, 2048, 4096, 8192]
    parser.add_argument(
        "--attention", nargs="+", choices=ATTENTION_KINDS, default=["leap", "softmax"], metavar="KIND", help=kinds
    )
    parser.add_argument(
        "--lengths", nargs="+", type=int, default=lengths, metavar="N", help="of a block, each a divisor of --tokens"
    )
    parser.add_argument("--tokens", type=int, default=8192, help="of a batch")
    training.add_size_options(parser)
    parser.add_argument("--updates", type=int, default=2, help="batches of a point")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of the training")
    parser.add_argument("--out", metavar="TSV", help="write the table here, numbers unrounded")


def compare(points: list) -> list:
    """The rows of the table: points beside the first length of their attention, and the first attention."""
    first_length, first_attention = {}, {}
    for point in points:
        first_length.setdefault(point["attention"], point["peak_mib"])
        first_attention.setdefault(point["length"], point["seconds"])
    for point in points:
        point["growth"] = point["peak_mib"] / first_length[point["attention"]]
        point["time"] = point["seconds"] / first_attention[point["length"]]
    return points


def run(options: argparse.Namespace) -> None:
    """Measures, prints and writes.

    Raises:
        ValueError: sizes that do not fit, or a process that failed.
    """
    training.check_sizes(options)
    check_positive(options, "updates")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no CUDA device; leave the option out")
    # Attentions of one length one after the other, so that their times are of the same minute.
    points = [
        apart(training.memory_of_training, kind, length, options.updates, options)
        for length in options.lengths
        for kind in options.attention
    ]
    rows = compare(sorted(points, key=lambda point: options.attention.index(point["attention"])))
    ratios = ("seconds", "growth", "time")
    print(format_table([{**row, **{name: f"{row[name]:.2f}" for name in ratios}} for row in rows]))
    if options.out:
        write_tsv(rows, options.out)


if __name__ == "__main__":
    sys.exit(command.main(sys.modules[__name__]))
