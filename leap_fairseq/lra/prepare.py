"""Makes the data of a Long-Range Arena task, or reads it from disk: listops, pathfinder, text, retrieval, image.

    python data_prep/prep_lra.py listops --out data/listops -j 4
    python data_prep/prep_lra.py listops --from lra_release/listops-1000 --out data/listops
    python data_prep/prep_lra.py pathfinder --difficulty hard --out data/pathfinder --sheet pathfinder.png -j 4
    python data_prep/prep_lra.py text aclImdb_v1.tar.gz --out data/imdb
    python data_prep/prep_lra.py retrieval lra_release/tsv_data --out data/aan
    python data_prep/prep_lra.py image cifar-10-binary.tar.gz --out data/cifar10

Nothing is downloaded. --out gets lra.json and the arrays of train, valid and test, all or none, which
`leap_fairseq.lra` reads. What is complete is reused; other options make the task anew, another task is refused.
"""

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import Any, Dict, Optional, Sequence

from leap_fairseq.prepare.processes import add_processes, command_parser, run_command
from leap_fairseq.lra import listops, pathfinder
from leap_fairseq.lra.data_set import REPORT
from leap_fairseq.lra.images import prep_images
from leap_fairseq.lra.listops_files import prep_listops_files
from leap_fairseq.lra.listops_grammar import Limits
from leap_fairseq.lra.pathfinder_paths import CONTOUR_LENGTHS
from leap_fairseq.lra.retrieval import prep_retrieval
from leap_fairseq.lra.text import prep_text

from leap_fairseq.files import DataError
from leap_fairseq.lra import SPLITS, LraFacts

logger = logging.getLogger("prep_lra")

OPTIONS_OF_MAKING = ("sizes", "small", "max_depth", "max_args", "labels")
OPTIONS_OF_READING = ("valid", "test")


def make_or_read_listops(source: Optional[str] = None, **options: Any) -> LraFacts:
    """Prepares ListOps by the options of the command line, and logs what the lists are like.

    Args:
        source: Files to read; None makes lists.
        options: Of the command line, without those that were not given.

    Returns:
        The facts.

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
    """Prepares Pathfinder by the options of the command line.

    Args:
        sheet: A PNG to write with some of the pictures.
        options: Of the command line, without those that were not given.

    Returns:
        The facts.

    Raises:
        DataError: As `prep_pathfinder` and `sheet_of`.
    """
    sizes = _sizes(options.pop("sizes", None), options.pop("small", False), pathfinder)
    facts = pathfinder.prep_pathfinder(sizes=sizes, **options)
    if sheet:
        pathfinder.sheet_of(options["out"], sheet)
        logger.info("%s shows pictures of the training split; where a path joins the dots, the frame is white", sheet)
    return facts


def _sizes(given: Optional[Sequence[int]], small: bool, task: Any) -> Dict[str, int]:
    return dict(zip(SPLITS, given)) if given else task.SMALL_SIZES if small else task.PUBLISHED_SIZES


def _add_task(tasks: Any, name: str, prepare: Any, text: str, source: Optional[str] = None) -> argparse.ArgumentParser:
    parser = tasks.add_parser(name, help=text, description=text, argument_default=argparse.SUPPRESS)
    parser.set_defaults(prepare=prepare)
    if source:
        parser.add_argument("source", metavar="SOURCE", help=source)
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for the data set")
    return parser


def _add_sizes(parser: argparse.ArgumentParser, task: Any) -> None:
    published, small = (" ".join(map(str, sizes.values())) for sizes in (task.PUBLISHED_SIZES, task.SMALL_SIZES))
    names = ("TRAIN", "VALID", "TEST")
    parser.add_argument("--sizes", type=int, nargs=3, metavar=names, help=f"examples of each split ({published})")
    parser.add_argument("--small", action="store_true", help=f"a set to try things out: --sizes {small}")


def _add_seed(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--seed", type=int, metavar="N", help=f"another seed {text} (1)")


def _add_held_out(parser: argparse.ArgumentParser, valid: str, test: Optional[str] = None) -> None:
    parser.add_argument("--valid", type=float, metavar="FRACTION", help=f"{valid} (0.1)")
    if test:
        parser.add_argument("--test", type=float, metavar="FRACTION", help=f"{test} (0.1)")


def _add_listops(tasks: Any) -> None:
    parser = _add_task(tasks, "listops", make_or_read_listops, "values of nested lists, made or read")
    parser.add_argument("--from", dest="source", metavar="SOURCE", help="folder, zip or tar of TSV files to read")
    _add_sizes(parser, listops)
    text = "lists are longer than MIN tokens and shorter than MAX (500 2000; with --small 50 200, with --from 0 2000)"
    parser.add_argument("--lengths", type=int, nargs=2, metavar=("MIN", "MAX"), help=text)
    parser.add_argument("--max-depth", type=int, metavar="N", help="digits alone at this depth (10)")
    parser.add_argument("--max-args", type=int, metavar="N", help="of an operator (10)")
    text = "each value equally often, or as drawn, which is how the published set was made (balanced)"
    parser.add_argument("--labels", choices=listops.DISTRIBUTIONS, help=text)
    _add_held_out(parser, "of training, with --from where files do not tell", "likewise")
    _add_seed(parser, "gives other lists")
    add_processes(parser, default=1)


def _add_pathfinder(tasks: Any) -> None:
    parser = _add_task(tasks, "pathfinder", make_pathfinder, "pictures with dashed paths: does one join the dots?")
    parser.add_argument("--difficulty", choices=CONTOUR_LENGTHS, help="6, 9 or 14 dashes in a path (hard)")
    _add_sizes(parser, pathfinder)
    parser.add_argument("--sheet", metavar="PNG", help="also write some of the pictures there")
    _add_seed(parser, "gives other pictures")
    add_processes(parser, default=1)


def _add_readers(tasks: Any) -> None:
    source = "folder, zip or tar with {train,test}/{pos,neg}/*.txt, or {pos,neg}/*.txt"
    text = _add_task(tasks, "text", prep_text, "reviews as bytes: positive or negative?", source)
    _add_held_out(text, "of training; 0: the test, as published", "of a source that has one split")
    source = "folder with new_aan_pairs.{train,eval,test}.tsv"
    retrieval = _add_task(tasks, "retrieval", prep_retrieval, "pairs of papers as bytes: related?", source)
    source = "CIFAR-10's binary version, or a folder with {train,test}/CLASS/*.png"
    image = _add_task(tasks, "image", prep_images, "grey 32 x 32 pictures: of which class?", source)
    _add_held_out(image, "of training")
    for parser in (text, retrieval):
        parser.add_argument("--max-length", type=int, metavar="BYTES", help="longer texts are cut (4000)")
    for parser in (text, image):
        _add_seed(parser, "holds others out")


def _parse_arguments() -> argparse.Namespace:
    parser = command_parser(__doc__)
    tasks = parser.add_subparsers(metavar="TASK", required=True)
    _add_listops(tasks)
    _add_pathfinder(tasks)
    _add_readers(tasks)
    return parser.parse_args()


def main() -> None:
    """The command line; its options are the arguments of the task's function."""
    options = vars(_parse_arguments())
    options.pop("prepare")(**options)


if __name__ == "__main__":
    sys.exit(run_command(main))
