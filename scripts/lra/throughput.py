#!/usr/bin/env python
"""Measures the attentions of Long-Range Arena against LeaP: samples a second of training and inference, and memory.

All models are in one process and take turns, update by update, on the same random sequences of full length, so that
what else the machine does slows them alike; the numbers are medians over the rounds, and the ratios medians of the
ratios within a round. Memory is measured in a process of its own for each point. The columns:

    train_per_s, infer_per_s    samples a second: forward, backward and Adam; forward alone
    train_ratio, infer_ratio    how many times as fast as this attention LeaP is (the first of --attention)
    parameters                  of the model
    peak_mib                    what a training batch takes on top of the model, at its peak

Examples:
    python scripts/lra/throughput.py
    python scripts/lra/throughput.py --attention leap softmax bigbird --lengths 1024 4096 --batch-size 8 --cuda
"""

import argparse
import statistics
import sys
from argparse import Namespace
from functools import partial
from pathlib import Path
from typing import Any, Dict, List

import torch

from leap_fairseq.cli import command
from leap_fairseq.lra import LraFacts
from leap_fairseq.models.leap_lra import LeapLraConfig, LeapLraModel, count_parameters
from leap_fairseq.modules.zoo import ZOO_KINDS
from leap_fairseq.report.tables import format_table, write_tsv

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import measuring  # noqa: E402

LOG_LEVEL = "WARNING"
VOCABULARY, CLASSES = 257, 2


def make_trial(attention: str, length: int, options: Namespace):
    """A model, and functions of tokens that train it (forward, backward, Adam) and that go forward alone."""
    args = Namespace(**vars(LeapLraConfig()))
    args.attention, args.attention_dropout = attention, options.attention_dropout
    facts = LraFacts("text", VOCABULARY, CLASSES, length, False, {}, {})
    torch.manual_seed(0)
    model = LeapLraModel.build_model(args, Namespace(facts=facts)).to(options.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)

    def update(tokens: torch.Tensor) -> None:
        model.train()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(tokens), tokens[:, 0] % CLASSES).backward()
        optimizer.step()

    @torch.no_grad()
    def infer(tokens: torch.Tensor) -> None:
        model.eval()
        model(tokens)

    return model, update, infer


def batch(length: int, options: Namespace) -> torch.Tensor:
    """Random sequences without padding, int64 [B, T]."""
    return torch.randint(1, VOCABULARY, (options.batch_size, length), device=options.device)


def compare(length: int, options: Namespace) -> List[Dict[str, Any]]:
    """The rows of one length."""
    clock, tokens, models, turns = measuring.make_clock(options.clock, options.device), batch(length, options), {}, {}
    for kind in options.attention:
        models[kind], *steps = make_trial(kind, length, options)
        turns[kind] = measuring.timed(clock, *(partial(step, tokens) for step in steps))
    seconds = {kind: list(zip(*times)) for kind, times in measuring.alternate(turns, options.rounds).items()}
    rows = []
    for kind, model in models.items():
        row = {"length": length, "attention": kind}
        for name, own, leaps in zip(("train", "infer"), seconds[kind], seconds[options.attention[0]]):
            row[f"{name}_per_s"] = options.batch_size / statistics.median(own)
            row[f"{name}_ratio"] = measuring.median_ratio(own, leaps)
        row["parameters"] = count_parameters(model)[0]
        if not options.no_memory:
            row["peak_mib"] = measuring.apart(peak, kind, length, options)
        rows.append(row)
    return rows


def peak(attention: str, length: int, options: Namespace) -> float:
    """MiB that a training batch takes, measured in this process."""
    _, update, _ = make_trial(attention, length, options)
    # Adam's averages appear with the first update.
    update(batch(1, options))
    return measuring.peak_mib(lambda: update(batch(length, options)), options.device)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    kinds, lengths = list(ZOO_KINDS), [1024, 2048, 4096]
    parser.add_argument("--attention", nargs="+", choices=kinds, default=kinds, metavar="KIND", help="default: all")
    parser.add_argument("--lengths", type=int, nargs="+", default=lengths, help="default: 1024 2048 4096")
    parser.add_argument("--batch-size", type=int, default=4, help="samples")
    parser.add_argument("--rounds", type=int, default=5, help="timings of each")
    parser.add_argument("--attention-dropout", type=float, default=0.0, help="of the models")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--clock", choices=measuring.CLOCKS, default="wall", help=measuring.CLOCK_HELP)
    parser.add_argument("--cuda", action="store_true", help="on the GPU (default: on the CPU)")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory out, a process for each point")
    parser.add_argument("--out", metavar="TSV", help="write the table here, numbers unrounded")


def run(options: Namespace) -> None:
    """Measures, prints and writes.

    Raises:
        ValueError: numbers below 1, or no GPU.
    """
    options.device = "cuda" if options.cuda else "cpu"
    measuring.check_positive(options, "lengths", "batch_size")
    measuring.check_measuring_options(options)
    rows = [row for length in options.lengths for row in compare(length, options)]
    ratios = [{**row, **{name: f"{row[name]:.2f}" for name in row if name.endswith("_ratio")}} for row in rows]
    device = torch.cuda.get_device_name() if options.cuda else f"{options.threads} thread(s) of the CPU"
    how = f"medians of {options.rounds} rounds, {options.clock} clock"
    print(f"batches of {options.batch_size}, {how}, {device}, float32")
    print(format_table(ratios))
    if options.out:
        write_tsv(rows, options.out)


if __name__ == "__main__":
    sys.exit(command.main(sys.modules[__name__]))
