#!/usr/bin/env python
"""Memory, time and cost of a full recipe by card: scripts/lm/train.sh on WikiText-103, scripts/simulst on MuST-C.

    python scripts/plan.py wikitext103 --gpus 8 --price H100=2.5 A100=1.5
    python scripts/plan.py mustc-asr --gpus 1
    python scripts/plan.py mustc --gpus 1 --words-per-s H100=20000

The columns, of a training in half precision (--bf16):

    card, gib       and its memory
    needs_gib       weights, gradients, optimizer and activations of a batch: an estimate
    words_per_s     of one card. fairseq's log has that of all cards as wps; it counts the target of a translator
    basis           measured (--words-per-s, from the log of a hundred updates), or estimate
    hours           of the whole training on --gpus cards, and of as many cards together: gpu_hours
    cost            by --price, of an hour of one card

An estimate adds the times of four things: matrix products, at --utilisation of the card's peak; attention as measured
on an H100 (docs/results/gpu.md), and reading and writing activations, both slower as the memory of a card is; and the
launches of kernels. It knows nothing of input, padding and communication, and may be wrong by a factor of two; a
hundred updates on the card say more.
"""

import argparse
import math
import sys
from typing import Dict, List, NamedTuple

from recipe_sizes import RECIPES, Recipe

from leap_fairseq.cli import command
from leap_fairseq.report.tables import format_table, write_tsv

LOG_LEVEL = "WARNING"


class Card(NamedTuple):
    """A GPU, by its maker's data sheet: dense bfloat16 with float32 sums, and its memory.

    Attributes:
        tflops: 10^12 operations a second.
        tb_per_s: 10^12 bytes of memory a second.
        gib: GiB of memory, of which some are taken by CUDA.
    """

    tflops: float
    tb_per_s: float
    gib: int


CARDS = {
    "H200": Card(989, 4.8, 141),
    "H100": Card(989, 3.35, 80),
    "A100": Card(312, 2.04, 80),
    "L40S": Card(362, 0.864, 48),
    "RTX4090": Card(165, 1.01, 24),
}

MEASURED_ON, POSITIONS, COLUMNS = CARDS["H100"], 32768, 512
ATTENTION_MS = {"softmax": 0.88, "leap": 4.17, "leap in heads of 128": 9.94}
"""Forward and backward of POSITIONS positions with COLUMNS columns, in sequences of 512. Source: docs/results/gpu.md;
`triton`, and for heads of 128, which it does not take, `blockwise`."""

ATTENTION_MIB = {"softmax": 195, "leap": 540, "leap in heads of 128": 1857}
"""Peak memory of the same."""

LAUNCH_MS = 1.77 - 1.06
"""What the launches of one LeaP attention take, of its forward and backward; the rest of a layer is taken to have as
many. Source: docs/results/gpu.md."""

PASSES = 3
"""An activation is written once and read twice."""

GIB = 2**30


def attention_of(recipe: Recipe, leap: bool) -> str:
    """The measurement that is nearest to the attention of a recipe."""
    return "softmax" if not leap else "leap in heads of 128" if recipe.head > 64 else "leap"


def estimated_words_per_s(recipe: Recipe, card: Card, kind: str, utilisation: float) -> float:
    """Of one card; see the head of this script."""
    products = recipe.products / (utilisation * card.tflops * 1e12)
    attention = ATTENTION_MS[kind] / 1000 / (POSITIONS * COLUMNS) * recipe.columns
    activations = PASSES * recipe.activations / (card.tb_per_s * 1e12)
    launches = LAUNCH_MS / 1000 * recipe.attentions * (1 if kind == "softmax" else 2) / recipe.batch
    return 1 / (products + attention * MEASURED_ON.tb_per_s / card.tb_per_s + activations + launches)


def needed_gib(recipe: Recipe, kind: str) -> float:
    """Memory of one card."""
    attention = ATTENTION_MIB[kind] * 2**20 / (POSITIONS * COLUMNS) * recipe.columns
    return (recipe.parameters * recipe.optimizer_bytes + recipe.batch * (recipe.activations + attention)) / GIB


def table(options: argparse.Namespace) -> List[Dict[str, object]]:
    """A row for each card."""
    leap = options.attention == "leap"
    recipe = RECIPES[options.recipe](leap, options.gpus)
    kind = attention_of(recipe, leap)
    prices, measured, rows = dict(options.price), dict(options.words_per_s), []
    for name in options.cards:
        estimate = estimated_words_per_s(recipe, CARDS[name], kind, options.utilisation)
        words_per_s = measured.get(name, estimate)
        gpu_hours = recipe.words / words_per_s / 3600
        rows.append(
            {
                **{"card": name, "gib": CARDS[name].gib, "needs_gib": needed_gib(recipe, kind)},
                "words_per_s": round(words_per_s),
                "basis": "measured" if name in measured else "estimate",
                **{"hours": gpu_hours / options.gpus, "gpu_hours": gpu_hours},
                "cost": gpu_hours * prices[name] if name in prices else math.nan,
            }
        )
    return rows


def _of_card(text: str) -> tuple:
    name, _, number = text.partition("=")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if name not in CARDS or not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be CARD=NUMBER, with a card of {', '.join(CARDS)}")
    return name, value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add = parser.add_argument
    add("recipe", choices=RECIPES, help="which training")
    add("--attention", choices=("leap", "softmax"), default="leap", help="in every block")
    add("--cards", nargs="+", choices=CARDS, default=list(CARDS), metavar="CARD", help=f"default: {' '.join(CARDS)}")
    add("--gpus", type=int, default=8, help="cards that train together")
    measured = "wps of fairseq's log over the number of cards, in place of the estimate (default: estimates)"
    add("--words-per-s", nargs="+", type=_of_card, default=[], metavar="CARD=N", help=measured)
    add(
        "--price",
        nargs="+",
        type=_of_card,
        default=[],
        metavar="CARD=N",
        help="of an hour of one card (default: none)",
    )
    add("--utilisation", type=float, default=0.35, help="share of the peak that matrix products reach; an assumption")
    add("--tsv", metavar="FILE", help="write the table here, numbers unrounded")


def run(options: argparse.Namespace) -> None:
    """Prints the table."""
    if options.gpus < 1 or not 0 < options.utilisation <= 1:
        raise argparse.ArgumentTypeError("--gpus must be 1 or more, and --utilisation above 0 and at most 1")
    rows = table(options)
    recipe = RECIPES[options.recipe](options.attention == "leap", options.gpus)
    print(
        f"{recipe.parameters:,} parameters; {recipe.words:.4g} words in batches of {recipe.batch:,.0f} on a card; "
        f"{recipe.products / 1e9:.3g} GFLOP of matrix products a word"
    )
    print(format_table(rows))
    if options.tsv:
        write_tsv(rows, options.tsv)


if __name__ == "__main__":
    sys.exit(command.main(sys.modules[__name__]))
