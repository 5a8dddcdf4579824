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
import multiprocessing
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from typing import List, Optional

import torch

# isort: split
# Before fairseq, which else lets every library log its details.
from leap_fairseq.modules import ATTENTION_KINDS
from leap_fairseq.report.tables import format_table, write_tsv

# isort: split
from fairseq import optim, options
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

from leap_fairseq.tasks.leap_language_modeling import LeapLanguageModelingTask


def parse_arguments(given: Optional[List[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--attention",
        nargs="+",
        choices=ATTENTION_KINDS,
        default=["leap", "softmax"],
        metavar="KIND",
        help=f"of {', '.join(ATTENTION_KINDS)} (default: leap softmax)",
    )
    parser.add_argument(
        "--lengths",
        nargs="+",
        type=int,
        default=[512, 1024, 2048, 4096, 8192],
        metavar="N",
        help="tokens of a block, each a divisor of --tokens (default: 512 1024 2048 4096 8192)",
    )
    parser.add_argument("--tokens", type=int, default=8192, help="of a batch (default: 8192)")
    parser.add_argument("--layers", type=int, default=4, help="of the decoder (default: 4)")
    parser.add_argument("--embed-dim", type=int, default=256, help="of the model (default: 256)")
    parser.add_argument("--heads", type=int, default=4, help="of each attention (default: 4)")
    parser.add_argument("--ffn-embed-dim", type=int, default=1024, help="of the feed-forward networks (default: 1024)")
    parser.add_argument("--dictionary", type=int, default=8000, help="symbols (default: 8000)")
    parser.add_argument("--updates", type=int, default=2, help="batches of a point (default: 2)")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default: cpu")
    parser.add_argument("--out", metavar="TSV", help="write the table here, numbers unrounded")
    return parser.parse_args(given)


def check(sizes: argparse.Namespace) -> None:
    """Refuses what cannot be measured, before the first process starts."""
    for name in ("tokens", "layers", "embed_dim", "heads", "ffn_embed_dim", "updates"):
        if getattr(sizes, name) < 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(sizes, name)} must be at least 1")
    for length in sizes.lengths:
        if length < 1 or sizes.tokens % length:
            raise ValueError(f"--lengths {length} does not divide --tokens {sizes.tokens}")
    if sizes.embed_dim % sizes.heads:
        raise ValueError(f"--embed-dim {sizes.embed_dim} is not divisible by --heads {sizes.heads}")
    if sizes.dictionary < 10:
        raise ValueError(f"--dictionary {sizes.dictionary} must be at least 10, four of which are special")
    if sizes.device == "cuda" and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no CUDA device; leave the option out")


def build(attention: str, length: int, sizes: argparse.Namespace):
    """Model, criterion, optimizer and task, from the options that fairseq-train would be given."""
    dictionary = Dictionary()
    for index in range(sizes.dictionary - len(dictionary)):
        dictionary.add_symbol(f"w{index}")
    flags = {
        "--arch": "leap_transformer_lm_tiny",
        "--decoder-self-attention": attention,
        "--decoder-layers": sizes.layers,
        "--decoder-embed-dim": sizes.embed_dim,
        "--decoder-attention-heads": sizes.heads,
        "--decoder-ffn-embed-dim": sizes.ffn_embed_dim,
        "--tokens-per-sample": length,
        "--optimizer": "adam",
        "--lr": 1e-4,
    }
    parser = options.get_training_parser(default_task="leap_language_modeling")
    args = options.parse_args_and_arch(parser, ["no-data", *(str(x) for flag in flags.items() for x in flag)])
    cfg = convert_namespace_to_omegaconf(args)
    task = LeapLanguageModelingTask(cfg.task, dictionary)
    torch.manual_seed(0)
    model = task.build_model(cfg.model).to(sizes.device)
    optimizer = optim.build_optimizer(cfg.optimizer, list(model.parameters()))
    return model, task.build_criterion(cfg.criterion), optimizer, task


def random_batch(rows: int, length: int, sizes: argparse.Namespace) -> dict:
    """A batch as fairseq collates it, int64 [rows, length]."""
    text = torch.randint(4, sizes.dictionary, (rows, length + 1), device=sizes.device)
    lengths = torch.full((rows,), length, device=sizes.device)
    net_input = {"src_tokens": text[:, :-1].contiguous(), "src_lengths": lengths}
    target = text[:, 1:].contiguous()
    return {"net_input": net_input, "target": target, "ntokens": rows * length, "nsentences": rows}


def resident_mib(field: str) -> float:
    """Memory of this process: VmRSS now, or VmHWM at its peak.

    On Linux ``ru_maxrss`` of a new process begins at the peak of the one that started it; these do not.
    """
    with open("/proc/self/status", encoding="ascii") as status:
        (kib,) = (line.split()[1] for line in status if line.startswith(f"{field}:"))
    return int(kib) / 1024


def used_mib(device: str, peak: bool) -> float:
    """Memory now, or at its peak."""
    if device == "cpu":
        return resident_mib("VmHWM" if peak else "VmRSS")
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() if peak else torch.cuda.memory_allocated()) / 2**20


def measure(attention: str, length: int, sizes: argparse.Namespace) -> dict:
    """One point, in this process."""
    # hydra's, of what fairseq still uses.
    warnings.simplefilter("ignore")
    model, criterion, optimizer, task = build(attention, length, sizes)

    def update(number: int, rows: int, tokens: int) -> None:
        optimizer.zero_grad()
        task.train_step(random_batch(rows, tokens, sizes), model, criterion, optimizer, number)
        optimizer.step()

    # Adam's averages appear with the first update: a token is enough for them.
    update(0, 1, 1)
    optimizer.zero_grad()
    before, seconds = used_mib(sizes.device, peak=False), []
    for number in range(sizes.updates):
        start = time.perf_counter()
        update(number + 1, sizes.tokens // length, length)
        peak = used_mib(sizes.device, peak=True)
        seconds.append(time.perf_counter() - start)
    return {
        "attention": attention,
        "length": length,
        "before_mib": before,
        "peak_mib": peak,
        "activations_mib": peak - before,
        "seconds": min(seconds),
    }


def measure_apart(attention: str, length: int, sizes: argparse.Namespace) -> dict:
    """One point, in a process of its own."""
    try:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            return process.submit(measure, attention, length, sizes).result()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{attention} with {length} tokens a block: try fewer --tokens; {reason}") from error


def compare(points: list) -> list:
    """The rows of the table: points beside the first length of their attention, and the first attention."""
    first_length, first_attention = {}, {}
    for point in points:
        first_length.setdefault(point["attention"], point["peak_mib"])
        first_attention.setdefault(point["length"], point["seconds"])
    return [
        {
            **point,
            "growth": point["peak_mib"] / first_length[point["attention"]],
            "time": point["seconds"] / first_attention[point["length"]],
        }
        for point in points
    ]


def main() -> int:
    sizes = parse_arguments()
    try:
        check(sizes)
        # Attentions of one length one after the other, so that their times are of the same minute.
        points = [measure_apart(kind, length, sizes) for length in sizes.lengths for kind in sizes.attention]
        rows = compare(sorted(points, key=lambda point: sizes.attention.index(point["attention"])))
        ratios = ("seconds", "growth", "time")
        print(format_table([{**row, **{name: f"{row[name]:.2f}" for name in ratios}} for row in rows]))
        if sizes.out:
            write_tsv(rows, sizes.out)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
