#!/usr/bin/env python
"""Trains the same small language model with several attentions, evaluates each on the test text, and reports.

    python scripts/lm/compare.py TEXT OUT

Every model has 4 layers of d 256 with 4 heads and tied embeddings of 8,000 words, 5.2 M parameters, and sees 2,048
tokens an update. OUT/MODEL-SEED holds the checkpoint and the logs of a run, OUT/comparison.tsv the table,
OUT/comparison.png the plot. A run that is complete is reused, one that was interrupted goes on, one of other options or
another text begins anew.
"""

import argparse
import os
import sys
from pathlib import Path

from compare_report import COMMAND, files_of, report

from leap_fairseq.cli import command
from leap_fairseq.prepare.wikitext_text import find_texts
from leap_fairseq.streaming.policy import at_least_one

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))
from training_runs import begin, call, keep_first, once, run_all  # noqa: E402

LOG_LEVEL = "WARNING"

VALID_TOKENS = 20_000
"""The beginning of the validation text is enough for a curve, and is the same for every model."""

SIZES = (
    "--arch leap_transformer_lm --decoder-layers 4 --decoder-embed-dim 256 --decoder-input-dim 256 "
    "--decoder-output-dim 256 --decoder-ffn-embed-dim 1024 --decoder-attention-heads 4 --decoder-normalize-before "
    "--share-decoder-input-output-embed --dropout 0.1"
)
BLOCKS = "--tokens-per-sample 512 --batch-size 4"
FADING = "--attention-half-life 4-512 --no-token-positional-embeddings"

MODELS = {
    **{kind: f"--decoder-self-attention {kind} {BLOCKS}" for kind in ("leap", "cosformer", "relu", "elu", "softmax")},
    "relu_fading": f"--decoder-self-attention relu {FADING} {BLOCKS}",
    "leap_fading": f"--decoder-self-attention leap {FADING} {BLOCKS}",
    "contrast_fading": f"--decoder-self-attention contrast {FADING} {BLOCKS}",
    "relu_paced": f"--decoder-self-attention relu {FADING} --attention-learned-pace {BLOCKS}",
    "contrast_paced": f"--decoder-self-attention contrast {FADING} --attention-learned-pace {BLOCKS}",
    "leap_carried": f"--decoder-self-attention leap {FADING} --carry-state --tokens-per-sample 256 --batch-size 8",
}
"""The first five differ in their attention alone. The others forget, and need no positions; by a learned pace, some
tokens make them forget more than others; the last one carries its state through training."""

EVALUATIONS = {
    "blocks": "--tokens-per-sample 512 --batch-size 4",
    "carried": "--tokens-per-sample 512 --batch-size 1 --carry-state",
}


def schedule(updates: int) -> str:
    """Adam with a warm-up of an eighth and half a cosine."""
    warmup = max(1, updates // 8)
    return (
        "--optimizer adam --adam-betas (0.9,0.98) --weight-decay 0.01 --clip-norm 1 --lr 3e-3 --lr-scheduler cosine "
        f"--warmup-updates {warmup} --warmup-init-lr 1e-6 --lr-period-updates {updates - warmup} --min-lr 3e-5 "
        f"--max-update {updates}"
    )


def train_and_evaluate(model: str, seed: int, options: argparse.Namespace) -> None:
    """A run of the comparison."""
    folder, data = options.out / f"{model}-{seed}", options.out / "data"
    plugin = [
        "--user-dir",
        ROOT / "leap_fairseq",
        "--task",
        "leap_language_modeling",
        # fairseq would take all GPUs of the machine, and multiply the batch by their number.
        *(["--distributed-world-size", 1] if options.cuda else ["--cpu"]),
    ]
    train = [
        *("fairseq-train", data, *plugin, *SIZES.split(), *MODELS[model].split(), *schedule(options.updates).split()),
        *("--seed", seed, "--save-dir", folder, "--num-workers", 0, "--required-batch-size-multiple", 1),
        *("--no-epoch-checkpoints", "--save-interval-updates", 100, "--keep-interval-updates", 1),
        *("--validate-interval-updates", 50, "--log-format", "json"),
        *("--log-interval", max(1, min(10, options.updates // 4))),
    ]
    # Of another text or dictionary, the command is the same.
    stages = begin(folder, [str(part) for part in train], COMMAND, "compare", files_of(options.out))
    once(stages, "train", train, "a")
    for name, evaluation in EVALUATIONS.items():
        if name == "carried" and model != "leap" and FADING not in MODELS[model]:
            continue
        test = ["fairseq-eval-lm", data, *plugin, "--path", folder / "checkpoint_last.pt", "--gen-subset", "test"]
        once(stages, name, [*test, *evaluation.split()])
    print(f"complete: {folder.name}", flush=True)


def prepare(options: argparse.Namespace) -> None:
    """Makes OUT/data.

    Raises:
        ValueError: a split is missing.
        RuntimeError: prep_wikitext failed.
    """
    texts = find_texts([options.text])
    missing = [split for split in ("train", "valid", "test") if split not in texts]
    if missing:
        raise ValueError(f"{options.text} has no text of {', '.join(missing)}: name the files wiki.SPLIT.tokens")
    count, valid = 0, options.out / "valid.txt"
    with open(valid, "w", encoding="utf-8") as file:
        for words in (line.split() for text in texts["valid"] for line in text.lines()):
            if count < VALID_TOKENS:
                file.write(" ".join(words) + "\n")
            count += len(words) + 1
    script = ROOT / "data_prep/prep_wikitext.py"
    command = [sys.executable, script, options.text, "--valid", valid, "--any-text", "--nwords", options.nwords]
    call([*command, "--out", options.out / "data"], options.out / "data.log")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("text", type=Path, help="folder with train, valid and test text")
    parser.add_argument("out", type=Path, help="folder of the runs")
    parser.add_argument("--updates", type=at_least_one, default=300, help="of each training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="default: 1 2 3")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="default: all")
    text = "runs at a time (default: one a core, or one on the GPU)"
    parser.add_argument("--jobs", type=at_least_one, help=text)
    parser.add_argument("--nwords", type=int, default=8000, help="size of the dictionary")
    parser.add_argument("--cuda", action="store_true", help="train on the GPU (default: on the CPU)")


def run(options: argparse.Namespace) -> None:
    """Runs all that is not complete, and reports."""
    keep_first(options, "models", "seeds")
    options.out.mkdir(parents=True, exist_ok=True)
    prepare(options)
    # Seed by seed, so that an interrupted comparison has whole rows.
    jobs = [(model, seed, options) for seed in options.seeds for model in options.models]
    run_all(train_and_evaluate, jobs, options.jobs or (1 if options.cuda else os.cpu_count()))
    print(report(options.out))


if __name__ == "__main__":
    sys.exit(command.main(sys.modules[__name__]))
