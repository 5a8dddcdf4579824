"""Draws quality against latency from a table of scores, one sentence of a run as a staircase, or its proportions.

leap-fairseq plot quality runs/demo/simulst.tsv --out quality_latency.png
leap-fairseq plot staircase runs/demo/simuleval/leap-k3 --index 7 --out staircase.png
leap-fairseq plot proportions my_translator speech.wav --waitk-lagging 4 --out proportions.png
"""

import argparse
import logging

from leap_fairseq.cli.model_options import add_data_options
from leap_fairseq.cli.score import add_unit_options
from leap_fairseq.speech import stream_file
from leap_fairseq.streaming.policy import add_policy_options, policy_options

LOG_LEVEL = logging.WARNING


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the kinds of pictures and their options."""
    kinds = parser.add_subparsers(metavar="KIND", required=True)
    quality = kinds.add_parser("quality", help="quality against latency, a line a group")
    quality.set_defaults(draw=draw_quality)
    quality.add_argument("tables", nargs="+", metavar="TSV", help="scores of several runs, one a line")
    quality.add_argument("--quality", default="BLEU", help="column of the y axis (default: BLEU)")
    quality.add_argument("--latency", default="LAAL", help="column of the x axis (default: LAAL)")
    quality.add_argument("--group", default="attention", help="column that names the line (default: attention)")
    quality.add_argument("--label", default="waitk", help="column written beside the points (default: waitk)")
    staircase = kinds.add_parser("staircase", help="reads and writes of one sentence over time")
    staircase.set_defaults(draw=draw_staircase)
    staircase.add_argument("run", metavar="RUN_DIR", help="simuleval --output folder, or its instances.log")
    staircase.add_argument("--index", type=int, help="number of the sentence (default: the one with most words)")
    add_unit_options(staircase)
    proportions = kinds.add_parser("proportions", help="proportions P_q and P_k over time of one sentence")
    proportions.set_defaults(draw=draw_proportions)
    proportions.add_argument("model", metavar="MODEL", help="exported folder, or a checkpoint (.pt)")
    proportions.add_argument("recording", metavar="WAV", help="wav, flac, mp3 or ogg of any rate")
    add_data_options(proportions)
    add_policy_options(proportions)
    proportions.add_argument("--layer", type=int, metavar="L", help="of the decoder, from 0 (default: all)")
    for kind in (quality, staircase, proportions):
        kind.add_argument("--out", required=True, metavar="PNG", help="picture to write")


def run(options: argparse.Namespace) -> None:
    """Draws the picture."""
    options.draw(options)


def draw_quality(options: argparse.Namespace) -> None:
    """Draws quality against latency."""
    from leap_fairseq.report.quality_latency import plot_quality_latency
    from leap_fairseq.report.tables import read_tsv

    rows = [row for table in options.tables for row in read_tsv(table)]
    plot_quality_latency(rows, options.out, options.quality, options.latency, options.group, options.label)


def draw_staircase(options: argparse.Namespace) -> None:
    """Draws one sentence of a run.

    Raises:
        OSError, ValueError: no such log, sentence, or words.
    """
    from leap_fairseq.report.staircase import plot_staircase
    from leap_fairseq.scoring.instances import read_instances
    from leap_fairseq.scoring.settings import settings_for

    unit = settings_for(options.run, options.tgt_lang, options.latency_unit, spm_model=options.spm_model).unit
    instances = {instance.index: instance for instance in read_instances(options.run, unit)}
    if not instances:
        raise ValueError(f"{options.run}: holds no sentence")
    index = options.index
    if index is None:
        index = max(instances, key=lambda number: len(instances[number].delays))
    if index not in instances:
        raise ValueError(f"--index {index}: the run has the sentences {min(instances)} to {max(instances)}")
    plot_staircase(instances[index], options.out)


def draw_proportions(options: argparse.Namespace) -> None:
    """Translates a recording, and draws its proportions.

    Raises:
        OSError, ValueError: no such model or recording, or nothing to draw.
    """
    from leap_fairseq.models import load_translator
    from leap_fairseq.report.proportions import plot_proportions
    from leap_fairseq.streaming.frames import FRAME_MS
    from leap_fairseq.streaming.proportions import collect_proportions

    places = options.model, options.data_bin, options.config_yaml
    translator = load_translator(*places, **policy_options(options))
    # What is heard between two segments of one frame does not delay a word beyond what its policy waits for.
    found = collect_proportions(translator, stream_file(options.recording, FRAME_MS))
    plot_proportions(found, options.out, options.layer)
