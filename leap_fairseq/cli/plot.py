#!/usr/bin/env python
"""Draws quality against latency from a table of scores, one sentence of a run as a staircase, or its proportions.

Examples:
    python scripts/simulst/plot.py quality runs/demo/simulst.tsv --out quality_latency.png
    python scripts/simulst/plot.py staircase runs/demo/simuleval/leap-k3 --index 7 --out staircase.png
    python scripts/simulst/plot.py proportions my_translator speech.wav --waitk-lagging 4 --out proportions.png
"""

import argparse
import logging
import pickle
import sys
from pathlib import Path
from typing import Optional

from leap_fairseq.streaming import StreamingTranslator
from leap_fairseq.scoring.instances import read_instances
from leap_fairseq.report.plots import plot_quality_latency, plot_staircase
from leap_fairseq.report.proportion_plot import plot_proportions
from leap_fairseq.streaming.proportions import collect_proportions
from leap_fairseq.scoring.run import read_tsv
from leap_fairseq.speech import stream_file

# One encoder frame: what is heard between two segments does not delay a word beyond what its policy waits for.
SEGMENT_MS = 40


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    quality = kinds.add_parser("quality", help="quality against latency, a line a group")
    quality.add_argument("tables", nargs="+", metavar="TSV", help="scores of several runs, one a line")
    quality.add_argument("--quality", default="BLEU", help="column of the y axis (default: BLEU)")
    quality.add_argument("--latency", default="LAAL", help="column of the x axis (default: LAAL)")
    quality.add_argument("--group", default="attention", help="column that names the line (default: attention)")
    quality.add_argument("--label", default="waitk", help="column written beside the points (default: waitk)")
    staircase = kinds.add_parser("staircase", help="reads and writes of one sentence over time")
    staircase.add_argument("run", metavar="RUN_DIR", help="simuleval --output folder, or its instances.log")
    staircase.add_argument("--index", type=int, help="number of the sentence (default: the one with most words)")
    proportions = kinds.add_parser("proportions", help="proportions P_q and P_k over time of one sentence")
    proportions.add_argument("model", metavar="MODEL_DIR", help="folder of scripts/simulst/export.py")
    proportions.add_argument("recording", metavar="WAV", help="wav, flac, mp3 or ogg of any rate")
    proportions.add_argument("--waitk-lagging", type=int, metavar="K", help="k (default: the highest of training)")
    proportions.add_argument("--layer", type=int, metavar="L", help="of the decoder, from 0 (default: all)")
    for kind in (quality, staircase, proportions):
        kind.add_argument("--out", required=True, metavar="PNG", help="picture to write")
    return parser.parse_args()


def draw_staircase(run: str, index: int, out: str) -> None:
    instances = {instance.index: instance for instance in read_instances(run)}
    if not instances:
        raise ValueError(f"{run}: holds no sentence")
    if index is None:
        index = max(instances, key=lambda number: len(instances[number].delays))
    if index not in instances:
        raise ValueError(f"--index {index}: the run has the sentences {min(instances)} to {max(instances)}")
    plot_staircase(instances[index], out)


def draw_proportions(model: str, recording: str, lagging: Optional[int], layer: Optional[int], out: str) -> None:
    if not Path(model).is_dir():
        raise FileNotFoundError(f"no folder {model}: make it from a checkpoint with scripts/simulst/export.py")
    translator = StreamingTranslator.from_pretrained(model, lagging=lagging)
    plot_proportions(collect_proportions(translator, stream_file(recording, SEGMENT_MS)), out, layer)


def main() -> int:
    arguments = parse_arguments()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        if arguments.kind == "staircase":
            draw_staircase(arguments.run, arguments.index, arguments.out)
        elif arguments.kind == "proportions":
            lagging, layer = arguments.waitk_lagging, arguments.layer
            draw_proportions(arguments.model, arguments.recording, lagging, layer, arguments.out)
        else:
            rows = [row for table in arguments.tables for row in read_tsv(table)]
            plot_quality_latency(
                rows, arguments.out, arguments.quality, arguments.latency, arguments.group, arguments.label
            )
    except (OSError, ValueError, ImportError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
