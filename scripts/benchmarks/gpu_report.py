"""The folder of scripts/gpu_check.sh as one page: what passed, and its tables, under the card, driver and commit."""

import argparse
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any, Dict, List, Sequence

import torch

from benchmarks.reporting import rounded
from leap_fairseq.report.tables import read_tsv

LOG_LEVEL = "WARNING"
PAGE = "gpu.md"
ATTENTION = ("keys", "batch", "algorithm", "forward_ms", "backward_ms", "ms", "spread", "vs_sdpa", "peak_mib")
COLUMNS = {
    "attention": ATTENTION,
    "fla": ATTENTION,
    "updates": ("length", "batch", "attention", "ms", "words_per_s", "spread", "vs_softmax", "peak_mib"),
}
TITLES = {
    "tests": "Tests that need a GPU",
    "attention": "Attention alone, forward and backward, in bfloat16",
    "updates": "Whole updates of the WikiText-103 model, in bfloat16",
    "streams": "Eight streams together, in float32",
    "fla": "Beside flash-linear-attention, in bfloat16",
}
VERSIONS = ("torch", "triton", "fla-core", "ve-fairseq", "simuleval")

PATIENCE = 30
"""Seconds for a driver to answer, which may hang; the page is the last of ten minutes of work."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of this sub-command."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="with steps.tsv, and what the steps wrote")


def run(options: argparse.Namespace) -> None:
    """Writes the page and prints it.

    Raises:
        OSError: a file of the folder cannot be read.
    """
    steps = read_tsv(options.folder / "steps.tsv")
    parts = [heading(), markdown(steps, list(steps[0]))]
    for step in steps:
        name, table = str(step["step"]), options.folder / f"{step['step']}.tsv"
        parts.append(f"### {TITLES[name]}")
        if table.is_file() and name in COLUMNS:
            parts.append(markdown(read_tsv(table), COLUMNS[name]))
        else:
            log = (options.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
            parts.append("```\n" + "\n".join(log.strip().splitlines()[-6:]) + "\n```")
    page = "\n\n".join(parts) + "\n"
    (options.folder / PAGE).write_text(page, encoding="utf-8")
    print(page)


def heading() -> str:
    """Card, driver, versions and commit, a line each."""
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    driver = output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    versions = [f"Python {platform.python_version()}", f"CUDA {torch.version.cuda}"]
    for name in VERSIONS:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {name}")
    commit = os.environ.get("LEAP_COMMIT") or output("git", "rev-parse", "HEAD")
    return f"## On a GPU\n\n- {card}, driver {driver}\n- {', '.join(versions)}\n- commit {commit}"


def output(*command: str) -> str:
    """The first line that a command writes in time, or "unknown"."""
    options = {"cwd": Path(__file__).parent, "timeout": PATIENCE}
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, **options)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.partition("\n")[0].strip() or "unknown"


def markdown(rows: Sequence[Dict[str, Any]], columns: Sequence[str]) -> str:
    """Some columns of rows as a table."""
    lines: List[Sequence[str]] = [columns, ["---"] * len(columns)]
    lines += [[rounded(row[name]) for name in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
