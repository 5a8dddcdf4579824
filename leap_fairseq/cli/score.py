#!/usr/bin/env python
"""Scores SimulEval runs: BLEU, chrF, and each latency plain and computation-aware, from their instances.log.

With --references the recordings of the runs hold many sentences: their translation is split onto the references, and
the latency is StreamLAAL. LONG.tsv has one line per sentence, with the columns audio, offset_ms, duration_ms, source
and target, recordings in the order of the source list; data_prep/make_eval_list.py --whole-talks writes it.

Examples:
    python scripts/simulst/score.py runs/demo/simuleval/leap-k3 runs/demo/simuleval/leap-k5 --tsv scores.tsv
    python scripts/simulst/score.py talks-k3 talks-k5 --references eval/tst-COMMON.talks.tsv
"""

import argparse
import logging
import sys

from leap_fairseq.scoring.long_form import score_long_run
from leap_fairseq.scoring.run import (
    add_scoring_options,
    format_table,
    score_run,
    ways_to_score,
    write_json,
    write_tsv,
)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN_DIR", help="simuleval --output folder, or its instances.log")
    parser.add_argument("--references", metavar="LONG.tsv", help="table of the sentences of long recordings")
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
            ways = ways_to_score(arguments)
            long = arguments.references
            scores = score_long_run(run, long, *ways) if long else score_run(run, *ways)
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
