#!/usr/bin/env python
"""Gathers what scripts/demo.sh has run into tables and pictures.

    python scripts/demo_report.py runs/demo

reads simuleval/ATTENTION-POLICY/instances.log (kK is wait-K) and lm-ATTENTION/eval.log, and writes simulst.tsv, lm.tsv,
quality_latency.png, staircase.png and signature.txt beside them.
"""

import logging
import re
import sys
from pathlib import Path

from leap_fairseq.cli import command
from leap_fairseq.report.quality_latency import plot_quality_latency
from leap_fairseq.report.staircase import plot_staircase
from leap_fairseq.report.tables import format_table, write_tsv
from leap_fairseq.scoring.instances import read_instances
from leap_fairseq.scoring.run import score_run
from leap_fairseq.scoring.run_folder import LOG

logger = logging.getLogger(__name__)

COLUMNS = ("BLEU", "LAAL", "AL", "AP", "DAL", "LAAL_CA")


def simulst_rows(run):
    """One row for each attention and policy, the fixed ones first, and the sacrebleu signature that they share."""
    rows, signatures = [], set()
    for folder in run.glob("simuleval/*-*/"):
        attention, _, policy = folder.name.rpartition("-")
        checkpoint = run / f"translator-{attention}" / "checkpoint_best.pt"
        # As with other variables in demo.sh.
        if checkpoint.exists() and (folder / LOG).stat().st_mtime < checkpoint.stat().st_mtime:
            logger.warning("left out of the table: %s, which is of an earlier %s", folder, checkpoint)
            continue
        scores = score_run(folder)
        signatures.add(scores["signature"])
        row = {"attention": attention, "policy": re.sub(r"^k(\d+)$", r"wait-\1", policy)}
        rows.append({**row, **{name: scores[name] for name in COLUMNS}})
    if not rows:
        raise ValueError(f"{run}/simuleval holds no run: run scripts/demo.sh")
    (signature,) = signatures
    return sorted(rows, key=lambda row: (row["attention"], waitk(row) is None, row["LAAL"])), signature


def waitk(row):
    """k of a row, None for another policy."""
    match = re.fullmatch(r"wait-(\d+)", row["policy"])
    return int(match[1]) if match else None


def points(rows):
    """The rows for the picture: a line an attention over k, with its labels, and another for each other policy."""
    fixed = [{**row, "line": row["attention"], "waitk": waitk(row)} for row in rows if waitk(row)]
    return fixed + [{**row, "line": f"{row['attention']}, {row['policy']}"} for row in rows if not waitk(row)]


def lm_rows(run):
    """One row for each language model, from the last lines of fairseq-eval-lm."""
    rows = []
    for log in sorted(run.glob("lm-*/eval.log")):
        text = log.read_text(encoding="utf-8")
        tokens = re.search(r"Evaluated ([\d,]+) tokens", text)
        perplexity = re.search(r"Perplexity: ([\d.]+)", text)
        if not tokens or not perplexity:
            raise ValueError(f"{log} holds no perplexity: remove it and run scripts/demo.sh again")
        attention = log.parent.name[len("lm-") :]
        tokens = int(tokens[1].replace(",", ""))
        rows.append({"attention": attention, "perplexity": float(perplexity[1]), "tokens": tokens})
    return rows


def add_arguments(parser):
    """Adds the folder."""
    parser.add_argument("run", type=Path, help="folder of the demo")


def run(options):
    """Writes and prints the tables, and draws the pictures."""
    run = options.run
    rows, signature = simulst_rows(run)
    language_models = lm_rows(run)
    write_tsv(rows, run / "simulst.tsv")
    write_tsv(language_models, run / "lm.tsv")
    (run / "signature.txt").write_text(signature + "\n", encoding="utf-8")
    plot_quality_latency(points(rows), run / "quality_latency.png", group="line")
    middle = sorted({waitk(row) for row in rows} - {None})[1]
    instances = read_instances(run / "simuleval" / f"leap-k{middle}")
    plot_staircase(max(instances, key=lambda x: len(x.delays)), run / "staircase.png", f"LeaP attention, k = {middle}")
    print("Simultaneous translation (latencies in ms; LAAL_CA counts computing time)")
    print(format_table(rows), f"\n{signature}\n")
    print("Language model")
    print(format_table(language_models))
    print(f"\nwritten: {run}/{{simulst.tsv,lm.tsv,signature.txt,quality_latency.png,staircase.png}}")


if __name__ == "__main__":
    sys.exit(command.main(sys.modules[__name__]))
