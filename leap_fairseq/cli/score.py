"""Scores logs of simultaneous translation: BLEU, chrF, and each latency plain and computation-aware.

A log is an instances.log of SimulEval 1.0 or 1.1, JSONL of OmniSTEval or of simulstream; its first line tells which. A
folder of leap-fairseq evaluate says itself in which unit and language it was made. A log that cannot be right is
refused, with the number of its line.

With --references the recordings of the runs hold many sentences: their translation is split onto the references, and
the latencies are StreamLAAL and OmniSTEval's LongYAAL, LongLAAL, LongAL, LongAP and LongDAL. LONG.tsv has one line per
sentence, with the columns audio, offset_ms, duration_ms, source and target; leap-fairseq prepare lists --whole-talks
writes it. A YAML of segments, as MuST-C has it, needs a text file that is parallel to it.

Where --src-lang is the language of the translation, speech is recognised, and WER and CER are given. --comet adds COMET
by a model of unbabel-comet, which reads the transcripts of the speech too: those of LONG.tsv, or --source-text.

    leap-fairseq score runs/demo/simuleval/leap-k3 runs/demo/simuleval/leap-k5 --tsv scores.tsv
    leap-fairseq score talks-k3 talks-k5 --references eval/tst-COMMON.talks.tsv
    leap-fairseq score simulstream.jsonl --references tst-COMMON.yaml --reference-text tst-COMMON.de
    leap-fairseq score runs/st/k5 --comet Unbabel/wmt22-comet-da --source-text runs/st/eval/tst-COMMON.source_text
"""

import argparse
import dataclasses
import functools
import logging
import math
import sys
from pathlib import Path
from typing import Any, Dict, List

from leap_fairseq.report.tables import format_table, write_json, write_tsv
from leap_fairseq.scoring.any_log import references_from, score_log
from leap_fairseq.scoring.languages import UNITS
from leap_fairseq.scoring.segmenters import EDITS, SEGMENTERS
from leap_fairseq.scoring.settings import Settings, settings_for
from leap_fairseq.speech.corpus import read_lines

LOG_LEVEL = logging.WARNING


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a log, or the simuleval --output folder that holds it")
    text = "sentences of long recordings: LONG.tsv, or a YAML of segments"
    parser.add_argument("--references", metavar="TABLE", help=text)
    text = (
        "references, one a line: of the segments of a YAML (default: the file beside it that ends in --tgt-lang), or, "
        "without --references, of the lines of the log (default: those in it)"
    )
    parser.add_argument("--reference-text", metavar="FILE", help=text)
    text = f"splits recordings onto the references (default: {EDITS}; the others are packages, see the documentation)"
    parser.add_argument("--segmenter", choices=SEGMENTERS, default=EDITS, help=text)
    text = "adds COMET: a model's checkpoint or folder, or the name of one that unbabel-comet has fetched"
    parser.add_argument("--comet", metavar="MODEL", help=text)
    text = (
        "transcripts of the speech for --comet, one a line: of the segments of a YAML (default: the file beside it "
        "that ends in --src-lang, if there is one), or, without --references, of the lines of the log"
    )
    parser.add_argument("--source-text", metavar="FILE", help=text)
    parser.add_argument("--tsv", metavar="OUT", help="write the table here, numbers unrounded")
    parser.add_argument("--json", metavar="OUT", help="write the rows here as a JSON list")
    add_scoring_options(parser)


def add_scoring_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how a run is scored; see :func:`settings_of`."""
    add_unit_options(parser)
    text = "of BLEU (default: zh, ja-mecab or ko-mecab for these languages, 13a otherwise)"
    parser.add_argument("--sacrebleu-tokenizer", metavar="NAME", help=text)
    text = "of the speech; the same as --tgt-lang gives WER and CER too (default: as the run's folder says)"
    parser.add_argument("--src-lang", metavar="LANG", help=text)


def add_unit_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say what the delays of a run belong to."""
    text = "of the translation; decides unit and tokenizer (default: as the run's folder says, else one with spaces)"
    parser.add_argument("--tgt-lang", metavar="LANG", help=text)
    text = "unit of latency (default: as the run's folder says, else char for zh and ja, word otherwise)"
    parser.add_argument("--latency-unit", choices=UNITS, help=text)
    text = "that counts the references where the unit is spm (default: as the run's folder says)"
    parser.add_argument("--spm-model", metavar="MODEL", help=text)


def settings_of(run: str, options: argparse.Namespace) -> Settings:
    """How a run is scored, as its folder and the options say.

    Raises:
        FileNotFoundError, ValueError: as for :func:`leap_fairseq.scoring.settings.settings_for`.
    """
    given = options.tgt_lang, options.latency_unit, options.sacrebleu_tokenizer, options.spm_model, options.src_lang
    return settings_for(run, *given)


def print_table(rows: List[Dict[str, Any]]) -> None:
    """Writes rows of scores to stdout, and below them their signatures, each once."""
    signatures = sorted({row["signature"] for row in rows})
    sys.stdout.write("\n".join([format_table(rows), *signatures]) + "\n")


def run(options: argparse.Namespace) -> None:
    """Scores run after run, and writes the tables."""
    if options.source_text and not options.comet:
        raise ValueError(f"--source-text {options.source_text} is read by --comet alone: give a MODEL, or leave it out")
    rows, texts, transcripts = [], functools.cache(references_from), None
    if options.source_text and not options.references:
        transcripts = read_lines(Path(options.source_text))
    for path in options.runs:
        settings = dataclasses.replace(settings_of(path, options), comet=options.comet)
        given = options.references, options.reference_text, settings.language, options.source_text
        references = texts(*given, settings.spoken if options.comet else None)
        rows.append({"run": path, **score_log(path, settings, references, options.segmenter, transcripts)})
    rows = with_equal_columns(rows)
    print_table(rows)
    if options.tsv:
        write_tsv(rows, options.tsv)
    if options.json:
        write_json(rows, options.json)


def with_equal_columns(rows: List[Dict[str, Any]]) -> List[Dict[str, Any]]:
    """Rows of which some have error rates, or are of long recordings: the others get nan in their places."""
    names = dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row)
    return [{name: row.get(name, math.nan) for name in names} for row in rows]
