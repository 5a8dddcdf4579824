"""Attention alone, forward and backward: LeaP's algorithms against softmax at the same sizes.

Every row of the table is a contender at a length:

    forward_ms, backward_ms, ms   medians, and of their sum
    spread          distance of the quartiles over the median
    vs_sdpa         how many times as fast as torch's scaled_dot_product_attention (above 1: faster)
    vs_quadratic    the same against the authors' algorithm, which computes all weights
    peak_mib        of one forward and backward beyond its inputs; on the CPU, in a process of its own
    gflops          necessary operations a second (scripts/benchmarks/contenders.py counts them), in 10^9
    of_matmul       that, over the rate of a product of large matrices in the same rounds

LeaP is measured as it stands in the place of softmax, feature map and networks of the proportions included; with
--core, without these. The gate compares each attention with its law at every length (one row, one head), and two rows
with all heads at a short one. The last lines say how time and memory of one sequence grow: e of length ** e, over all
lengths and between the last two.
"""

import argparse
import statistics
from typing import Any, Dict, List

import torch

from benchmarks import contenders as them
from benchmarks import measuring
from benchmarks.gate import check_attention
from benchmarks.measuring import MATMUL, Contender
from benchmarks.reporting import Panel, report
from leap_fairseq.cli.model_options import add_dtype_option

LOG_LEVEL = "WARNING"
SHORT = 130

COSTS = {"time": "ms", "memory": "peak_mib"}

COLUMNS = (
    *("schedule", "algorithm", "batch", "queries", "keys", "heads", "dim", "dtype", "forward_ms", "backward_ms", "ms"),
    *("us_per_position", "spread", "vs_sdpa", "vs_quadratic", "peak_mib", "gflops", "of_matmul"),
)

PLAIN = ("schedule", "heads", "dim", "dtype", "us_per_position")
"""Columns that are in the table file alone."""

PANELS = (
    Panel("us_per_position", "forward + backward, µs a position"),
    Panel("vs_sdpa", "times as fast as softmax (SDPA)", one=True),
    Panel("peak_mib", "peak memory, MiB"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this sub-command."""
    parser.add_argument(
        "--schedule",
        choices=list(them.SCHEDULES),
        default="causal",
        help=f"causal; waitk (k = {them.LAGGING}, r = {them.RATIO}, a query for {them.RATIO} keys); segment (of "
        f"{them.SEGMENT} frames, against softmax that sees everything); full",
    )
    parser.add_argument("--lengths", nargs="+", type=int, metavar="S", help="keys (default: by schedule)")
    positions = "keys of a batch, which has as many rows as fit in, one at least"
    parser.add_argument("--positions", type=int, default=16384, help=positions)
    parser.add_argument("--heads", type=int, default=4, help="H")
    parser.add_argument("--dim", type=int, default=64, help="K of a head")
    add_dtype_option(parser, "of q, k and v", default="fp32")
    parser.add_argument("--algorithms", nargs="+", choices=them.ALGORITHMS, default=list(them.ALGORITHMS), help="all")
    quadratic = "leave the quadratic algorithm out where its weights take more; it needs seven times that"
    parser.add_argument("--quadratic-mib", type=float, default=512, metavar="MIB", help=quadratic)
    parser.add_argument("--core", action="store_true", help="without feature map and networks: proportions are given")
    parser.add_argument("--no-memory", action="store_true", help="do not measure memory")
    parser.add_argument("--matmul", type=int, default=1024, metavar="N", help="size of its matrices")
    measuring.add_measuring_options(parser, rounds=7)


def run(options: argparse.Namespace) -> None:
    """Measures, prints and writes.

    Raises:
        ValueError: options that do not fit, or a red gate.
    """
    measuring.check_measuring_options(options)
    cases = them.make_cases(options)
    for note in dict.fromkeys(note for case in cases for note in left_out(case, options)):
        print(note)
    for case in cases:
        print(f"{case}: {pass_gate(case, options)}", flush=True)
    report(measure(cases, options), options, ("keys", "keys of a sequence"), "algorithm", PANELS, COSTS, PLAIN)


def chosen(case: them.Case, options: argparse.Namespace) -> List[str]:
    """The contenders of a case."""
    return [name for name in options.algorithms if them.why_not(name, case, options.quadratic_mib) is None]


def left_out(case: them.Case, options: argparse.Namespace) -> List[str]:
    """Why some contenders are not in a case."""
    reasons = {name: them.why_not(name, case, options.quadratic_mib) for name in options.algorithms}
    return [f"{name} is left out: {reason}" for name, reason in reasons.items() if reason]


def pass_gate(case: them.Case, options: argparse.Namespace) -> str:
    """Compares the contenders of a case with their laws, and tells how far each of them is off.

    Raises:
        GateError: one differs.
    """
    short = case._replace(batch=2, queries=min(case.queries, SHORT), keys=min(case.keys, SHORT))
    names, worst = chosen(case, options), {}
    for part in (short, case._replace(batch=1, heads=1)):
        attentions = {name: them.attention_of(name, part) for name in names}
        visible = {name: part.visible(name) for name in names}
        shares = check_attention(attentions, visible, part.inputs(mapped=True), case.dtype, str(part))
        worst = {name: max(share, worst.get(name, 0.0)) for name, share in shares.items()}
    return f"equal to the law, by so much of the tolerance: {', '.join(f'{n} {s:.1%}' for n, s in worst.items())}"


def make_step(name: str, case: them.Case, core: bool, clock) -> Contender:
    """One forward and backward pass, timed; softmax gets its inputs as it likes them, heads first in memory."""
    attend = them.attention_of(name, case)
    weights: List[torch.Tensor] = []
    if name != "sdpa" and not core:
        attend = them.Leap(attend, case)
        weights = list(attend.parameters())
    x = case.inputs(mapped=core and name != "sdpa")
    if name == "sdpa":
        x = {key: tensor.transpose(1, 2).contiguous().transpose(1, 2) for key, tensor in x.items()}
    leaves = {key: tensor.requires_grad_() for key, tensor in x.items()}
    wanted, visible = [*leaves.values(), *weights], case.visible(name)
    cotangent = torch.ones_like(leaves["q"]).normal_(generator=torch.Generator(case.device).manual_seed(1))

    def step():
        start = clock()
        out = attend(leaves, visible)
        middle = clock()
        torch.autograd.grad(out, wanted, cotangent)
        return middle - start, clock() - middle

    return step


def peak(name: str, case: them.Case, core: bool) -> float:
    """MiB of one forward and backward pass, in a process that has done a tiny one before."""
    clock = measuring.make_clock("wall", case.device)
    make_step(name, case._replace(batch=1, queries=min(case.queries, 8), keys=min(case.keys, 16)), core, clock)()
    return measuring.peak_mib(make_step(name, case, core, clock), case.device)


def measure(cases: List[them.Case], options: argparse.Namespace) -> List[Dict[str, Any]]:
    """The rows of all cases; a round goes through all lengths, so that a slower hour is not taken for growth."""
    clock = measuring.make_clock(options.clock, cases[0].device)
    steps = {}
    for case in cases:
        steps.update({(case, name): make_step(name, case, options.core, clock) for name in chosen(case, options)})
        steps[case, MATMUL] = measuring.matrix_product(options.matmul, case.dtype, case.device, clock)
    times = measuring.alternate(steps, options.rounds)
    rows = []
    for case in cases:
        of_case = {name: parts for (other, name), parts in times.items() if other == case}
        rows += [_row(name, case, of_case, options) for name in of_case]
    return rows


def _row(name: str, case: them.Case, times, options: argparse.Namespace) -> Dict[str, Any]:
    """The columns of a contender; the product of matrices has one part and is compared with nothing."""
    seconds = {other: measuring.totals(parts) for other, parts in times.items()}
    counts = {other: them.operations(other, case, not options.core) for other in times if other != MATMUL}
    counts[MATMUL] = 2 * options.matmul**3
    middle = statistics.median(seconds[name])
    row: Dict[str, Any] = {**dict.fromkeys(COLUMNS), **case._asdict(), "dtype": options.dtype, "algorithm": name}
    del row["device"]
    row.update(ms=1000 * middle, spread=measuring.spread(seconds[name]), **measuring.rates(name, seconds, counts))
    if name != MATMUL:
        row["forward_ms"], row["backward_ms"] = (1000 * statistics.median(part) for part in zip(*times[name]))
        row["us_per_position"] = 1e6 * middle / (case.batch * case.keys)
        for other in {"sdpa", "quadratic"} & seconds.keys():
            row[f"vs_{other}"] = measuring.median_ratio(seconds[other], seconds[name])
        if not options.no_memory:
            # What torch allocates on a GPU is known exactly; the memory of a process is not its own behind other work.
            alone = measuring.apart if case.device == "cpu" else lambda function, *args: function(*args)
            row["peak_mib"] = alone(peak, name, case, options.core)
    return row
