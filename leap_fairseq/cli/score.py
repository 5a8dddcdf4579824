"""Scores SimulEval runs: BLEU, chrF, and each latency plain and computation-aware, from their instances.log.

With --references the recordings of the runs hold many sentences: their translation is split onto the references, and
the latency is StreamLAAL. LONG.tsv has one line per sentence, with the columns audio, offset_ms, duration_ms, source
and target, recordings in the order of the source list; leap-fairseq prepare lists --whole-talks writes it.

    leap-fairseq score runs/demo/simuleval/leap-k3 runs/demo/simuleval/leap-k5 --tsv scores.tsv
    leap-fairseq score talks-k3 talks-k5 --references eval/tst-COMMON.talks.tsv
"""

import argparse
import logging
import sys
from typing import Any, Dict, List, Optional, Tuple

from leap_fairseq.report.tables import format_table, write_json, write_tsv
from leap_fairseq.scoring.languages import UNITS, tokenizer_for, unit_for
from leap_fairseq.scoring.long_form import score_long_run
from leap_fairseq.scoring.run import score_run

LOG_LEVEL = logging.WARNING


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help="simuleval --output folder, or its instances.log")
    parser.add_argument("--references", metavar="LONG.tsv", help="table of the sentences of long recordings")
    parser.add_argument("--tsv", metavar="OUT", help="write the table here, numbers unrounded")
    parser.add_argument("--json", metavar="OUT", help="write the rows here as a JSON list")
    add_scoring_options(parser)


def add_scoring_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how a run is scored; see :func:`ways_to_score`."""
    parser.add_argument("--tgt-lang", default="de", metavar="LANG", help="decides unit and tokenizer")
    text = "unit of latency (default: char for zh and ja, word otherwise)"
    parser.add_argument("--latency-unit", choices=UNITS, help=text)
    text = "that counts the references where the unit is spm"
    parser.add_argument("--spm-model", metavar="MODEL", help=text)
    text = "of BLEU (default: zh, ja-mecab or ko-mecab for these languages, 13a otherwise)"
    parser.add_argument("--sacrebleu-tokenizer", metavar="NAME", help=text)


def ways_to_score(options: argparse.Namespace) -> Tuple[str, str, Optional[str]]:
    """Unit, tokenizer and SentencePiece model for `score_run`, as the options or else the language say.

    Raises:
        ValueError: the unit is spm, and no model is given that counts the references.
    """
    unit = options.latency_unit or unit_for(options.tgt_lang)
    if unit == "spm" and not options.spm_model:
        raise ValueError("--latency-unit spm needs --spm-model, which counts the references")
    return unit, options.sacrebleu_tokenizer or tokenizer_for(options.tgt_lang), options.spm_model


def print_table(rows: List[Dict[str, Any]]) -> None:
    """Writes rows of scores to stdout, and below them their signatures, each once."""
    signatures = sorted({row["signature"] for row in rows})
    sys.stdout.write("\n".join([format_table(rows), *signatures]) + "\n")


def run(options: argparse.Namespace) -> None:
    """Scores run after run, and writes the tables."""
    ways, long = ways_to_score(options), options.references
    rows = [
        {"run": path, **(score_long_run(path, long, *ways) if long else score_run(path, *ways))}
        for path in options.runs
    ]
    print_table(rows)
    if options.tsv:
        write_tsv(rows, options.tsv)
    if options.json:
        write_json(rows, options.json)
