"""Draws quality against latency, one sentence or a long recording over time, or what a model makes of a sentence.

leap-fairseq plot quality runs/demo/simulst.tsv --out quality_latency.pdf --width column
leap-fairseq plot staircase runs/demo/simuleval/leap-k3 --index 7 --out staircase.png
leap-fairseq plot staircase k1 k5 --index 7 --out staircases.pdf --width column
leap-fairseq plot talk talks-k5 --references eval/tst-COMMON.talks.tsv --out talk.pdf --width page
leap-fairseq plot alignment my_translator speech.wav --waitk-lagging 4 --out alignment.png
leap-fairseq plot proportions my_translator speech.wav --waitk-lagging 4 --out proportions.svg

The name of the picture tells its form: PDF and SVG are drawn with lines, and have their fonts with them. Lines differ
in marker and dashes, not in colour alone.
"""

import argparse
import logging
import os
from typing import Any, Callable, Dict, Iterator, List, Tuple

from leap_fairseq.cli.model_options import add_data_options
from leap_fairseq.cli.score import add_unit_options
from leap_fairseq.report.style import FORMS, WIDTHS, check_form
from leap_fairseq.scoring.any_log import references_from
from leap_fairseq.scoring.instances import Instance
from leap_fairseq.scoring.segmenters import EDITS, SEGMENTERS
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
    text = "a log, or the folder that holds it; several give a line each, without the words"
    staircase.add_argument("runs", nargs="+", metavar="RUN", help=text)
    text = "number of the sentence (default: the one with most words in the first run)"
    staircase.add_argument("--index", type=int, help=text)
    text = "names of several runs (default: their folders)"
    staircase.add_argument("--names", nargs="+", metavar="NAME", help=text)
    add_unit_options(staircase)
    _add_talk(kinds.add_parser("talk", help="when each word of a long recording was written, by sentences"))
    text = "what each piece of one sentence reads of the speech: weights of the cross-attention"
    _add_model(kinds.add_parser("alignment", help=text), draw_alignment)
    text = "proportions P_q and P_k over time of one sentence"
    _add_model(kinds.add_parser("proportions", help=text), draw_proportions)
    for kind in kinds.choices.values():
        text = f"picture to write; its ending tells the form: {', '.join(FORMS)}"
        kind.add_argument("--out", required=True, metavar="PICTURE", help=text)
        widths = ", ".join(f"{name} ({width:g})" for name, width in WIDTHS.items())
        text = f"of the printed picture: {widths}, or a number of cm (default: for a screen)"
        kind.add_argument("--width", type=width_in_cm, metavar="CM", help=text)


def _add_talk(talk: argparse.ArgumentParser) -> None:
    talk.set_defaults(draw=draw_talk)
    talk.add_argument("run", metavar="RUN", help="a log of long recordings, or the folder that holds it")
    text = "sentences of the recordings, a box each: LONG.tsv, or a YAML of segments (default: none)"
    talk.add_argument("--references", metavar="TABLE", help=text)
    text = "texts of a YAML's segments (default: the file beside it that ends in --tgt-lang)"
    talk.add_argument("--reference-text", metavar="FILE", help=text)
    text = f"splits the words onto the references (default: {EDITS})"
    talk.add_argument("--segmenter", choices=SEGMENTERS, default=EDITS, help=text)
    talk.add_argument("--index", type=int, default=0, help="number of the recording")
    text = "part of the recording to draw (default: all)"
    talk.add_argument("--seconds", type=float, nargs=2, metavar=("FROM", "TO"), help=text)
    add_unit_options(talk)


def _add_model(kind: argparse.ArgumentParser, draw: Callable[[argparse.Namespace], None]) -> None:
    """What shows the inside of a model has these options."""
    kind.set_defaults(draw=draw)
    kind.add_argument("model", metavar="MODEL", help="exported folder, or a checkpoint (.pt)")
    kind.add_argument("recording", metavar="WAV", help="wav, flac, mp3 or ogg of any rate")
    add_data_options(kind)
    add_policy_options(kind)
    kind.add_argument("--layer", type=int, metavar="L", help="of the decoder, from 0 (default: all)")


def width_in_cm(text: str) -> float:
    """A width that was given by name or in cm."""
    try:
        return WIDTHS[text] if text in WIDTHS else float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(WIDTHS)} and no number of cm") from None


def run(options: argparse.Namespace) -> None:
    """Draws the picture."""
    check_form(options.out)
    options.draw(options)


def draw_quality(options: argparse.Namespace) -> None:
    """Draws quality against latency."""
    from leap_fairseq.report.quality_latency import plot_quality_latency
    from leap_fairseq.report.tables import read_tsv

    rows = [row for table in options.tables for row in read_tsv(table)]
    columns = options.quality, options.latency, options.group, options.label
    plot_quality_latency(rows, options.out, *columns, width=options.width)


def draw_staircase(options: argparse.Namespace) -> None:
    """Draws one sentence of a run, or of several.

    Raises:
        OSError, ValueError: no such log, sentence, or words.
    """
    from leap_fairseq.report.staircase import plot_staircase, plot_staircases

    names, count = options.names or names_of(options.runs), len(options.runs)
    if len(names) != count or len(set(names)) != count:
        raise ValueError(f"--names {' '.join(names)}: there must be one for each of the {count} runs, no two the same")
    runs = [sentences_of_run(run, options) for run in options.runs]
    index = options.index
    if index is None:
        index = max(runs[0], key=lambda number: len(runs[0][number].delays))
    for run, instances in zip(options.runs, runs):
        if index not in instances:
            numbers = f"{min(instances)} to {max(instances)}"
            raise ValueError(f"--index {index}: {run} has the sentences {numbers}")
    if count == 1:
        plot_staircase(runs[0][index], options.out, width=options.width)
    else:
        sentence = {name: instances[index] for name, instances in zip(names, runs)}
        plot_staircases(sentence, options.out, f"Sentence {index}", options.width)


def sentences_of_run(run: str, options: argparse.Namespace) -> Dict[int, Instance]:
    """The sentences of a run by their numbers.

    Raises:
        OSError, ValueError: no such log, or none in it.
    """
    from leap_fairseq.scoring.instances import read_instances
    from leap_fairseq.scoring.settings import settings_for

    unit = settings_for(run, options.tgt_lang, options.latency_unit, spm_model=options.spm_model).unit
    instances = {instance.index: instance for instance in read_instances(run, unit)}
    if not instances:
        raise ValueError(f"{run}: holds no sentence")
    return instances


def names_of(runs: List[str]) -> List[str]:
    """Short names of runs: what their paths do not have in common."""
    paths = [os.path.abspath(run) for run in runs]
    paths = [os.path.dirname(path) if path.endswith("instances.log") else path for path in paths]
    common = os.path.commonpath(paths)
    return [os.path.relpath(path, common) for path in paths] if len(set(paths)) > 1 else runs


def draw_talk(options: argparse.Namespace) -> None:
    """Draws a long recording.

    Raises:
        ImportError, OSError, ValueError: no such log, recording, or words; or as for the references of scores.
    """
    from leap_fairseq.report.talk import plot_talk, sentences_of
    from leap_fairseq.scoring.instances import read_any_log
    from leap_fairseq.scoring.long_form import in_order
    from leap_fairseq.scoring.segmenters import segmenter_named
    from leap_fairseq.scoring.settings import settings_for

    settings = settings_for(options.run, options.tgt_lang, options.latency_unit, spm_model=options.spm_model)
    log = read_any_log(options.run, settings.unit)
    recordings, instances = None, log.instances
    if options.references:
        recordings = references_from(options.references, options.reference_text, settings.language)
        instances = in_order(log, recordings, options.run, options.references)
    if not instances:
        raise ValueError(f"{options.run}: holds no recording")
    if not 0 <= options.index < len(instances):
        raise ValueError(f"--index {options.index}: the run has the recordings 0 to {len(instances) - 1}")
    sentences = sentences_of(
        instances[options.index],
        recordings[options.index] if recordings else None,
        segmenter_named(options.segmenter, settings.unit, settings.language).cut,
    )
    span = tuple(options.seconds) if options.seconds else None
    plot_talk(instances[options.index], sentences, options.out, span, width=options.width)


def draw_alignment(options: argparse.Namespace) -> None:
    """Translates a recording, and draws what each piece has read of it.

    Raises:
        OSError, ValueError: no such model or recording, or nothing to draw.
    """
    from leap_fairseq.report.alignment import plot_alignment
    from leap_fairseq.streaming.alignment import collect_alignment

    found = collect_alignment(*_model_and_speech(options))
    plot_alignment(found, options.out, options.layer, width=options.width)


def draw_proportions(options: argparse.Namespace) -> None:
    """Translates a recording, and draws its proportions.

    Raises:
        OSError, ValueError: no such model or recording, or nothing to draw.
    """
    from leap_fairseq.report.proportions import plot_proportions
    from leap_fairseq.streaming.proportions import collect_proportions

    found = collect_proportions(*_model_and_speech(options))
    plot_proportions(found, options.out, options.layer, width=options.width)


def _model_and_speech(options: argparse.Namespace) -> Tuple[Any, Iterator[Any]]:
    from leap_fairseq.models import load_translator
    from leap_fairseq.streaming.frames import FRAME_MS

    translator = load_translator(options.model, options.data_bin, options.config_yaml, **policy_options(options))
    # What is heard between two segments of one frame does not delay a word beyond what its policy waits for.
    return translator, stream_file(options.recording, FRAME_MS)
