#!/usr/bin/env python
"""Streams a test set through a wait-k translator with SimulEval, for each k, and scores it.

    bash scripts/simulst/evaluate.sh MODEL LISTS OUT --waitk-lagging 5 --jobs 4
    bash scripts/simulst/sweep.sh MODEL LISTS OUT --waitk-lagging 1 3 5 7 --jobs 4

MODEL is a folder of scripts/simulst/export.py or a checkpoint; LISTS what data_prep/make_eval_list.py wrote, without
its ending (eval/tst-COMMON). The list is divided among the jobs. What is complete is not run again: the same command
goes on where an interrupted one stopped. With several values of k, each has its own folder OUT/kK, and OUT gets a table
and a curve.

With --long-form the recordings of LISTS are whole talks (make_eval_list.py --whole-talks), whose sentences are in
LISTS.tsv; scored is what belongs to each sentence, its latency is StreamLAAL.

Computation-aware latencies (_CA) mean something only where no other job shares the cores: --jobs 1.
"""

import argparse
import logging
import pickle
import signal
import sys
from pathlib import Path
from typing import Any, Dict, List

import leap_fairseq  # noqa: F401  (allows the types of fairseq's checkpoints)
from leap_fairseq.files import file_digest
from leap_fairseq.models.translator_checkpoint import read_checkpoint
from leap_fairseq.agents.evaluation import Evaluation, simuleval_command
from leap_fairseq.models.export import CHECKPOINT
from leap_fairseq.scoring.long_form import score_long_run
from leap_fairseq.scoring.long_references import read_references
from leap_fairseq.scoring.run import (
    add_scoring_options,
    format_table,
    score_run,
    ways_to_score,
    write_json,
    write_tsv,
)
from leap_fairseq.streaming.translator import FRAME_MS

TALKS_PER_JOB = 5

DTYPES = {"fp32": [], "fp16": ["--dtype", "fp16"], "bf16": ["--bf16"]}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="evaluate.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL", help="exported folder, or checkpoint (.pt)")
    parser.add_argument("lists", metavar="LISTS", help="path of LISTS.wav_list and LISTS.target")
    parser.add_argument("out", metavar="OUT", help="folder for logs and scores")
    text = "k; several give a table and a curve (default: the highest of training)"
    parser.add_argument("--waitk-lagging", type=int, nargs="+", metavar="K", help=text)
    text = "LISTS holds recordings of any number of sentences"
    parser.add_argument("--long-form", action="store_true", help=text)
    parser.add_argument("--label", help="name of the line in table and curve (default: the attention)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes at a time (default: 1)")
    text = "speech between two decisions (default: the model's pre-decision)"
    parser.add_argument("--segment-ms", type=int, metavar="MS", help=text)
    add_scoring_options(parser)
    parser.add_argument("--data-bin", metavar="DIR", help="of a checkpoint: its data folder (default: as in training)")
    parser.add_argument(
        "--config-yaml", metavar="NAME", help="of a checkpoint: its data YAML (default: as in training)"
    )
    parser.add_argument("--max-len-a", type=float, default=0.0, help="at most a * features + b tokens (default: 0)")
    parser.add_argument("--max-len-b", type=int, default=200, help="at most a * features + b tokens (default: 200)")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, ...")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="of the model (default: fp32)")
    return parser.parse_args()


def read_list(path: Path) -> List[str]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: LISTS is what data_prep/make_eval_list.py wrote, without ending")
    return path.read_text(encoding="utf-8").rstrip("\n").split("\n")


def evaluate(
    options: argparse.Namespace, model: Any, digest: str, lists: List[List[str]], lagging: int, out: Path
) -> Dict[str, Any]:
    """Runs and scores one k; returns its row."""
    ways = unit, _, spm_model = ways_to_score(options)
    segment = options.segment_ms or model.fixed_pre_decision_ratio * FRAME_MS
    settings = {
        "--test-waitk-lagging": lagging,
        "--source-segment-size": segment,
        "--eval-latency-unit": unit,
        "--max-len-a": options.max_len_a,
        "--max-len-b": options.max_len_b,
    }
    facts = {**settings, "--dtype": options.dtype, "model": digest}
    if options.long_form:
        facts["--long-form"] = True
    command = [*simuleval_command(), "--agent-class", "leap_fairseq.agents.WaitkAgent", "--no-scoring"]
    command += ["--no-progress-bar", "--model-path", options.model, "--device", options.device]
    command += ["--long-form"] if options.long_form else []
    command += [*DTYPES[options.dtype], *(str(word) for pair in settings.items() for word in pair)]
    for name, value in (("--data-bin", options.data_bin), ("--config-yaml", options.config_yaml)):
        command += [name, value] if value else []
    if unit == "spm":
        command += ["--eval-latency-spm-model", spm_model]
    evaluation = Evaluation(out, *lists, facts)
    evaluation.run(command, options.jobs, *([TALKS_PER_JOB] if options.long_form else []))
    scores = score_long_run(out, f"{options.lists}.tsv", *ways) if options.long_form else score_run(out, *ways)
    return {"model": str(options.label or model.decoder_cross_attention), "waitk": lagging, **scores}


def main() -> int:
    options = parse_arguments()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.INFO, stream=sys.stderr)
    logging.getLogger("fairseq").setLevel(logging.WARNING)
    # A request to end must reach the jobs too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        path = Path(options.model)
        checkpoint = path / CHECKPOINT if path.is_dir() else path
        model = read_checkpoint(checkpoint)["cfg"].model
        given = options.waitk_lagging or [int(str(model.waitk_lagging).split("-")[-1])]
        out = Path(options.out)
        folders = {lagging: out if len(given) == 1 else out / f"k{lagging}" for lagging in given}
        if options.long_form:
            read_references(f"{options.lists}.tsv")
        lists = [read_list(Path(f"{options.lists}.{name}")) for name in ("wav_list", "target")]
        digest = file_digest(checkpoint)
        rows = [evaluate(options, model, digest, lists, lagging, folder) for lagging, folder in folders.items()]
        rows.sort(key=lambda row: row["waitk"])
        write_tsv(rows, out / "table.tsv")
        write_json(rows, out / "table.json")
        if len(rows) > 1:
            from leap_fairseq.report.plots import plot_quality_latency

            latency = "StreamLAAL" if options.long_form else "LAAL"
            plot_quality_latency(rows, out / "quality_latency.png", latency=latency, group="model")
    except (OSError, ValueError, ImportError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(format_table(rows) + "\n")
    sys.stdout.write("\n".join(sorted({row["signature"] for row in rows})) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
