#!/usr/bin/env python
"""Scores SimulEval runs on long recordings: BLEU, chrF and StreamLAAL, after the output is split onto the references.

The source list of the run has one line per recording; LONG.tsv has one per sentence, with the columns audio, offset_ms,
duration_ms, source and target. data_prep/make_eval_list.py --whole-talks writes both.

Example:
    python scripts/simulst/score_long.py talks-k3 talks-k5 --references eval/tst-COMMON.talks.tsv --tsv scores.tsv
"""

import argparse
import logging
import sys

from leap_fairseq.simul.long_form_scoring import score_long_run
from leap_fairseq.simul.scoring import add_scoring_options, format_table, ways_to_score, write_json, write_tsv


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help="simuleval --output folder, or its instances.log")
    text = "table of the sentences of all recordings, in the order of the source list"
    parser.add_argument("--references", required=True, metavar="LONG.tsv", help=text)
    parser.add_argument("--tsv", metavar="OUT", help="write the table here, numbers unrounded")
    parser.add_argument("--json", metavar="OUT", help="write the rows here as a JSON list")
    add_scoring_options(parser)
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    rows = []
    for run in arguments.runs:
        try:
            scores = score_long_run(run, arguments.references, *ways_to_score(arguments))
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
