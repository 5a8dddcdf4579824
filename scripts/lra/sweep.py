#!/usr/bin/env python
"""Trains every attention with every seed on every task, evaluates the best checkpoints, and reports.

    python scripts/lra/sweep.py OUT DATA [DATA ...] [--attention leap softmax] [--seeds 1 2 3] [--updates 1000]

OUT/DATA/ATTENTION-SEED holds a run: checkpoints, train.log, budget.json, evaluation.json. OUT/lra.{tsv,json,png} are
the report. A run that is complete is reused, one that was interrupted goes on, one with another budget begins anew.

With --cpu-minutes in place of --updates, each attention is given the updates that it makes in so much CPU time, without
validations. Its speed is measured once, before the first of its runs, and kept in OUT/DATA/.speed/ATTENTION: so all its
seeds have the same updates, and the schedule of the learning rate its end.
"""

import argparse
import fcntl
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any, Dict, List

from report import report

from leap_fairseq.cli import command
from leap_fairseq.files import Stages, file_digest
from leap_fairseq.lra import FACTS, read_facts
from leap_fairseq.modules.zoo import ZOO_KINDS
from leap_fairseq.parts import Part, add_part, listed
from leap_fairseq.streaming.policy import at_least_one

BUDGET = "budget.json"

SHORT, LONG = 2, 12
"""Updates of the two trainings from whose CPU times the speed comes: what they share is no update."""

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from training_runs import begin, call, is_of, keep_first, once, run_all  # noqa: E402

LOG_LEVEL = "WARNING"
ATTENTIONS = ("leap", "cosformer", "relu", "elu", "softmax", "performer", "linformer", "nystromformer")


def train_command(data: Path, folder: Path, attention: str, seed: int, budget: Dict[str, Any], more: str) -> List[str]:
    """The command of a training, in a process of its own."""
    command = ["bash", ROOT / "scripts/lra/train.sh", data, folder, "--attention", attention, "--seed", seed]
    command += ["--max-update", budget["updates"], "--batch-size", budget["batch_size"], "--log-format", "json"]
    if budget["eval_samples"]:
        command += ["--lra-eval-samples", budget["eval_samples"]]
    return [str(part) for part in command] + shlex.split(more)


def with_updates(data: Path, attention: str, budget: Dict[str, Any], options: argparse.Namespace) -> Dict[str, Any]:
    """The budget, with the updates of its CPU minutes where it has them."""
    if "cpu_minutes" not in budget:
        return budget
    folder = options.out / data.name / ".speed" / attention
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        # Jobs that begin at the same time take what the first one measures.
        fcntl.flock(lock, fcntl.LOCK_EX)
        seconds = []
        for updates in (SHORT, LONG):
            train = train_command(data, folder, attention, 1, {**budget, "updates": updates}, options.options)
            train += ["--disable-validation", "--no-save"]
            once(Stages(folder, "sweep"), f"train_{updates}", [*on_this_machine(options), *train], data=[data / FACTS])
            seconds.append(json.loads((folder / f"train_{updates}.json").read_text(encoding="utf-8"))["cpu_seconds"])
    an_update = (seconds[1] - seconds[0]) / (LONG - SHORT)
    if an_update <= 0:
        raise RuntimeError(f"{folder}: {LONG} updates took no longer than {SHORT}: give --updates for so small a model")
    return {**budget, "updates": max(1, round(60 * budget["cpu_minutes"] / an_update))}


def on_this_machine(options: argparse.Namespace) -> List[str]:
    """The environment of a training: of several machines, each has trainings of its own."""
    names = ("PROCESSES=1", "NODES=1", "NODE=0")
    return ["env", *names, *([] if options.cuda else ["CUDA_VISIBLE_DEVICES="])]


def facts_of(
    data: Path, attention: str, seed: int, budget: Dict[str, Any], options: argparse.Namespace
) -> Dict[str, Any]:
    """What a run of the sweep is, as its folder says it."""
    folder = options.out / data.name / f"{attention}-{seed}"
    train = train_command(data, folder, attention, seed, budget, options.options)
    return {"command": train, **budget, "attention": attention, "seed": seed}


def is_complete(data: Path, attention: str, seed: int, budget: Dict[str, Any], options: argparse.Namespace) -> bool:
    """Whether a run is there, by whichever job."""
    folder = options.out / data.name / f"{attention}-{seed}"
    facts = facts_of(data, attention, seed, budget, options)
    return (folder / "evaluation.json").is_file() and is_of(folder, facts, BUDGET)


def train_and_evaluate(
    data: Path, attention: str, seed: int, budget: Dict[str, Any], options: argparse.Namespace
) -> None:
    """A run of the sweep; `budget` has its updates, batch_size, eval_samples and the facts of the data."""
    folder = options.out / data.name / f"{attention}-{seed}"
    facts = facts_of(data, attention, seed, budget, options)
    train, stages = facts["command"], begin(folder, facts, BUDGET, "sweep")
    once(stages, "train", [*on_this_machine(options), *train], "a")
    checkpoint, outputs = folder / "checkpoint_best.pt", ["evaluate.log", "evaluation.json"]
    evaluate = [sys.executable, ROOT / "scripts/lra/evaluate.py", data, checkpoint, "--split", "valid", "test"]
    evaluate += ["--batch-size", budget["batch_size"], "--json", folder / outputs[1]]
    evaluate = [str(part) for part in evaluate] + (["--cuda"] if options.cuda else [])
    made_from = {"command": evaluate, "checkpoint": file_digest(checkpoint)}
    stages.run("evaluate", made_from, outputs, lambda: call(evaluate, folder / outputs[0]))
    print(f"complete: {data.name}/{folder.name}", flush=True)


def minutes(text: str) -> float:
    """A time of the command line, above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of minutes above 0")
    return value


def each(name: str, numbers: List[float], count: int) -> List[float]:
    """One number for each task."""
    if len(numbers) not in (1, count):
        flag = f"--{name.replace('_', '-')}"
        raise ValueError(f"{flag} {' '.join(map(str, numbers))}: give one number of at least 1, or {count}")
    return numbers * count if len(numbers) == 1 else numbers


def budgets(options: argparse.Namespace) -> List[Dict[str, Any]]:
    """Updates, batch size and samples of an evaluation of each task, and what its data are.

    Raises:
        DataError: a folder is not one of prep_lra.py.
        ValueError: numbers that do not fit the tasks, or two folders of one name.
    """
    facts, count = [read_facts(data)._asdict() for data in options.data], len(options.data)
    if len({data.name for data in options.data}) < count:
        raise ValueError("two folders have the same name, which runs go by: rename one")
    long = "updates" if options.cpu_minutes is None else "cpu_minutes"
    columns = {
        long: each(long, getattr(options, long) or [1000], count),
        "batch_size": each("batch_size", options.batch_size, count),
        "eval_samples": each("eval_samples", options.eval_samples, count) if options.eval_samples else [None] * count,
        "facts": facts,
    }
    return [dict(zip(columns, values)) for values in zip(*columns.values())]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("out", type=Path, help="folder of the runs")
    parser.add_argument("data", type=Path, nargs="+", help="folders of data_prep/prep_lra.py")
    parser.add_argument("--attention", nargs="+", choices=ZOO_KINDS, default=ATTENTIONS, metavar="KIND")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="default: 1 2 3")
    long = parser.add_mutually_exclusive_group()
    long.add_argument("--updates", type=at_least_one, nargs="+", help="of a training (default: 1000)")
    text = "of the updates of a training, in place of their number"
    long.add_argument("--cpu-minutes", type=minutes, nargs="+", metavar="M", help=text)
    text = "samples of an update (default: 32)"
    parser.add_argument("--batch-size", type=at_least_one, nargs="+", default=[32], help=text)
    parser.add_argument("--eval-samples", type=at_least_one, nargs="+", help="of valid and of test (default: all)")
    text = "runs at a time (default: one a core, or one on the GPU)"
    parser.add_argument("--jobs", type=at_least_one, help=text)
    parser.add_argument("--cuda", action="store_true", help="train on a GPU (default: on the CPU)")
    add_part(parser, "divide the runs among N jobs")
    parser.add_argument("--options", default="", help="more options of fairseq-train, in one argument")


def run(options: argparse.Namespace) -> None:
    """Runs all that is not complete, or a part of it, and reports when all is there."""
    part = Part(0, 1) if options.part is None else Part.parse(options.part)
    keep_first(options, "attention", "seeds")
    options.data = [data.resolve() for data in options.data]
    if options.cpu_minutes is not None and options.cuda:
        raise ValueError("--cpu-minutes says nothing of a GPU (--cuda): give --updates")
    count = options.jobs or (1 if options.cuda else os.cpu_count())
    tasks = list(zip(options.data, budgets(options)))
    rows = {(data, kind): with_updates(data, kind, b, options) for data, b in tasks for kind in options.attention}
    # Seed by seed, so that an interrupted sweep has whole rows.
    jobs = [
        (data, kind, seed, rows[data, kind], options)
        for data in options.data
        for seed in options.seeds
        for kind in options.attention
    ]
    run_all(train_and_evaluate, jobs[part.number :: part.count], count)
    missing = [each for each in part.all() if not all(is_complete(*job) for job in jobs[each.number :: each.count])]
    if missing:
        done = sum(is_complete(*job) for job in jobs)
        print(f"{done} of {len(jobs)} runs are in {options.out}; other jobs have to do the rest, {listed(missing)}")
    else:
        print(report(options.out))


if __name__ == "__main__":
    sys.exit(command.main(sys.modules[__name__]))
