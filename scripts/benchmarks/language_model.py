"""Training of a language model: updates a second with LeaP and with softmax, as the blocks grow.

An update is fairseq's: forward, loss, backward, Adam. Models, batches and sizes are those of scripts/lm/memory.py, the
tokens of a batch are constant, and the models of a length train in turn. The columns:

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

import memory
import torch
import torch.nn.functional as F

from benchmarks import contenders
from benchmarks.gate import GateError, largest_share
from benchmarks.growth import growth, growth_text, legend
from benchmarks.measuring import (
    Contender,
    add_measuring_options,
    alternate,
    apart,
    check_measuring_options,
    machine,
    make_clock,
    matrix_operations,
    matrix_product,
    median_ratio,
    spread,
    totals,
)
from benchmarks.profiling import PROFILED, profile
from benchmarks.reporting import Panel, plot, table, write_rows
from leap_fairseq.attention import prefix_attention
from leap_fairseq.layers import linear_attention

KINDS = ("leap", "softmax")
MATMUL = "matmul"
GATE_ROWS, GATE_LENGTH = 2, 300
COSTS = {"time": "ms", "memory": "activations_mib"}
PANELS = (
    Panel("words_per_s", "words a second of training"),
    Panel("vs_softmax", "times as fast as softmax", one=True),
    Panel("peak_mib", "peak memory of the process, MiB"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this sub-command."""
    parser.add_argument(
        "--lengths", nargs="+", type=int, default=[512, 4096, 16384], metavar="N", help="default: 512 4096 16384"
    )
    parser.add_argument("--tokens", type=int, default=16384, help="of a batch (default: 16384)")
    add_size_options(parser)
    parser.add_argument("--no-memory", action="store_true", help="do not measure memory")
    parser.add_argument("--matmul", type=int, default=1024, metavar="N", help="size of its matrices (default: 1024)")
    parser.add_argument(
        "--profile", nargs="+", choices=list(PROFILED), default=[], metavar="MODEL", help=", ".join(PROFILED)
    )
    add_measuring_options(parser, rounds=5)


def add_size_options(parser: argparse.ArgumentParser) -> None:
    """Adds the sizes of the language model; defaults are those of scripts/lm/memory.py."""
    for name, default, of in (
        ("layers", 4, "of the decoder"),
        ("embed-dim", 256, "of the model"),
        ("heads", 4, "of each attention"),
        ("ffn-embed-dim", 1024, "of the feed-forward networks"),
        ("dictionary", 8000, "symbols"),
    ):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"{of} (default: {default})")


def run(options: argparse.Namespace) -> None:
    """Measures, prints and writes.

    Raises:
        ValueError: options that do not fit, or a red gate.
    """
    check_measuring_options(options)
    options.updates = 2
    if options.profile:
        for name in options.profile:
            print(profile(name, options.device), end="\n\n")
        print(machine(options))
        return
    memory.check(options)
    for kind in KINDS:
        print(f"{kind}: {pass_gate(kind, options)}", flush=True)
    rows = [row for length in options.lengths for row in measure(length, options)]
    print(table(rows))
    growths = growth([row for row in rows if row["attention"] in KINDS], "attention", "length", COSTS)
    print(growth_text(growths))
    what = machine(options)
    print(what)
    write_rows(rows, what, options.tsv)
    if options.png:
        drawn = [row for row in rows if row["attention"] in KINDS]
        plot(drawn, options.png, ("length", "tokens of a block"), PANELS, "attention", what, legend(growths))


def written_softmax(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, **unused):
    """torch's `scaled_dot_product_attention` by its definition, as fairseq calls it: with a mask to add."""
    return (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2) + attn_mask).softmax(-1) @ v


LAWS = {
    "leap": (linear_attention, "prefix_attention", functools.partial(prefix_attention, algorithm="naive")),
    "softmax": (torch.nn.functional, "scaled_dot_product_attention", written_softmax),
}
"""Where each model takes its attention from, and what is put there."""


def pass_gate(kind: str, options: argparse.Namespace) -> str:
    """Compares a model with itself by the law of its attention.

    Raises:
        GateError: a score or a gradient differs.
    """
    length = min(GATE_LENGTH, *options.lengths)
    model = memory.build(kind, length, options)[0].eval()
    for name, parameter in model.named_parameters():
        # Proportions begin near one half, where the weight of their difference hardly matters.
        parameter.data.mul_(4 if "LeaP" in name else 1)
    batch = memory.random_batch(GATE_ROWS, length, options)

    share = 0.0
    for dtype in (torch.float32, torch.float64):
        model.to(dtype)
        actual = results(model, batch)
        module, name, law = LAWS[kind]
        with mock.patch.object(module, name, mock.Mock(side_effect=law)) as asked:
            expected = results(model, batch)
        if asked.call_count != options.layers:
            raise GateError(f"the law of {kind} was asked {asked.call_count} times by {options.layers} layers")
        share = max(share, largest_share(actual, expected, dtype, f"the language model with {kind}"))
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
    clock = make_clock(options.clock, options.device)
    steps: Dict[str, Contender] = {kind: make_update(kind, length, options, clock) for kind in KINDS}
    steps[MATMUL] = matrix_product(options.matmul, torch.float32, options.device, clock)
    seconds = {name: totals(times) for name, times in alternate(steps, options.rounds).items()}
    counts = {kind: operations(kind, length, options) for kind in KINDS}
    counts[MATMUL] = matrix_operations(options.matmul)
    rows = []
    for name, times in seconds.items():
        model, middle = name != MATMUL, statistics.median(times)
        used: Dict[str, Any] = {}
        if model and not options.no_memory:
            used = apart(memory.measure, name, length, options, threads=torch.get_num_threads())
        rows.append(
            {
                "attention": name,
                "length": length,
                "batch": options.tokens // length,
                "ms": 1000 * middle,
                "words_per_s": options.tokens / middle if model else None,
                "spread": spread(times),
                "vs_softmax": median_ratio(seconds["softmax"], times) if model else None,
                "peak_mib": used.get("peak_mib"),
                "activations_mib": used.get("activations_mib"),
                "gflops": counts[name] / middle / 1e9,
                "of_matmul": median_ratio(seconds[MATMUL], times) * counts[name] / counts[MATMUL],
            }
        )
    return rows


def make_update(kind: str, length: int, options: argparse.Namespace, clock) -> Contender:
    """One update of a model, each time on the same batch."""
    model, criterion, optimizer, task = memory.build(kind, length, options)
    batch = memory.random_batch(options.tokens // length, length, options)

    def update():
        start = clock()
        optimizer.zero_grad()
        task.train_step(batch, model, criterion, optimizer, 0)
        optimizer.step()
        return (clock() - start,)

    return update


def operations(kind: str, length: int, options: argparse.Namespace) -> int:
    """Multiplications and additions of the matrix products of an update."""
    width, rows = options.embed_dim, options.tokens // length
    layer = 4 * width**2 + 2 * width * options.ffn_embed_dim
    weights = options.layers * layer + width * options.dictionary
    case = contenders.Case(
        "causal", rows, length, length, options.heads, width // options.heads, torch.float32, options.device
    )
    attention = contenders.operations("sdpa" if kind == "softmax" else "blockwise", case, networks=kind == "leap")
    return 3 * 2 * weights * options.tokens + options.layers * attention
