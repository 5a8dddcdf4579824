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
import multiprocessing
import statistics
import sys
import time
import warnings
from argparse import Namespace
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Dict, List

import torch

# isort: split
# Before fairseq, which else lets every library log its details.
import leap_fairseq.models  # noqa: F401
from leap_fairseq.lra import LraFacts
from leap_fairseq.models.leap_lra import LeapLraConfig, LeapLraModel, count_parameters
from leap_fairseq.modules.zoo import ZOO_KINDS
from leap_fairseq.report.tables import format_table, write_tsv

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lm"))
from memory import used_mib  # noqa: E402

VOCABULARY, CLASSES = 257, 2


class Trial:
    """A model in training, and how long its updates took.

    Args:
        attention: its kind.
        length: tokens of a sequence.
        options: of the command.
    """

    def __init__(self, attention: str, length: int, options: Namespace):
        defaults = LeapLraConfig()
        args = Namespace(**{name: getattr(defaults, name) for name in defaults.__dataclass_fields__})
        args.attention, args.attention_dropout = attention, options.attention_dropout
        facts = LraFacts("text", VOCABULARY, CLASSES, length, False, {}, {})
        torch.manual_seed(0)
        self.model = LeapLraModel.build_model(args, Namespace(facts=facts)).to(options.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4)
        self.attention, self.device = attention, options.device
        self.clock = time.process_time if options.clock == "cpu" else time.perf_counter
        self.seconds: Dict[str, List[float]] = {"train": [], "infer": []}

    def update(self, tokens: torch.Tensor) -> None:
        """Forward, backward, Adam."""
        self.model.train()
        self.optimizer.zero_grad()
        target = tokens[:, 0] % CLASSES
        torch.nn.functional.cross_entropy(self.model(tokens), target).backward()
        self.optimizer.step()

    @torch.no_grad()
    def infer(self, tokens: torch.Tensor) -> None:
        """Forward alone."""
        self.model.eval()
        self.model(tokens)

    def time(self, tokens: torch.Tensor) -> None:
        """One of each, timed."""
        for name, step in (("train", self.update), ("infer", self.infer)):
            self._wait()
            start = self.clock()
            step(tokens)
            self._wait()
            self.seconds[name].append(self.clock() - start)

    def _wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()


def batch(length: int, options: Namespace) -> torch.Tensor:
    """Random sequences without padding, int64 [B, T]."""
    return torch.randint(1, VOCABULARY, (options.batch_size, length), device=options.device)


def compare(length: int, options: Namespace) -> List[Dict[str, Any]]:
    """The rows of one length, without memory."""
    trials = [Trial(kind, length, options) for kind in options.attention]
    for trial in trials:
        trial.time(batch(length, options))
        trial.seconds = {"train": [], "infer": []}
    for number in range(options.rounds):
        tokens = batch(length, options)
        # Every other round backwards, so that nobody always comes after the same one.
        for trial in trials if number % 2 == 0 else trials[::-1]:
            trial.time(tokens)
    rows = []
    for trial in trials:
        row = {"length": length, "attention": trial.attention}
        for name, seconds in trial.seconds.items():
            row[f"{name}_per_s"] = options.batch_size / statistics.median(seconds)
            row[f"{name}_ratio"] = statistics.median(
                own / reference for own, reference in zip(seconds, trials[0].seconds[name])
            )
        rows.append({**row, "parameters": count_parameters(trial.model)[0]})
    return rows


def peak(attention: str, length: int, options: Namespace) -> float:
    """MiB that a training batch takes, measured in this process."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    trial = Trial(attention, length, options)
    # Adam's averages appear with the first update.
    trial.update(batch(1, options))
    before = used_mib(options.device, peak=False)
    trial.update(batch(length, options))
    return used_mib(options.device, peak=True) - before


def peak_apart(attention: str, length: int, options: Namespace) -> float:
    """The same, in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(peak, attention, length, options).result()


def arguments() -> Namespace:
    """The command line.

    Raises:
        SystemExit: numbers below 1, or no GPU.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--attention", nargs="+", choices=ZOO_KINDS, default=list(ZOO_KINDS), metavar="KIND", help="default: all"
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 4096], help="default: 1024 2048 4096")
    parser.add_argument("--batch-size", type=int, default=4, help="samples (default: 4)")
    parser.add_argument("--rounds", type=int, default=5, help="timings of each (default: 5)")
    parser.add_argument("--attention-dropout", type=float, default=0.0, help="default: 0")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU (default: 1)")
    parser.add_argument(
        "--clock", choices=["wall", "cpu"], default="wall", help="cpu: time of this process alone, for a busy machine"
    )
    parser.add_argument("--cuda", action="store_true", help="on the GPU (default: on the CPU)")
    parser.add_argument("--no-memory", action="store_true", help="leave the memory out, a process for each point")
    parser.add_argument("--out", metavar="TSV", help="write the table here, numbers unrounded")
    options = parser.parse_args()
    for name in ("batch_size", "rounds", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} {getattr(options, name)} must be at least 1")
    if min(options.lengths) < 1:
        parser.error(f"--lengths {min(options.lengths)} must be at least 1")
    if options.cuda and not torch.cuda.is_available():
        parser.error("--cuda: torch finds no CUDA device; leave the option out")
    if options.cuda and options.clock == "cpu":
        parser.error("--clock cpu does not see what the GPU does: leave it out with --cuda")
    options.device = "cuda" if options.cuda else "cpu"
    return options


def main() -> None:
    """Measures and prints."""
    warnings.simplefilter("ignore")
    options = arguments()
    torch.set_num_threads(options.threads)
    rows = []
    for length in options.lengths:
        for row in compare(length, options):
            if not options.no_memory:
                row["peak_mib"] = peak_apart(row["attention"], length, options)
            rows.append(row)
    ratios = [{**row, **{name: f"{row[name]:.2f}" for name in row if name.endswith("_ratio")}} for row in rows]
    device = torch.cuda.get_device_name() if options.cuda else f"{options.threads} thread(s) of the CPU"
    how = f"medians of {options.rounds} rounds, {options.clock} clock"
    print(f"batches of {options.batch_size}, {how}, {device}, float32")
    print(format_table(ratios))
    if options.out:
        write_tsv(rows, options.out)


if __name__ == "__main__":
    main()
