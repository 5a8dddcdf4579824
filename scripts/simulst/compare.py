#!/usr/bin/env python
"""Trains the same translator with several attentions, each at its own best learning rate, and compares them over k.

    python scripts/simulst/compare.py DATA OUT

DATA is the folder that data_prep/prep_mustc.py wrote. Every model is trained by train.sh with the `small` recipe and
one range of k. With the first seed each learning rate is tried; the other seeds take the one that was best on the dev
set. BLEU of the test set is that of fairseq-generate with beam 1, where a token sees what it sees in a stream; both
write the same words. OUT/MODEL-LR-SEED holds the checkpoints and the logs of a run, OUT/comparison.tsv the table. A run
that is complete is reused, one that was interrupted goes on, one of other options or other data begins anew.
"""

import argparse
import json
import math
import os
import re
import sys
from pathlib import Path
from typing import Any, Dict, List

from leap_fairseq.cli import command
from leap_fairseq.report.tables import format_table, write_tsv
from leap_fairseq.streaming.policy import at_least_one
from leap_fairseq.streaming.waitk import parse_lagging

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from training_runs import begin, cpu_seconds, keep_first, mean_and_deviation, once, read_log, run_all  # noqa: E402

LOG_LEVEL = "WARNING"
BLOCKS = ("encoder-self-attention", "decoder-self-attention", "decoder-cross-attention")
FADING, HALF_LIFE = "_fading", "2-64"


def attentions(model: str) -> List[str]:
    """The options of the attention of each block.

    Args:
        model: one kind for all blocks, or three joined by "+": of the encoder, of the decoder, and between them; with
            "_fading" behind it, the weights of linear self-attention have half-lives.

    Raises:
        ValueError: another number of kinds.
    """
    kinds = model.removesuffix(FADING).split("+")
    if len(kinds) not in (1, 3):
        raise ValueError(f"--models {model!r} must be one kind, or three joined by +, such as relu+relu+softmax")
    kinds = kinds * 3 if len(kinds) == 1 else kinds
    options = [text for block, kind in zip(BLOCKS, kinds) for text in (f"--{block}", kind)]
    for side, kind in zip(("encoder", "decoder"), kinds):
        if model.endswith(FADING) and kind != "softmax":
            options += [f"--{side}-attention-half-life", HALF_LIFE]
    return options


def check(options: argparse.Namespace) -> None:
    """Refuses what no translator can be trained with: runs of other options are removed before a training begins.

    Raises:
        ValueError: which option, and why.
        FileNotFoundError: no data.
    """
    for model in options.models:
        attentions(model)
    for rate in options.lr:
        check_rate(rate)
    parse_lagging(options.train_lagging, "--train-lagging")
    if not (options.data / "config_st.yaml").is_file():
        raise FileNotFoundError(
            f"{options.data} has no config_st.yaml: give the folder that data_prep/prep_mustc.py wrote"
        )


def check_rate(text: str) -> None:
    """Refuses a learning rate that is none with a ValueError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"--lr {text!r} must be a number above 0, such as 2e-3")


def train_and_evaluate(model: str, rate: str, seed: int, options: argparse.Namespace) -> None:
    """A run of the comparison."""
    folder = folder_of(model, rate, seed, options)
    train = ["bash", ROOT / "scripts/simulst/train.sh", options.data, folder, "--recipe", "small", "--seed", seed]
    train += ["--lr", rate, "--max-update", options.updates, "--waitk-lagging", options.train_lagging]
    train += ["--fixed-pre-decision-ratio", options.ratio, "--encoder-visibility", "segment", "--log-format", "json"]
    quarter = max(1, options.updates // 4)
    train += ["--save-interval-updates", quarter, "--keep-interval-updates", 1, "--log-interval", min(50, quarter)]
    train += attentions(model)
    stages = begin(folder, [str(part) for part in train], "command.json", "compare", training_files(options.data))
    environment = ["env", "PROCESSES=1", "CUDA_VISIBLE_DEVICES="]
    once(stages, "train", [*environment, *train], "a")
    for k in options.waitk_lagging:
        generate = ["fairseq-generate", options.data, "--user-dir", ROOT / "leap_fairseq", "--cpu", "--beam", 1]
        generate += ["--task", "leap_speech_to_text", "--config-yaml", "config_st.yaml", "--scoring", "sacrebleu"]
        generate += ["--gen-subset", options.subset, "--max-tokens", 20_000, "--required-batch-size-multiple", 1]
        generate += ["--path", folder / "checkpoint_last.pt", "--model-overrides", {"waitk_lagging": str(k)}]
        once(stages, f"k{k}", generate, data=[options.data / f"{options.subset}.tsv"])
    print(f"complete: {folder.name}", flush=True)


def training_files(data: Path) -> List[Path]:
    """What the content of prepared data is known by: of the vocabulary the texts, of the features their statistics."""
    names = ("config_st.yaml", "train_st.tsv", "dev_st.tsv", "gcmvn.npz")
    return [path for path in (data / name for name in names) if path.is_file()]


def folder_of(model: str, rate: str, seed: int, options: argparse.Namespace) -> Path:
    """Where a run is."""
    return options.out / f"{model}-{rate}-{seed}"


def read_run(folder: Path, laggings: List[int]) -> Dict[str, Any]:
    """What a complete run says: its last loss on the dev set, CPU minutes of training, parameters, BLEU of each k.

    The minutes are those of all updates; see `training_runs.cpu_seconds` for one that was interrupted.

    Raises:
        ValueError: a log holds no result.
    """
    text, parameters, lines = read_log(folder / "train.log", valid="dev_st")
    used = json.loads((folder / "train.json").read_text(encoding="utf-8"))
    losses = [float(figures["dev_st_loss"]) for kind, figures in lines if kind == "dev_st"]
    updates = [float(figures["num_updates"]) for kind, figures in lines if kind == "train_inner"]
    seconds = cpu_seconds(used, text, updates[-1])
    run = {"parameters": parameters, "loss": losses[-1], "cpu_minutes": seconds / 60}
    for k in laggings:
        log = folder / f"k{k}.log"
        bleu = re.search(r"BLEU = ([\d.]+)", log.read_text(encoding="utf-8"))
        if not bleu:
            raise ValueError(f"{log} holds no BLEU: remove {folder} and run the comparison again")
        run[f"k{k}"] = float(bleu[1])
    return run


def best_rate(model: str, options: argparse.Namespace) -> str:
    """The learning rate whose first seed has the lowest loss on the dev set."""
    runs = {rate: folder_of(model, rate, options.seeds[0], options) for rate in options.lr}
    return min(runs, key=lambda rate: read_run(runs[rate], [])["loss"])


def report(options: argparse.Namespace) -> str:
    """Writes the table, and returns it as text: mean and deviation over the seeds at the best learning rate."""
    rows = []
    for model in options.models:
        rate = best_rate(model, options)
        runs = [read_run(folder_of(model, rate, seed, options), options.waitk_lagging) for seed in options.seeds]
        row = {"model": model, "lr": rate, "seeds": len(runs)}
        for name in runs[0]:
            mean, deviation = mean_and_deviation([run[name] for run in runs])
            row[name] = mean
            if name != "parameters":
                row[f"{name}_sd"] = deviation
        rows.append(row)
    write_tsv(rows, options.out / "comparison.tsv")
    return f"{format_table(rows)}\n\nwritten: {options.out}/comparison.tsv"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("data", type=Path, help="folder of data_prep/prep_mustc.py")
    parser.add_argument("out", type=Path, help="folder of the runs")
    models = ["leap", "contrast_fading", "softmax"]
    text = f"KIND for all blocks or ENCODER+DECODER+CROSS, both also as ..._fading (default: {' '.join(models)})"
    parser.add_argument("--models", nargs="+", default=models, metavar="MODEL", help=text)
    parser.add_argument("--updates", type=at_least_one, default=2000, help="of each training (default: 2000)")
    parser.add_argument("--lr", nargs="+", default=["1e-3", "2e-3", "4e-3"], help="tried (default: 1e-3 2e-3 4e-3)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="default: 1 2 3")
    parser.add_argument("--train-lagging", default="1-12", metavar="K-K", help="k of training (default: 1-12)")
    parser.add_argument("--ratio", type=at_least_one, default=4, help="encoder frames of a pre-decision (default: 4)")
    text = "k of the test (default: 1 3 5 7 9 12)"
    laggings = [1, 3, 5, 7, 9, 12]
    parser.add_argument("--waitk-lagging", type=at_least_one, nargs="+", default=laggings, metavar="K", help=text)
    parser.add_argument("--subset", default="tst-COMMON_st", help="of the test (default: tst-COMMON_st)")
    text = "runs at a time (default: one a core)"
    parser.add_argument("--jobs", type=at_least_one, default=os.cpu_count(), help=text)


def run(options: argparse.Namespace) -> None:
    """Runs all that is not complete, and reports."""
    keep_first(options, "models", "lr", "seeds", "waitk_lagging")
    check(options)
    options.out.mkdir(parents=True, exist_ok=True)
    first, *others = options.seeds
    run_all(
        train_and_evaluate, [(m, rate, first, options) for m in options.models for rate in options.lr], options.jobs
    )
    best = {model: best_rate(model, options) for model in options.models}
    run_all(train_and_evaluate, [(m, best[m], seed, options) for seed in others for m in options.models], options.jobs)
    print(report(options))


if __name__ == "__main__":
    sys.exit(command.main(sys.modules[__name__]))
