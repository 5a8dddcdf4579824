#!/usr/bin/env python
"""The table and the plot of scripts/lra/sweep.sh.

    python scripts/lra/report.py OUT

reads the runs in OUT (DATA/ATTENTION-SEED) and writes OUT/lra.tsv, OUT/lra.json and OUT/lra.png. A row is an attention
on a task with one budget: accuracy of the test and of the validation in per cent, mean and standard deviation over the
seeds; samples a second of training (of the updates alone) and of inference; CPU minutes and peak memory in MiB of the
training process, validations included (memory of a GPU: see scripts/lra/throughput.py); and the budget that all of this
is for.
"""

import argparse
import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

from leap_fairseq.cli import command
from leap_fairseq.files import whole_file
from leap_fairseq.report.style import MARKERS, PALETTE, STYLE, import_pyplot, save_figure
from leap_fairseq.report.tables import format_table, write_tsv

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from training_runs import cpu_seconds, kind_of, mean_and_deviation, read_log  # noqa: E402


def read_training(log: Path) -> Dict[str, Any]:
    """What a training says of itself: parameters, max_length, samples_per_s, and best, the highest validation accuracy.

    Raises:
        ValueError: it holds no update or no validation.
    """
    text, parameters, lines = read_log(log)
    length = int(re.findall(r"tasks\.long_range_arena.*up to (\d+)", text)[-1])
    updates = [figures for kind, figures in lines if kind == "train_inner"]
    seconds = sum(float(figures["train_wall"]) for figures in updates)
    # fairseq rounds its seconds: too short a training has only the speeds of its log.
    if seconds >= 10:
        speed = sum(float(figures["samples"]) for figures in updates) / seconds
    else:
        speed = statistics.median(float(figures["ups"]) * float(figures["bsz"]) for figures in updates)
    best = max(float(figures["valid_accuracy"]) for kind, figures in lines if kind == "valid")
    return {"parameters": parameters, "max_length": length, "samples_per_s": speed, "best": best}


def read_run(folder: Path) -> Dict[str, Any]:
    """A complete run.

    Raises:
        ValueError: its log is empty, or its evaluation is not of the checkpoint that the log calls the best.
    """
    budget, used, found = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("budget", "train", "evaluation")
    )
    logged = read_training(folder / "train.log")
    # A near tie may fall otherwise in a batch of another size.
    if abs(logged["best"] - found["valid"]["accuracy"]) > 100.5 / found["valid"]["samples"]:
        raise ValueError(
            f"{folder}: the log's best validation accuracy is {logged['best']}, the evaluation's "
            f"{found['valid']['accuracy']}: remove {folder / 'evaluation.json'} and run scripts/lra/sweep.sh again"
        )
    seconds = cpu_seconds(used, (folder / "train.log").read_text(encoding="utf-8"), budget["updates"])
    used = {"peak_mib": used["peak_mib"], "cpu_minutes_used": seconds / 60}
    return {**budget, **logged, **used, "valid": found["valid"], "test": found["test"]}


def table(out: Path) -> List[Dict[str, Any]]:
    """The rows: tasks by name, their attentions by test accuracy.

    Raises:
        ValueError: no run is complete.
    """
    groups: Dict[Tuple[Any, ...], List[Dict[str, Any]]] = {}
    for path in sorted(out.glob("*/*-*/evaluation.json")):
        run = read_run(path.parent)
        # What makes runs comparable.
        long = "cpu_minutes" if "cpu_minutes" in run else "updates"
        budget = (long, *(run[name] for name in (long, "batch_size", "eval_samples", "max_length")))
        # A mean is over runs with the same other options of fairseq-train, too, and from the same data.
        kind = kind_of(path.parent, run.get("command", ())), str(run.get("facts"))
        groups.setdefault((path.parents[1].name, run["attention"], budget, kind), []).append(run)
    if not groups:
        raise ValueError(f"{out} holds no complete run: run scripts/lra/sweep.sh")
    rows = [(data, budget, _row(data, attention, runs)) for (data, attention, budget, _), runs in groups.items()]
    return [row for *_, row in sorted(rows, key=lambda found: (found[0], str(found[1]), -found[2]["test"]))]


def _row(data: str, attention: str, runs: List[Dict[str, Any]]) -> Dict[str, Any]:
    row: Dict[str, Any] = {"data": data, "attention": attention}
    for split in ("test", "valid"):
        row[split], row[f"{split}_sd"] = mean_and_deviation([run[split]["accuracy"] for run in runs])
    first, seeds = runs[0], sorted(run["seed"] for run in runs)
    return {
        **row,
        "train_per_s": statistics.median(run["samples_per_s"] for run in runs),
        "infer_per_s": statistics.median(run["test"]["samples_per_s"] for run in runs),
        "cpu_minutes": statistics.median(run["cpu_minutes_used"] for run in runs),
        "peak_mib": max(run["peak_mib"] for run in runs),
        "parameters": first["parameters"],
        "updates": first["updates"],
        "budget": f"{_length(first)} of {first['batch_size']}, up to {first['max_length']} tokens, "
        f"{first['valid']['samples']} + {first['test']['samples']} evaluated, seeds {' '.join(map(str, seeds))}"
        + _more(first),
    }


def _more(run: Dict[str, Any]) -> str:
    """The other options of its training, see `sweep.train_command`."""
    words = run.get("command", [])
    words = words[words.index("--log-format") + 2 :] if "--log-format" in words else []
    words = words[2:] if run["eval_samples"] else words
    return f", {' '.join(words)}" if words else ""


def _length(run: Dict[str, Any]) -> str:
    if "cpu_minutes" in run:
        return f"{run['cpu_minutes']:g} CPU minutes of updates"
    return f"{run['updates']} updates"


def plot(rows: List[Dict[str, Any]], path: Path) -> None:
    """Draws accuracy over throughput, a panel a task, a point an attention."""
    pyplot = import_pyplot()
    tasks = sorted({row["data"] for row in rows})
    names = sorted({row["attention"] for row in rows})
    with pyplot.rc_context(STYLE):
        size = (2.6 + 4.2 * len(tasks), 4.2)
        figure, panels = pyplot.subplots(1, len(tasks), figsize=size, layout="constrained", squeeze=False)
        drawn = {}
        for axes, task in zip(panels[0], tasks):
            for row in (row for row in rows if row["data"] == task):
                number, name = names.index(row["attention"]), row["attention"]
                colour, marker = PALETTE[number % len(PALETTE)], MARKERS[number // len(PALETTE) % len(MARKERS)]
                look = {"fmt": marker, "color": colour, "capsize": 3, "label": name}
                drawn[name] = axes.errorbar(row["train_per_s"], row["test"], yerr=row["test_sd"], **look)
            axes.set_xscale("log")
            axes.margins(x=0.15)
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("{x:g}")
            axes.set_xlabel("training, samples a second")
            budgets = {row["budget"].split(" tokens")[0] + " tokens" for row in rows if row["data"] == task}
            axes.set_title("\n".join([task, *sorted(budgets)]), fontsize=9)
        panels[0][0].set_ylabel("test accuracy (%)")
        figure.legend(handles=[drawn[name] for name in names], loc="outside right upper")
        save_figure(figure, path)
        pyplot.close(figure)


def report(out: Path) -> str:
    """Writes the tables and the plot of a folder of runs; returns the table as text.

    Raises:
        ValueError: no run is complete, or one is damaged.
    """
    rows = table(out)
    write_tsv(rows, out / "lra.tsv")
    with whole_file(out / "lra.json", text=True) as file:
        json.dump(rows, file, indent=1)
    plot(rows, out / "lra.png")
    return f"{format_table(rows)}\n\nwritten: {out}/lra.{{tsv,json,png}}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the folder."""
    parser.add_argument("out", type=Path, help="folder of the runs")


def run(options: argparse.Namespace) -> None:
    """Reports."""
    print(report(options.out))


if __name__ == "__main__":
    sys.exit(command.main(sys.modules[__name__]))
