"""Real English text that every Python carries, split for language modelling: the reference manual in pydoc_data.

    leap-fairseq prepare pydoc OUT
    python data_prep/make_pydoc_text.py OUT    (from a checkout)

writes OUT/{train,valid,test}.txt: one paragraph a line, words and punctuation separated by spaces, whole topics in
one split. The text differs a little between versions of Python, so OUT/source.txt names the one it came from.
"""

import argparse
import logging
import platform
import re
from pathlib import Path
from typing import Dict, Iterator, List, Union

from leap_fairseq.files import locked, whole_file

logger = logging.getLogger(__name__)

TOKEN = re.compile(r"\w+|[^\w\s]")
# Every twentieth topic of the sorted list is for validation, and every twentieth for the test.
PERIOD, VALID, TEST = 20, 9, 19


def paragraphs(topic: str) -> Iterator[str]:
    """The paragraphs of a topic, which blank lines separate: tokens between single spaces, never empty."""
    for block in re.split(r"\n\s*\n", topic):
        tokens = TOKEN.findall(block)
        if tokens:
            yield " ".join(tokens)


def split_topics(topics: Dict[str, str]) -> Dict[str, List[str]]:
    """Lines of "train", "valid" and "test", from the topics by name; a text with several names counts once."""
    splits: Dict[str, List[str]] = {"train": [], "valid": [], "test": []}
    for index, topic in enumerate(sorted(set(topics.values()))):
        name = {VALID: "valid", TEST: "test"}.get(index % PERIOD, "train")
        splits[name].extend(paragraphs(topic))
    return splits


def make_pydoc_text(out: Union[str, Path]) -> Dict[str, int]:
    """Writes the splits into a folder, made where missing, and returns the number of tokens of each."""
    from pydoc_data.topics import topics

    out, counts = Path(out), {}
    out.mkdir(parents=True, exist_ok=True)
    with locked(out):
        for name, lines in split_topics(topics).items():
            with whole_file(out / f"{name}.txt", text=True) as file:
                file.writelines(line + "\n" for line in lines)
            counts[name] = sum(line.count(" ") + 1 for line in lines)
            logger.info("%s: %d tokens", name, counts[name])
        source = f"pydoc_data.topics of Python {platform.python_version()} (PSF licence)"
        (out / "source.txt").write_text(source + "\n", encoding="utf-8")
    return counts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `make_pydoc_text`."""
    parser.add_argument("out", metavar="OUT", help="folder of train.txt, valid.txt and test.txt")


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    make_pydoc_text(**vars(options))
