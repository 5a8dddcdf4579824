#!/usr/bin/env python
"""The table and the plot of scripts/lm/compare.sh.

    python scripts/lm/compare_report.py OUT

reads the logs of the runs in OUT (MODEL-SEED/{train,blocks,carried}.{log,json}) and writes OUT/comparison.tsv and
OUT/comparison.png: validation perplexity over training time, a line for each run. Runs of another text than that of
OUT/data are left out; those of a model that were trained otherwise, as with other --updates, have a row of their own.

Columns: updates of a training; perplexity of the test text in blocks of 512 and with a carried state, mean and standard
deviation over the seeds; words a second of training (median over the logs); words a second of CPU time, validations
included, which does not depend on what else the machine does (of a training that was interrupted, that of its last
process); and peak memory of the process in MiB.
"""

import argparse
import collections
import json
import logging
import math
import re
import statistics
import sys
from pathlib import Path
from typing import Any, Dict, List, Tuple

from leap_fairseq.cli import command
from leap_fairseq.report.style import PALETTE, STYLE, import_pyplot, save_figure
from leap_fairseq.report.tables import format_table, write_tsv

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from training_runs import cpu_seconds, is_from, kind_of, mean_and_deviation, read_log  # noqa: E402

logger = logging.getLogger(__name__)

COMMAND = "command.json"
"""In the folder of a run, how it was trained."""

EVALUATIONS = ("blocks", "carried")

Curve = List[Tuple[float, float]]
"""Validations: seconds of training, and perplexity."""


def read_training(log: Path, used: Dict[str, float]) -> Dict[str, Any]:
    """What a training says of itself: parameters, its curve, words a second of each line, and of CPU time.

    Args:
        log: of the training.
        used: memory and CPU seconds of its process.
    """
    text, parameters, lines = read_log(log)
    seconds, curve, speeds, updates, words = 0.0, [], [], 0.0, 0.0
    for kind, figures in lines:
        if kind == "valid":
            curve.append((seconds, float(figures["valid_ppl"])))
        else:
            seconds += float(figures["train_wall"])
            speeds.append(float(figures["wps"]))
            updates = float(figures["num_updates"])
            words = updates * float(figures["wpb"])
    cpu_speed = words / cpu_seconds(used, text, updates)
    found = {"parameters": parameters, "curve": curve, "speeds": speeds, "cpu_speed": cpu_speed}
    return {**found, "updates": int(updates)}


def read_perplexity(log: Path) -> float:
    """The result of fairseq-eval-lm, from its loss, which has more digits.

    Raises:
        ValueError: there is none.
    """
    loss = re.search(r"Loss \(base 2\): ([\d.]+)", log.read_text(encoding="utf-8"))
    if not loss:
        raise ValueError(f"{log} holds no perplexity: remove it and run scripts/lm/compare.sh again")
    return 2 ** float(loss[1])


def read_run(folder: Path) -> Dict[str, Any]:
    """A complete training and its evaluations, those there are."""
    used = json.loads((folder / "train.json").read_text(encoding="utf-8"))
    logged = read_training(folder / "train.log", used)
    found = [name for name in EVALUATIONS if (folder / f"{name}.json").is_file()]
    perplexities = {name: read_perplexity(folder / f"{name}.log") for name in found}
    return {**logged, **perplexities, "peak_mib": used["peak_mib"]}


def files_of(out: Path) -> List[Path]:
    """What the runs of a comparison depend on beside their commands."""
    return [out / "data" / name for name in ("dict.txt", "train.bin", "valid.bin", "test.bin")]


def _complete(out: Path) -> List[Path]:
    """The folders of the complete runs, but for those of another text."""
    data, found = [path for path in files_of(out) if path.is_file()], []
    for folder in sorted(path.parent for path in out.glob("*-*/train.json")):
        if (folder / COMMAND).is_file() and not is_from(folder, data, COMMAND):
            logger.warning("left out of the table: %s, which was trained on another text than %s", folder, out / "data")
        else:
            found.append(folder)
    return found


def _kind(folder: Path) -> Tuple[str, ...]:
    """How a run was trained, where it says so."""
    path = folder / COMMAND
    return kind_of(folder, json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else ()


def table(out: Path) -> Tuple[List[Dict[str, Any]], List[List[Curve]]]:
    """Rows of the table, and the curves of each."""
    runs = collections.defaultdict(list)
    for folder in _complete(out):
        runs[folder.name.rpartition("-")[0], _kind(folder)].append(read_run(folder))
    if not runs:
        raise ValueError(f"{out} holds no complete training: run scripts/lm/compare.sh")
    rows = []
    for (model, _), found in runs.items():
        first = found[0]
        row = {"model": model, "updates": first["updates"], "seeds": len(found), "parameters": first["parameters"]}
        for name in EVALUATIONS:
            values = [run[name] for run in found if name in run]
            row[name], row[f"{name}_sd"] = mean_and_deviation(values) if values else ("-", "-")
        row["words_per_s"] = statistics.median(speed for run in found for speed in run["speeds"])
        row["words_per_cpu_s"] = statistics.mean(run["cpu_speed"] for run in found)
        rows.append(({**row, "peak_mib": max(run["peak_mib"] for run in found)}, [run["curve"] for run in found]))
    # The best first, by the better of its two evaluations; then those that have none yet.
    rows.sort(key=lambda row: min(x for x in (row[0]["blocks"], row[0]["carried"], math.inf) if isinstance(x, float)))
    return [row for row, _ in rows], [curves for _, curves in rows]


def plot(rows: List[Dict[str, Any]], curves: List[List[Curve]], path: Path) -> None:
    """Draws validation perplexity over training time."""
    models = [row["model"] for row in rows]
    pyplot = import_pyplot()
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(7.2, 4.4), layout="constrained")
        for number, (row, of_row) in enumerate(zip(rows, curves)):
            style = "-" if number < len(PALETTE) else "--"
            label = row["model"] if models.count(row["model"]) == 1 else f"{row['model']}, {row['updates']} updates"
            for seed, curve in enumerate(of_row):
                minutes, perplexities = zip(*((seconds / 60, perplexity) for seconds, perplexity in curve))
                named = {"label": label} if seed == 0 else {}
                axes.plot(minutes, perplexities, style, color=PALETTE[number % len(PALETTE)], **named)
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter("{x:.0f}")
        axes.yaxis.set_major_formatter("{x:.0f}")
        axes.set_xlabel("training time (minutes)")
        axes.set_ylabel("validation perplexity")
        axes.legend()
        save_figure(figure, path)
        pyplot.close(figure)


def report(out: Path) -> str:
    """Writes the table and the plot of a folder of runs; returns the table as text.

    Raises:
        ValueError: no run is complete, or a log holds no result.
    """
    rows, curves = table(out)
    write_tsv(rows, out / "comparison.tsv")
    plot(rows, curves, out / "comparison.png")
    return f"{format_table(rows)}\n\nwritten: {out}/{{comparison.tsv,comparison.png}}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the folder."""
    parser.add_argument("out", type=Path, help="folder of scripts/lm/compare.sh")


def run(options: argparse.Namespace) -> None:
    """Reports."""
    print(report(options.out))


if __name__ == "__main__":
    sys.exit(command.main(sys.modules[__name__]))
