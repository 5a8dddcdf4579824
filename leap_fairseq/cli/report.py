"""A table and a picture of trainings, from the run.json that each writes into its folder.

leap-fairseq report runs/lm/tiny runs/lm/carried
leap-fairseq report runs/sweep/* --tsv runs.tsv --json runs.json --out runs.png

A training writes its record from the beginning, so that those that are not done yet can be compared, too.
"""

import argparse
import sys

from leap_fairseq.cli.plot import width_in_cm
from leap_fairseq.report.run_record import RunRecord
from leap_fairseq.report.style import FORMS, WIDTHS, check_form
from leap_fairseq.report.tables import format_table, write_json, write_tsv
from leap_fairseq.report.training_runs import DETAILS, run_rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the runs and where to write."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a training (its --save-dir), or its run.json")
    parser.add_argument("--tsv", metavar="OUT", help="write the table here, with more columns and numbers unrounded")
    parser.add_argument("--json", metavar="OUT", help="write the rows here as a JSON list")
    text = f"draw the validations over updates and over time; its ending tells the form: {', '.join(FORMS)}"
    parser.add_argument("--out", metavar="PICTURE", help=text)
    text = "figure of the validation to draw (default: the one by which the first run chooses its checkpoints)"
    parser.add_argument("--metric", metavar="NAME", help=text)
    parser.add_argument("--subset", metavar="NAME", help="validated data to draw (default: the first of each run)")
    widths = ", ".join(f"{name} ({width:g})" for name, width in WIDTHS.items())
    text = f"of the printed picture: {widths}, or a number of cm (default: for a screen)"
    parser.add_argument("--width", type=width_in_cm, metavar="CM", help=text)


def run(options: argparse.Namespace) -> None:
    """Reads all records before it writes anything.

    Raises:
        OSError, ValueError, ImportError: a folder is no run, there is nothing to draw, or no matplotlib.
    """
    from leap_fairseq.report.training_curves import curves_of, plot_training_curves

    if options.out:
        check_form(options.out)
    elif options.metric or options.subset or options.width:
        raise argparse.ArgumentTypeError("--metric, --subset and --width are of the picture: add --out PICTURE")
    records = [RunRecord.read(run) for run in options.runs]
    if options.out:
        metric = options.metric or records[0].sessions[-1]["metric"]
        curves = curves_of(records, metric, options.subset)
        plot_training_curves(curves, options.out, metric, options.width)
    rows = run_rows(records)
    if options.tsv:
        write_tsv(rows, options.tsv)
    if options.json:
        write_json(rows, options.json)
    sys.stdout.write(format_table(rows, leave_out=DETAILS) + "\n")
