#!/usr/bin/env python
"""The table and the plot of scripts/lm/compare.sh.

    python scripts/lm/compare_report.py OUT

reads the logs of the runs in OUT (MODEL-SEED/{train,blocks,carried}.{log,json}) and writes OUT/comparison.tsv and
OUT/comparison.png: validation perplexity over training time, a line for each run.

Columns: perplexity of the test text in blocks of 512 and with a carried state, mean and standard deviation over the
seeds; words a second of training (median over the logs); words a second of CPU time, validations included, which does
not depend on what else the machine does; and peak memory of the process in MiB.
"""

import argparse
import collections
import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from leap_fairseq.report.style import PALETTE, STYLE, import_pyplot, save_figure
from leap_fairseq.report.tables import format_table, write_tsv


def read_training(log: Path) -> Tuple[int, List[Tuple[float, float]], List[float], float]:
    """What a training says of itself.

    Args:
        log: of fairseq-train with --log-format json.

    Returns:
        The number of parameters; the validations as seconds of training and perplexity; words a second, one a line;
        words of the whole training.
    """
    parameters, seconds, curve, speeds, words = 0, 0.0, [], [], 0.0
    for line in log.read_text(encoding="utf-8").splitlines():
        count = re.search(r"num\. shared model params: ([\d,]+)", line)
        parameters = int(count[1].replace(",", "")) if count else parameters
        kind, brace, text = line.partition("{")
        if not brace or not text.endswith("}"):
            continue
        if "| train_inner |" in kind:
            values = json.loads(brace + text)
            seconds += float(values["train_wall"])
            speeds.append(float(values["wps"]))
            words = float(values["num_updates"]) * float(values["wpb"])
        elif "| valid |" in kind:
            curve.append((seconds, float(json.loads(brace + text)["valid_ppl"])))
    if not speeds:
        raise ValueError(f"{log} holds no update: remove its folder and run scripts/lm/compare.sh again")
    return parameters, curve, speeds, words


def read_perplexity(log: Path) -> float:
    """The result of fairseq-eval-lm, from its loss, which has more digits.

    Raises:
        ValueError: there is none.
    """
    loss = re.search(r"Loss \(base 2\): ([\d.]+)", log.read_text(encoding="utf-8"))
    if not loss:
        raise ValueError(f"{log} holds no perplexity: remove it and run scripts/lm/compare.sh again")
    return 2 ** float(loss[1])


def _spread(values: List[float]) -> Tuple[float, float]:
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def table(out: Path) -> Tuple[List[Dict[str, Any]], Dict[str, List[List[Tuple[float, float]]]]]:
    """Rows of the table, and the curves of each model."""
    runs: Dict[str, Dict[str, List[Any]]] = {}
    for folder in sorted(path.parent for path in out.glob("*-*/train.json")):
        model = folder.name.rpartition("-")[0]
        found = runs.setdefault(model, collections.defaultdict(list))
        used = json.loads((folder / "train.json").read_text(encoding="utf-8"))
        parameters, curve, speeds, words = read_training(folder / "train.log")
        found["parameters"].append(parameters)
        found["curves"].append(curve)
        found["speeds"] += speeds
        found["cpu_speeds"].append(words / used["cpu_seconds"])
        found["peak"].append(used["peak_mib"])
        for name in ("blocks", "carried"):
            if (folder / f"{name}.json").is_file():
                found[name].append(read_perplexity(folder / f"{name}.log"))
    if not runs:
        raise ValueError(f"{out} holds no complete training: run scripts/lm/compare.sh")
    rows = []
    for model, found in runs.items():
        row = {"model": model, "seeds": len(found["curves"]), "parameters": found["parameters"][0]}
        for name in ("blocks", "carried"):
            mean, deviation = _spread(found[name]) if found[name] else ("-", "-")
            row.update({name: mean, f"{name}_sd": deviation})
        speed = {"words_per_s": statistics.median(found["speeds"])}
        speed["words_per_cpu_s"] = statistics.mean(found["cpu_speeds"])
        rows.append({**row, **speed, "peak_mib": max(found["peak"])})
    # The best first, by the better of its two evaluations.
    rows.sort(key=lambda row: min(x for x in (row["blocks"], row["carried"]) if isinstance(x, float)))
    return rows, {model: found["curves"] for model, found in runs.items()}


def plot(rows: List[Dict[str, Any]], curves: Dict[str, List[List[Tuple[float, float]]]], path: Path) -> None:
    """Draws validation perplexity over training time."""
    pyplot = import_pyplot()
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(7.2, 4.4), layout="constrained")
        for number, model in enumerate(row["model"] for row in rows):
            style = "-" if number < len(PALETTE) else "--"
            for seed, curve in enumerate(curves[model]):
                label: Optional[str] = model if seed == 0 else None
                minutes = [seconds / 60 for seconds, _ in curve]
                axes.plot(minutes, [p for _, p in curve], style, color=PALETTE[number % len(PALETTE)], label=label)
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter("{x:.0f}")
        axes.yaxis.set_major_formatter("{x:.0f}")
        axes.set_xlabel("training time (minutes)")
        axes.set_ylabel("validation perplexity")
        axes.legend()
        save_figure(figure, path)
        pyplot.close(figure)


def report(out: Path) -> str:
    """Writes the table and the plot.

    Args:
        out: folder of the runs.

    Returns:
        The table as text.

    Raises:
        ValueError: no run is complete, or a log holds no result.
    """
    rows, curves = table(out)
    write_tsv(rows, out / "comparison.tsv")
    plot(rows, curves, out / "comparison.png")
    return f"{format_table(rows)}\n\nwritten: {out}/{{comparison.tsv,comparison.png}}"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("out", type=Path, help="folder of scripts/lm/compare.sh")
    try:
        print(report(parser.parse_args().out))
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
