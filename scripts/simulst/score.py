#!/usr/bin/env python
"""Scores SimulEval runs: BLEU, chrF, and each latency plain and computation-aware, from their instances.log.

Example:
    python scripts/simulst/score.py runs/demo/simuleval/leap-k3 runs/demo/simuleval/leap-k5 --tsv scores.tsv
"""

import argparse
import logging
import sys

from leap_fairseq.simul import UNITS
from leap_fairseq.simul.scoring import format_table, score_run, tokenizer_for, unit_for, write_json, write_tsv


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help="simuleval --output folder, or its instances.log")
    parser.add_argument("--tsv", metavar="OUT", help="write the table here, numbers unrounded")
    parser.add_argument("--json", metavar="OUT", help="write the rows here as a JSON list")
    parser.add_argument("--tgt-lang", default="de", metavar="LANG", help="decides unit and tokenizer (default: de)")
    text = "unit of the run (default: char for zh and ja, word otherwise)"
    parser.add_argument("--latency-unit", choices=UNITS, help=text)
    text = "that counts the references where the unit is spm"
    parser.add_argument("--spm-model", metavar="MODEL", help=text)
    text = "of BLEU (default: zh, ja-mecab or ko-mecab for these languages, 13a otherwise)"
    parser.add_argument("--sacrebleu-tokenizer", metavar="NAME", help=text)
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    unit = arguments.latency_unit or unit_for(arguments.tgt_lang)
    tokenizer = arguments.sacrebleu_tokenizer or tokenizer_for(arguments.tgt_lang)
    rows = []
    for run in arguments.runs:
        try:
            scores = score_run(run, unit, tokenizer, arguments.spm_model)
        except (OSError, ValueError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        rows.append({"run": run, **scores})
    print(format_table(rows))
    for signature in sorted({row["signature"] for row in rows}):
        print(signature)
    if arguments.tsv:
        write_tsv(rows, arguments.tsv)
    if arguments.json:
        write_json(rows, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
