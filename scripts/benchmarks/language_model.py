"""Training of a language model: updates a second with linear attention and with softmax, as the blocks grow.

An update is fairseq's: forward, loss, backward, Adam. Models, batches and sizes are those of scripts/lm/memory.py, the
tokens of a batch are constant, and the models of a length train in turn; those with _fading have half-lives and no
positions. The columns:

    ms              median of an update
    words_per_s     tokens of a batch over it
    spread          distance of the quartiles over the median
    vs_softmax      how many times as fast as softmax (above 1: faster)
    peak_mib        the most that is resident in a process that makes two updates; activations_mib: that beyond
                    imports, weights and Adam
    gflops          necessary operations a second, in 10^9: three times the forward, which takes 2 for each weight of a
                    matrix and token, and those of the attention (scripts/benchmarks/contenders.py)
    of_matmul       that, over the rate of a product of large matrices in the same rounds

The gate: the scores, and in float64 the gradients of all weights, equal those of the same model by the algorithm
`naive`, or by softmax as it is defined. With --profile, the operators that take most of one update, and nothing else.
"""

import argparse
import functools
import statistics
from typing import Any, Dict, List
from unittest import mock

import torch
import torch.nn.functional as F

from benchmarks import contenders, measuring, training
from benchmarks.gate import GateError, largest_share
from benchmarks.measuring import MATMUL
from benchmarks.profiling import PROFILED, profile
from benchmarks.reporting import Panel, report
from leap_fairseq.attention import prefix_attention
from leap_fairseq.layers import linear_attention

LOG_LEVEL = "WARNING"
MODELS = ("leap", "leap_fading", "contrast", "contrast_fading", "softmax")
GATE_ROWS, GATE_LENGTH = 2, 300
COSTS = {"time": "ms", "memory": "activations_mib"}
PANELS = (
    Panel("words_per_s", "words a second of training"),
    Panel("vs_softmax", "times as fast as softmax", one=True),
    Panel("peak_mib", "peak memory of the process, MiB"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this sub-command."""
    lengths = "of a block, each a divisor of --tokens (default: 512 4096 16384)"
    parser.add_argument("--lengths", nargs="+", type=int, default=[512, 4096, 16384], metavar="N", help=lengths)
    parser.add_argument("--tokens", type=int, default=16384, help="of a batch")
    compared = "beside softmax (default: leap leap_fading)"
    parser.add_argument("--attention", nargs="+", choices=MODELS, default=["leap", "leap_fading"], help=compared)
    training.add_size_options(parser)
    parser.add_argument("--no-memory", action="store_true", help="do not measure memory")
    parser.add_argument("--matmul", type=int, default=1024, metavar="N", help="size of its matrices")
    names = ", ".join(PROFILED)
    parser.add_argument("--profile", nargs="+", choices=list(PROFILED), default=[], metavar="MODEL", help=names)
    measuring.add_measuring_options(parser, rounds=5)


def run(options: argparse.Namespace) -> None:
    """Measures, prints and writes.

    Raises:
        ValueError: options that do not fit, or a red gate.
    """
    measuring.check_measuring_options(options)
    if options.profile:
        for name in options.profile:
            print(profile(name, options.device), end="\n\n")
        print(measuring.machine(options))
        return
    training.check_sizes(options)
    measuring.check_positive(options, "matmul")
    for model in compared_models(options):
        print(f"{model}: {pass_gate(model, options)}", flush=True)
    rows = [row for length in options.lengths for row in measure(length, options)]
    report(rows, options, ("length", "tokens of a block"), "attention", PANELS, COSTS)


def compared_models(options: argparse.Namespace) -> List[str]:
    """Those of the options, and softmax."""
    return list(dict.fromkeys((*options.attention, "softmax")))


def written_softmax(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, **unused):
    """torch's `scaled_dot_product_attention` by its definition, as fairseq calls it: with a mask to add."""
    return (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2) + attn_mask).softmax(-1) @ v


LAWS = {
    True: (linear_attention, "prefix_attention", functools.partial(prefix_attention, algorithm="naive")),
    False: (torch.nn.functional, "scaled_dot_product_attention", written_softmax),
}
"""Where a model takes its attention from, linear or not, and what is put there."""


def pass_gate(name: str, options: argparse.Namespace) -> str:
    """Compares a model with itself by the law of its attention.

    Raises:
        GateError: a score or a gradient differs.
    """
    length = min(GATE_LENGTH, *options.lengths)
    model = training.build(name, length, options).model.eval()
    for weight, parameter in model.named_parameters():
        # Proportions begin near one half, where the weight of their difference hardly matters.
        parameter.data.mul_(4 if "LeaP" in weight else 1)
    batch = training.random_batch(GATE_ROWS, length, options)

    share = 0.0
    for dtype in (torch.float32, torch.float64):
        model.to(dtype)
        actual = results(model, batch)
        module, function, law = LAWS[name != "softmax"]
        with mock.patch.object(module, function, mock.Mock(side_effect=law)) as asked:
            expected = results(model, batch)
        if asked.call_count != options.layers:
            raise GateError(f"the law of {name} was asked {asked.call_count} times by {options.layers} layers")
        share = max(share, largest_share(actual, expected, dtype, f"the language model with {name}"))
    return f"scores and gradients equal those of the law, by so much of the tolerance: {share:.1%}"


def results(model: Any, batch: dict) -> Dict[str, torch.Tensor]:
    """The scores; in float64 also the gradients of the loss, which is computed here: fairseq's is float32.

    In float32 some of the many units of a ReLU are zero but for their rounding, and their gradient is all or nothing.
    """
    model.zero_grad(set_to_none=True)
    scores, _ = model(**batch["net_input"])
    found = {"the scores": scores.detach()}
    if scores.dtype == torch.float64:
        F.cross_entropy(scores.flatten(0, 1), batch["target"].flatten(), reduction="sum").backward()
        found.update({f"the gradient of {n}": p.grad for n, p in model.named_parameters()})
    return found


def measure(length: int, options: argparse.Namespace) -> List[Dict[str, Any]]:
    """The rows of a length."""
    clock = measuring.make_clock(options.clock, options.device)
    steps = {}
    for name in compared_models(options):
        trained = training.build(name, length, options)
        batch = training.random_batch(options.tokens // length, length, options)
        steps[name] = measuring.timed(clock, functools.partial(trained.update, batch))
    steps[MATMUL] = measuring.matrix_product(options.matmul, torch.float32, options.device, clock)
    seconds = {name: measuring.totals(times) for name, times in measuring.alternate(steps, options.rounds).items()}
    counts = {name: operations(name, length, options) for name in compared_models(options)}
    counts[MATMUL] = 2 * options.matmul**3
    rows = []
    for name, times in seconds.items():
        model, middle = name != MATMUL, statistics.median(times)
        used: Dict[str, Any] = {}
        if model and not options.no_memory:
            used = measuring.apart(training.memory_of_training, name, length, 2, options)
        rows.append(
            {
                "attention": name,
                "length": length,
                "batch": options.tokens // length,
                "ms": 1000 * middle,
                "words_per_s": options.tokens / middle if model else None,
                "spread": measuring.spread(times),
                "vs_softmax": measuring.median_ratio(seconds["softmax"], times) if model else None,
                "peak_mib": used.get("peak_mib"),
                "activations_mib": used.get("activations_mib"),
                **measuring.rates(name, seconds, counts),
            }
        )
    return rows


def operations(name: str, length: int, options: argparse.Namespace) -> int:
    """Multiplications and additions of the matrix products of an update."""
    width, rows = options.embed_dim, options.tokens // length
    layer = 4 * width**2 + 2 * width * options.ffn_embed_dim
    weights = options.layers * layer + width * options.dictionary
    case = contenders.Case(
        "causal", rows, length, length, options.heads, width // options.heads, torch.float32, options.device
    )
    attention = contenders.operations(
        "sdpa" if name == "softmax" else "blockwise", case, networks=name.startswith("leap")
    )
    return 3 * 2 * weights * options.tokens + options.layers * attention
