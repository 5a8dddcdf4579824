"""Scores SimulEval runs: BLEU, chrF, and each latency plain and computation-aware, from their instances.log.

A folder of leap-fairseq evaluate says itself in which unit and language it was made. A log that cannot be right is
refused, with the number of its line.

With --references the recordings of the runs hold many sentences: their translation is split onto the references, and
the latency is StreamLAAL. LONG.tsv has one line per sentence, with the columns audio, offset_ms, duration_ms, source
and target, recordings in the order of the source list; leap-fairseq prepare lists --whole-talks writes it.

    leap-fairseq score runs/demo/simuleval/leap-k3 runs/demo/simuleval/leap-k5 --tsv scores.tsv
    leap-fairseq score talks-k3 talks-k5 --references eval/tst-COMMON.talks.tsv
"""

import argparse
import logging
import sys
from typing import Any, Dict, List

from leap_fairseq.report.tables import format_table, write_json, write_tsv
from leap_fairseq.scoring.languages import UNITS
from leap_fairseq.scoring.long_form import score_long_run
from leap_fairseq.scoring.run import score_run
from leap_fairseq.scoring.settings import Settings, settings_for

LOG_LEVEL = logging.WARNING


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help="simuleval --output folder, or its instances.log")
    parser.add_argument("--references", metavar="LONG.tsv", help="table of the sentences of long recordings")
    parser.add_argument("--tsv", metavar="OUT", help="write the table here, numbers unrounded")
    parser.add_argument("--json", metavar="OUT", help="write the rows here as a JSON list")
    add_scoring_options(parser)


def add_scoring_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how a run is scored; see :func:`settings_of`."""
    add_unit_options(parser)
    text = "of BLEU (default: zh, ja-mecab or ko-mecab for these languages, 13a otherwise)"
    parser.add_argument("--sacrebleu-tokenizer", metavar="NAME", help=text)


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
    given = options.tgt_lang, options.latency_unit, options.sacrebleu_tokenizer, options.spm_model
    return settings_for(run, *given)


def print_table(rows: List[Dict[str, Any]]) -> None:
    """Writes rows of scores to stdout, and below them their signatures, each once."""
    signatures = sorted({row["signature"] for row in rows})
    sys.stdout.write("\n".join([format_table(rows), *signatures]) + "\n")


def run(options: argparse.Namespace) -> None:
    """Scores run after run, and writes the tables."""
    rows = []
    for path in options.runs:
        settings, long = settings_of(path, options), options.references
        scores = score_long_run(path, long, settings) if long else score_run(path, settings)
        rows.append({"run": path, **scores})
    print_table(rows)
    if options.tsv:
        write_tsv(rows, options.tsv)
    if options.json:
        write_json(rows, options.json)
