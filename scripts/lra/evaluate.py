#!/usr/bin/env python
"""Accuracy of a checkpoint of Long-Range Arena, every sample counted once, and how fast it was.

    python scripts/lra/evaluate.py DATA CHECKPOINT [--split test valid] [--batch-size 32] [--json FILE]

On valid it gives the accuracy that the training logged for this checkpoint. Seconds are those of the model alone.
"""

import argparse
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any, Dict, Union

import torch

# isort: split
# Before fairseq, which else lets every library log its details.
import leap_fairseq.models  # noqa: F401  (registers the task)
from leap_fairseq.cli import command
from leap_fairseq.criterions import SequenceClassificationCriterion
from leap_fairseq.files import whole_file
from leap_fairseq.models.checked import load_models

# isort: split
from fairseq import utils

LOG_LEVEL = "WARNING"


def evaluate(
    data: Union[str, Path],
    checkpoint: Union[str, Path],
    split: str,
    batch_size: int = 32,
    device: str = "cpu",
    whole: bool = False,
) -> Dict[str, Any]:
    """Runs a model over a split of a folder of prep_lra.py.

    Args:
        batch_size: samples; without effect on the accuracy.
        device: "cpu" or "cuda".
        whole: read all samples, also where the training was told to validate on some (--lra-eval-samples).

    Returns:
        accuracy in per cent, loss in nats, right, samples, seconds and samples_per_s.

    Raises:
        DataError: the folder is not one of prep_lra.py, or has no such split.
        DataError, OSError: the checkpoint is not one of a model of ours, or cannot be read.
    """
    overrides = {"data": str(data), **({"lra_eval_samples": None} if whole else {})}
    (model,), _, task = load_models([checkpoint], overrides)
    model, criterion = model.to(device).eval(), SequenceClassificationCriterion(task)
    task.load_dataset(split)
    batches = task.get_batch_iterator(task.dataset(split), max_sentences=batch_size, max_positions=task.max_positions())
    found = {"loss": 0.0, "right": 0, "samples": 0, "seconds": 0.0}
    for sample in batches.next_epoch_itr(shuffle=False):
        if device == "cuda":
            sample = utils.move_to_cuda(sample)
        start = time.perf_counter()
        loss, count, logged = task.valid_step(sample, model, criterion)
        # Waits for the device.
        found["loss"] += float(loss)
        found["seconds"] += time.perf_counter() - start
        found["right"] += int(logged["right"])
        found["samples"] += count
    samples = found["samples"]
    return {
        **found,
        "loss": found["loss"] / samples,
        "accuracy": 100 * found["right"] / samples,
        "samples_per_s": samples / found["seconds"],
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("data", type=Path, help="folder of data_prep/prep_lra.py")
    parser.add_argument("checkpoint", type=Path, help="of scripts/lra/train.sh")
    parser.add_argument("--split", nargs="+", default=["test"], help="train, valid or test (default: test)")
    parser.add_argument("--batch-size", type=int, default=32, help="samples of a batch")
    parser.add_argument("--whole", action="store_true", help="all samples, whatever --lra-eval-samples was")
    parser.add_argument("--cuda", action="store_true", help="on the GPU (default: on the CPU)")
    parser.add_argument("--json", type=Path, help="write the figures here")


def run(options: argparse.Namespace) -> None:
    """Evaluates, prints and writes."""
    # hydra's, of what fairseq still uses.
    warnings.simplefilter("ignore")
    if options.batch_size < 1:
        raise argparse.ArgumentTypeError(f"--batch-size {options.batch_size} must be at least 1")
    if options.cuda and not torch.cuda.is_available():
        raise argparse.ArgumentTypeError("--cuda: torch finds no CUDA device; leave the option out")
    device, figures = "cuda" if options.cuda else "cpu", {}
    for split in options.split:
        found = evaluate(options.data, options.checkpoint, split, options.batch_size, device, options.whole)
        figures[split] = found
        print(
            f"{split}: accuracy {found['accuracy']:.2f} % ({found['right']} of {found['samples']}), "
            f"loss {found['loss']:.4f}, {found['samples_per_s']:.1f} samples/s"
        )
    if options.json:
        with whole_file(options.json, text=True) as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    sys.exit(command.main(sys.modules[__name__]))
