"""Training of the WikiText-103 model on a GPU: whole updates of fairseq's own trainer, with each attention.

An update is that of scripts/lm/train.sh on random tokens: forward, adaptive loss, backward, clipping, NAG; by default
in bfloat16 with the weights that are updated in float32 (fairseq's --bf16). The columns:

    ms              median of an update
    words_per_s     tokens of a batch over it
    spread          distance of the quartiles over the median
    vs_softmax      how many times as fast as softmax (above 1: faster)
    peak_mib        the most that is allocated on the GPU for this model: weights, optimizer and an update

The gate: the attention of every layer of the model equals its law in float64 on what the layer is given, in the type
that is measured. Their gradients are held to the law by `benchmark.py attention`.
"""

import argparse
import functools
import statistics
import tempfile
from typing import Any, Callable, Dict, List, Tuple
from unittest import mock

import torch

from benchmarks import language_model, measuring, training
from benchmarks.gate import GateError, largest_share
from benchmarks.reporting import Panel, report

# isort: split
from fairseq import options as fairseq_options
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.trainer import Trainer

from leap_fairseq.cli.model_options import add_dtype_option, torch_dtype
from leap_fairseq.tasks.leap_language_modeling import LeapLanguageModelingTask

LOG_LEVEL = "WARNING"
HALF_LIFE = "8-2048"
CONTENDERS = {
    "softmax": ("softmax", ""),
    "leap": ("leap", ""),
    "leap, half-lives": ("leap", f"--attention-half-life {HALF_LIFE}"),
}
"""The attention of each, and what is added to its command line."""

PRECISIONS = {"fp32": "", "bf16": "--bf16", "fp16": "--fp16"}
GATE_ROWS, GATE_LENGTH = 2, 200
PANELS = (Panel("words_per_s", "words a second of training"), Panel("peak_mib", "peak memory, MiB"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this sub-command."""
    lengths = "of a block, each a divisor of --tokens (default: 512 2048 8192)"
    parser.add_argument("--lengths", nargs="+", type=int, default=[512, 2048, 8192], metavar="N", help=lengths)
    parser.add_argument("--tokens", type=int, default=16384, help="of a batch")
    architectures = ["leap_transformer_lm_wiki103", "leap_transformer_lm_tiny"]
    parser.add_argument("--arch", choices=architectures, default=architectures[0], help="with random weights")
    parser.add_argument("--dictionary", type=int, default=267744, help="symbols (default: those of WikiText-103)")
    add_dtype_option(parser, default="bf16")
    measuring.add_measuring_options(parser, rounds=10)


def run(options: argparse.Namespace) -> None:
    """Measures, prints and writes.

    Raises:
        ValueError: options that do not fit, or a red gate.
    """
    measuring.check_measuring_options(options)
    measuring.check_positive(options, "tokens", "lengths", "dictionary")
    for length in options.lengths:
        if options.tokens % length:
            raise ValueError(f"--lengths {length} does not divide --tokens {options.tokens}")
    rows = [row for length in options.lengths for row in measure(length, options)]
    report(rows, options, ("length", "tokens of a block"), "attention", PANELS, {"time": "ms"})


def build(name: str, length: int, options: argparse.Namespace, folder: str) -> Trainer:
    """fairseq's trainer of a contender, on a command line such as that of scripts/lm/train.sh."""
    dictionary = Dictionary()
    for index in range(options.dictionary - len(dictionary)):
        dictionary.add_symbol(f"w{index}")
    attention, more = CONTENDERS[name]
    loss = "adaptive_loss" if options.arch.endswith("wiki103") else "cross_entropy"
    flags = (
        f"no-data --arch {options.arch} --decoder-self-attention {attention} {more} --criterion {loss} "
        f"--tokens-per-sample {length} --optimizer nag --lr 0.0001 --clip-norm 0.1 --ddp-backend legacy_ddp "
        f"--save-dir {folder} {PRECISIONS[options.dtype]} {'--cpu' if options.device == 'cpu' else ''}"
    )
    parser = fairseq_options.get_training_parser(default_task="leap_language_modeling")
    cfg = convert_namespace_to_omegaconf(fairseq_options.parse_args_and_arch(parser, flags.split()))
    task = LeapLanguageModelingTask(cfg.task, dictionary)
    torch.manual_seed(0)
    return Trainer(cfg, task, task.build_model(cfg.model), task.build_criterion(cfg.criterion))


@torch.no_grad()
def pass_gate(name: str, model: Any, length: int, options: argparse.Namespace) -> str:
    """Compares the attention of each layer with its law, on what the model gives to it.

    Raises:
        GateError: one differs, or a layer does not ask for it.
    """
    module, function, law = language_model.LAWS[CONTENDERS[name][0] != "softmax"]
    attend, shares = getattr(module, function), []

    def held_to_the_law(*args: Any, **named: Any) -> torch.Tensor:
        out = attend(*args, **named)
        args, named = [_precise(x) for x in args], {key: _precise(x) for key, x in named.items()}
        results = {"the output": out}, {"the output": law(*args, **named)}
        shares.append(largest_share(*results, torch_dtype(options.dtype), f"a layer with {name}"))
        return out

    batch = training.random_batch(GATE_ROWS, min(GATE_LENGTH, length), options)
    with mock.patch.object(module, function, held_to_the_law):
        model.eval()(**batch["net_input"])
    model.train()
    if len(shares) != len(model.decoder.layers):
        raise GateError(f"{len(model.decoder.layers)} layers with {name} asked for {len(shares)} attentions")
    return f"every layer equals the law, by so much of the tolerance: {max(shares):.1%}"


def _precise(x: Any) -> Any:
    return x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x


def make_contender(
    name: str, length: int, options: argparse.Namespace, folder: str, clock: Callable[[], float]
) -> Tuple[measuring.Contender, float]:
    """An update, and the MiB that a model takes at its peak; the gate first."""
    before = _allocated(options)
    trainer = build(name, length, options, folder)
    print(f"{name}, {length}: {pass_gate(name, trainer.model, length, options)}", flush=True)
    batch = training.random_batch(options.tokens // length, length, options)
    update = functools.partial(trainer.train_step, [batch])
    update()
    kept = _allocated(options) - before
    peak = kept + measuring.peak_mib(update, options.device)
    return measuring.timed(clock, update), peak


def _allocated(options: argparse.Namespace) -> float:
    return measuring.used_mib(options.device, peak=False)


def measure(length: int, options: argparse.Namespace) -> List[Dict[str, Any]]:
    """The rows of a length."""
    clock = measuring.make_clock(options.clock, options.device)
    steps, peaks = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in CONTENDERS:
            steps[name], peaks[name] = make_contender(name, length, options, folder, clock)
        times = measuring.alternate(steps, options.rounds, warm_up=2)
    seconds = {name: measuring.totals(parts) for name, parts in times.items()}
    return [
        {
            "attention": name,
            "length": length,
            "batch": options.tokens // length,
            "dtype": options.dtype,
            "ms": 1000 * statistics.median(of),
            "words_per_s": options.tokens / statistics.median(of),
            "spread": measuring.spread(of),
            "vs_softmax": measuring.median_ratio(seconds["softmax"], of),
            "peak_mib": peaks[name],
        }
        for name, of in seconds.items()
    ]
