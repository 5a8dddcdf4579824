"""What became slower: the ratios that matter, in two minutes, beside those that the repository keeps.

    python scripts/benchmark.py guard --threads 1             compares with scripts/benchmarks/guard.json
    python scripts/benchmark.py guard --threads 1 --update    writes it

Every ratio says how many times as fast something of ours is as what its name says, both in turn in one process: it
holds on a busy machine, and from one machine to a similar one. The columns:

    ratio, before   now, and in the file (above 1: faster); the medians of the rounds
    change          ratio over before, less 1
    noise           what such a change may be by chance: the distance of the quartiles of the rounds over their median,
                    of both times

Where a change is below minus the noise, it is called slower and the command ends with 1. What is compared has to be
equal to its law: the other sub-commands see to that.
"""

import argparse
import functools
import json
import math
import statistics
from pathlib import Path
from typing import Any, Callable, Dict, List, Mapping, NamedTuple

import torch

from benchmarks import attention, contenders, decoding, measuring, streaming, training
from benchmarks.gate import linear
from leap_fairseq.files import whole_file
from leap_fairseq.report.tables import format_table

LOG_LEVEL = "WARNING"
KEPT = Path(__file__).with_name("guard.json")
HALF_LIFE = torch.tensor([4.0, 32.0, 128.0, 512.0])


class Ratio(NamedTuple):
    """Two contenders, the first of which is ours; and how often they take turns for each round."""

    ours: measuring.Contender
    other: measuring.Contender
    turns: int = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this sub-command."""
    parser.add_argument("--update", action="store_true", help=f"keep the ratios of today in {KEPT.name}")
    parser.add_argument("--rounds", type=int, default=7, help="measured turns of each")
    parser.add_argument("--clock", choices=measuring.CLOCKS, default="cpu", help=measuring.CLOCK_HELP)
    parser.add_argument("--threads", type=int, metavar="N", help="of torch (default: its own choice)")


def run(options: argparse.Namespace) -> None:
    """Measures, prints, and compares or keeps.

    Raises:
        ValueError: options that do not fit, no kept ratios, or something that is slower.
    """
    measuring.check_positive(options, "rounds")
    measuring.set_threads(options)
    before = {} if options.update else read_kept(KEPT)
    clock = measuring.make_clock(options.clock, "cpu")
    now = {name: measured(make(), options.rounds) for name, make in ratios(clock).items()}
    rows = compared(now, before)
    print(format_table([{name: shown(value) for name, value in row.items()} for row in rows]))
    machine = measuring.machine(options)
    print(machine)
    if options.update:
        with whole_file(KEPT, text=True) as file:
            json.dump({"machine": machine, "ratios": now}, file, indent=1)
        print(f"written: {KEPT}")
    elif slower := [row["ratio of"] for row in rows if row["verdict"] == "slower"]:
        raise ValueError(f"slower than before, by more than chance: {'; '.join(slower)}")


def shown(value: Any) -> Any:
    """With two decimals, where it is a number."""
    return f"{value:.2f}" if isinstance(value, float) else value


def read_kept(path: Path) -> Dict[str, Dict[str, float]]:
    """The ratios of a file.

    Raises:
        ValueError: there is none.
    """
    if not path.exists():
        raise ValueError(f"{path} is not there: write it with --update, on the code to compare with")
    return json.loads(path.read_text(encoding="utf-8"))["ratios"]


def measured(ratio: Ratio, rounds: int) -> Dict[str, float]:
    """The median of a ratio over the rounds, and its noise."""
    turns = {"ours": repeated(ratio.ours, ratio.turns), "other": repeated(ratio.other, ratio.turns)}
    times = {name: measuring.totals(parts) for name, parts in measuring.alternate(turns, rounds).items()}
    of_rounds = [other / ours for ours, other in zip(times["ours"], times["other"])]
    return {"ratio": statistics.median(of_rounds), "noise": measuring.spread(of_rounds)}


def repeated(contender: measuring.Contender, turns: int) -> measuring.Contender:
    """So many turns as one."""
    return lambda: [sum(sum(contender()) for _ in range(turns))]


def compared(now: Mapping[str, Mapping[str, float]], before: Mapping[str, Mapping[str, float]]) -> List[Dict[str, Any]]:
    """A row for each ratio."""
    rows = []
    for name, found in now.items():
        row: Dict[str, Any] = {"ratio of": name, "ratio": found["ratio"], "before": None, "change": None}
        row.update(noise=found["noise"], verdict="new")
        if name in before:
            row.update(before=before[name]["ratio"], change=found["ratio"] / before[name]["ratio"] - 1)
            row["noise"] = math.hypot(found["noise"], before[name]["noise"])
            row["verdict"] = "slower" if row["change"] < -row["noise"] else "as before"
        rows.append(row)
    return rows


def ratios(clock: measuring.Clock) -> Dict[str, Callable[[], Ratio]]:
    """How each ratio is made, by its name."""
    made: Dict[str, Callable[[], Ratio]] = {}
    for schedule, length, core in (
        *(("causal", 512, True), ("causal", 2048, True), ("causal", 512, False), ("causal", 2048, False)),
        *(("waitk", 360, False), ("segment", 360, False)),
    ):
        name = f"{schedule}, {length} keys, {'sums alone' if core else 'with networks'}: over softmax"
        made[name] = functools.partial(over_softmax, schedule, length, core, clock)
    made["causal, 2048 keys, half-lives: over none"] = functools.partial(fading, clock)
    for name, other in (("leap", "softmax"), ("leap_fading", "leap"), ("contrast_fading", "softmax")):
        made[f"training in blocks of 512, {name}: over {other}"] = functools.partial(updates, name, other, clock)
    made["a token at 8000, leap: over softmax"] = functools.partial(tokens, clock)
    made["eight streams together: over one by one"] = functools.partial(streams, clock)
    return made


def case_of(schedule: str, length: int) -> contenders.Case:
    """The attention of one of our four heads of 64, over some 4,000 keys."""
    queries = length // contenders.RATIO if schedule == "waitk" else length
    return contenders.Case(schedule, 4096 // length, queries, length, 4, 64, torch.float32, "cpu")


def over_softmax(schedule: str, length: int, core: bool, clock: measuring.Clock) -> Ratio:
    """LeaP by the algorithm that is chosen for it, over torch's softmax."""
    case = case_of(schedule, length)
    return Ratio(*(attention.make_step(name, case, core, clock) for name in ("auto", "sdpa")), turns=2)


def fading(clock: measuring.Clock) -> Ratio:
    """The sums with half-lives over those without."""
    case = case_of("causal", 2048)
    leaves = {name: x.requires_grad_() for name, x in case.inputs(mapped=True).items()}

    def step(**options: Any) -> None:
        out = linear("auto", **options)(leaves, case.visible("auto"))
        torch.autograd.grad(out.sum(), list(leaves.values()))

    forgetting = functools.partial(step, half_life=HALF_LIFE)
    return Ratio(measuring.timed(clock, forgetting), measuring.timed(clock, step), turns=2)


def sizes() -> argparse.Namespace:
    """Those of the comparison of language models."""
    parser = argparse.ArgumentParser()
    training.add_size_options(parser)
    return argparse.Namespace(**vars(parser.parse_args([])), tokens=2048, device="cpu")


def updates(ours: str, other: str, clock: measuring.Clock) -> Ratio:
    """Whole updates of language models."""
    batch = training.random_batch(4, 512, sizes())
    models = (training.build(name, 512, sizes()) for name in (ours, other))
    return Ratio(*(measuring.timed(clock, functools.partial(model.update, batch)) for model in models))


def tokens(clock: measuring.Clock) -> Ratio:
    """A token of decoding behind 8,000 others."""
    options = argparse.Namespace(**vars(sizes()), block=500)
    writers = []
    for name in ("leap", "softmax"):
        model = training.build(name, 512, options).model.eval()
        writers.append(decoding.make_writer(8000, model, options, clock)[0])
    return Ratio(*writers, turns=5)


def streams(clock: measuring.Clock) -> Ratio:
    """A pre-decision of eight streams in one call, over eight calls."""
    parser = argparse.ArgumentParser()
    streaming.add_arguments(parser)
    options = parser.parse_args(["--arch", f"{streaming.ARCH}_tiny"])
    turns = streaming.make_turns(options, clock)[0]
    # Before it has passed its k, a stream writes nothing.
    measuring.alternate(turns, options.waitk_lagging + 1)
    return Ratio(turns["together"], turns["alone"])
