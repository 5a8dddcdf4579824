"""Makes the data of a Long-Range Arena task, or reads it from disk: listops, pathfinder, text, retrieval, image.

    leap-fairseq prepare lra listops --out data/listops -j 4
    leap-fairseq prepare lra listops --from lra_release/listops-1000 --out data/listops
    leap-fairseq prepare lra pathfinder --difficulty hard --out data/pathfinder --sheet pathfinder.png -j 4
    leap-fairseq prepare lra text aclImdb_v1.tar.gz --out data/imdb
    leap-fairseq prepare lra retrieval lra_release/tsv_data --out data/aan
    leap-fairseq prepare lra image cifar-10-binary.tar.gz --out data/cifar10
    python data_prep/prep_lra.py TASK ...                                 (from a checkout)

Nothing is downloaded. --out gets lra.json and the arrays of train, valid and test, all or none, which
`leap_fairseq.lra` reads. What is complete is reused; other options make the task anew, another task is refused.
"""

import argparse
import json
import logging
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from leap_fairseq.files import DataError
from leap_fairseq.lra import SPLITS, LraFacts, listops, pathfinder
from leap_fairseq.lra.data_set import REPORT
from leap_fairseq.lra.images import prep_images
from leap_fairseq.lra.listops_files import prep_listops_files
from leap_fairseq.lra.listops_grammar import Limits
from leap_fairseq.lra.pathfinder_paths import CONTOUR_LENGTHS
from leap_fairseq.lra.retrieval import prep_retrieval
from leap_fairseq.lra.text import prep_text
from leap_fairseq.prepare.processes import add_processes

logger = logging.getLogger(__name__)

OPTIONS_OF_MAKING = ("sizes", "small", "max_depth", "max_args", "labels")
OPTIONS_OF_READING = ("valid", "test")


def make_or_read_listops(source: Optional[str] = None, **options: Any) -> LraFacts:
    """Prepares ListOps by the options that were given, and logs what the lists are like; without a source makes them.

    Raises:
        DataError: As `prep_listops` and `prep_listops_files`, or options of both.
    """
    wrong = [name for name in (OPTIONS_OF_MAKING if source else OPTIONS_OF_READING) if name in options]
    if wrong:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in wrong)
        rule = "is for lists that are made, not read (--from)" if source else "is for lists that are read (--from)"
        raise DataError(f"{flags} {rule}: leave it out")
    if source:
        options.pop("processes")
        facts = prep_listops_files(source=source, **options)
    else:
        small = options.pop("small", False)
        sizes = _sizes(options.pop("sizes", None), small, listops)
        lengths = options.pop("lengths", listops.SMALL_LENGTHS if small else Limits()[:2])
        rest = {name: options.pop(name) for name in ("max_depth", "max_args") if name in options}
        facts = listops.prep_listops(sizes=sizes, limits=Limits(*lengths, **rest), **options)
    report = json.loads((Path(options["out"]) / REPORT).read_text(encoding="utf-8"))
    logger.info("lists in %s:\n%s", options["out"], listops.table(report))
    return facts


def make_pathfinder(sheet: Optional[str] = None, **options: Any) -> LraFacts:
    """Prepares Pathfinder by the options that were given; raises what `prep_pathfinder` and `sheet_of` raise."""
    sizes = _sizes(options.pop("sizes", None), options.pop("small", False), pathfinder)
    facts = pathfinder.prep_pathfinder(sizes=sizes, **options)
    if sheet:
        pathfinder.sheet_of(options["out"], sheet)
        logger.info("%s shows pictures of the training split; where a path joins the dots, the frame is white", sheet)
    return facts


def _sizes(given: Optional[Sequence[int]], small: bool, task: Any) -> Dict[str, int]:
    return dict(zip(SPLITS, given)) if given else task.SMALL_SIZES if small else task.PUBLISHED_SIZES


FRACTION, NUMBER = {"type": float, "metavar": "FRACTION"}, {"type": int, "metavar": "N"}
SMALL = " ".join(map(str, listops.SMALL_SIZES.values()))
OPTIONS: Dict[str, Dict[str, Any]] = {
    "--from": dict(dest="source", metavar="SOURCE", help="folder, zip or tar of TSV files to read"),
    "--difficulty": dict(choices=CONTOUR_LENGTHS, help="6, 9 or 14 dashes in a path (hard)"),
    "--sizes": dict(type=int, nargs=3, metavar=("TRAIN", "VALID", "TEST"), help="examples of a split (as published)"),
    "--small": dict(action="store_true", help=f"a set to try things out: --sizes {SMALL}"),
    "--lengths": dict(type=int, nargs=2, metavar=("MIN", "MAX"), help="lists are longer than MIN tokens and shorter "
                      "than MAX (500 2000; with --small 50 200, with --from 0 2000)"),
    "--max-depth": dict(**NUMBER, help="digits alone at this depth (10)"),
    "--max-args": dict(**NUMBER, help="of an operator (10)"),
    "--labels": dict(choices=listops.DISTRIBUTIONS, help="each value equally often, or as drawn, which is how the "
                     "published set was made (balanced)"),
    "--max-length": dict(type=int, metavar="BYTES", help="longer texts are cut (4000)"),
    "--valid": dict(**FRACTION, help="of training that is held out, where the source does not tell (0.1); of a text "
                    "with a test 0 is allowed: validation is the test, as published"),
    "--test": dict(**FRACTION, help="likewise, for the test (0.1)"),
    "--sheet": dict(metavar="PNG", help="also write some of the pictures there"),
    "--seed": dict(**NUMBER, help="another seed draws other examples, or holds others out (1)"),
}  # fmt: skip
"""What each option is, in every task that has it; none has a default here but that of the task's function."""

LISTOPS = "--from --sizes --small --lengths --max-depth --max-args --labels --valid --test --seed"
REVIEWS = "folder, zip or tar with {train,test}/{pos,neg}/*.txt, or {pos,neg}/*.txt"
PAIRS = "folder with new_aan_pairs.{train,eval,test}.tsv"
IMAGES = "CIFAR-10's binary version, or a folder with {train,test}/CLASS/*.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the tasks; the options of each are the arguments of its function."""
    tasks = parser.add_subparsers(metavar="TASK", required=True)
    for name, function, text, source, flags in (
        ("listops", make_or_read_listops, "values of nested lists, made or read", None, LISTOPS),
        ("pathfinder", make_pathfinder, "pictures with dashed paths: does one join the dots?", None,
         "--difficulty --sizes --small --sheet --seed"),
        ("text", prep_text, "reviews as bytes: positive or negative?", REVIEWS, "--valid --test --max-length --seed"),
        ("retrieval", prep_retrieval, "pairs of papers as bytes: related?", PAIRS, "--max-length"),
        ("image", prep_images, "grey 32 x 32 pictures: of which class?", IMAGES, "--valid --seed"),
    ):  # fmt: skip
        task = tasks.add_parser(name, help=text, description=text, argument_default=argparse.SUPPRESS)
        task.set_defaults(prepare=function)
        if source:
            task.add_argument("source", metavar="SOURCE", help=source)
        task.add_argument("--out", metavar="DIR", required=True, help="folder for the data set")
        for flag in flags.split():
            task.add_argument(flag, **OPTIONS[flag])
        if not source:
            add_processes(task, default=1)


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    given = dict(vars(options))
    given.pop("prepare")(**given)
