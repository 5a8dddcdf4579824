#!/usr/bin/env python
"""Speed and memory of what is linear here against what it replaces, behind a gate of equality.

    python scripts/benchmark.py attention --tsv attention.tsv --png attention.png
    python scripts/benchmark.py lm --lengths 512 4096
    python scripts/benchmark.py decode --positions 100 32000
    python scripts/benchmark.py simulst --arch leap_convtransformer_simul_trans_espnet
    python scripts/benchmark.py prepare --hours 1 4
    python scripts/benchmark.py guard --threads 1

Nothing is measured before everything that is compared has been found equal to its law (`guard` leaves that to the
others). What is compared runs in turn, in one process, and ratios are medians over the rounds: they hold on a busy
machine too. Every table ends with the hardware, versions and threads. `benchmark.py COMMAND --help` explains its
columns.
"""

import sys
import warnings
from typing import List, Optional

from leap_fairseq import cli

COMMANDS = {
    "attention": ("benchmarks.attention", "attention alone, forward and backward: LeaP's algorithms and softmax"),
    "lm": ("benchmarks.language_model", "training of a language model: updates a second as the blocks grow"),
    "decode": ("benchmarks.decoding", "decoding with a language model: the time of a token at a far position"),
    "simulst": ("benchmarks.streaming", "streams: each frame encoded once, or the prefix anew; several together"),
    "prepare": ("benchmarks.preparation", "preparation of corpora of ever more hours: time, memory, disk"),
    "guard": ("benchmarks.guard", "the ratios that matter, in two minutes: what became slower"),
    "gpu-updates": ("benchmarks.gpu_updates", "training of the WikiText-103 model by fairseq's trainer, on a GPU"),
    "gpu-report": ("benchmarks.gpu_report", "the page of scripts/gpu_check.sh"),
}


def main(given: Optional[List[str]] = None) -> int:
    """The command line; its exit code is 1 where the gate is red, or the options do not fit."""
    with warnings.catch_warnings():
        # hydra's, of what fairseq still uses.
        warnings.simplefilter("ignore")
        return cli.main(given, "benchmark.py", COMMANDS)


if __name__ == "__main__":
    sys.exit(main())
