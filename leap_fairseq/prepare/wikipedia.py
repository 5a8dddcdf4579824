"""Wikipedia text of several forms as one corpus in the form of WikiText, for comparisons at a small scale.

    leap-fairseq prepare wikipedia --train FILE [FILE ...] --valid FILE --test FILE --out DIR
    python data_prep/make_wikipedia_text.py --train FILE ...                                     (from a checkout)

writes DIR/wiki.{train,valid,test}.tokens, all or none: words and punctuation between spaces, `@-@`, `@,@` and `@.@`
inside of words and numbers, a title as ` = Title = `. WikiExtractor's output (`<doc ...>` before each article) is
split into words; every other file is taken as split already. A CSV has one line of the text in each cell.
"""

import argparse
import html
import logging
import re
from pathlib import Path
from typing import IO, Dict, Iterable, Iterator, Sequence, Union

from leap_fairseq.files import DataError, whole_folder
from leap_fairseq.prepare.wikitext_text import TextFile

logger = logging.getLogger(__name__)

DOCUMENT = re.compile(r'<doc id="[^"]*" url="[^"]*" title="(.*)">\s*$')
TOKEN = re.compile(r"@[-,.]@|'s\b|\w+|[^\w\s]")
INSIDE_NUMBER = re.compile(r"(?<=\d)([,.])(?=\d)")
INSIDE_WORD = re.compile(r"(?<=\w)-(?=\w)")
PathLike = Union[str, Path]
FILES = {split: f"wiki.{split}.tokens" for split in ("train", "valid", "test")}


def split_words(line: str) -> str:
    """Splits running text as WikiText does: words and punctuation between single spaces.

    Source:
        Merity et al., Pointer Sentinel Mixture Models, 2016, section 4 (the conventions; its tokeniser is Moses').
    """
    return " ".join(TOKEN.findall(INSIDE_WORD.sub(" @-@ ", INSIDE_NUMBER.sub(r" @\1@ ", line))))


def wikitext_lines(lines: Iterable[str]) -> Iterator[str]:
    """Brings the lines of a file into the form of WikiText: words between single spaces, titles between empty lines.

    Args:
        lines: Of WikiExtractor's output, or of a text that is split into words already.
    """
    extracted = after_title = False
    for line in lines:
        document = DOCUMENT.match(line)
        if document:
            extracted = after_title = True
            yield from ("", f"= {split_words(html.unescape(document[1]))} =", "")
        elif not extracted:
            yield " ".join(line.split())
        elif line.startswith("</doc>"):
            continue
        elif after_title and line.strip():
            after_title = False  # WikiExtractor repeats the title as the first line.
        elif line.strip():
            yield split_words(html.unescape(line))


def make_wikipedia_text(train: Sequence[PathLike], valid: PathLike, test: PathLike, out: PathLike) -> Dict[str, int]:
    """Writes the corpus into a folder, new or to be replaced; the arguments are the command's.

    Returns:
        Tokens of each split, ends of lines included.

    Raises:
        DataError: A file is missing, is not UTF-8, or has no words, or the folder holds something else.
    """
    counts = {}
    others = [path.name for path in sorted(Path(out).glob("*")) if path.name not in FILES.values()]
    if others:
        raise DataError(f"{out} holds {others[0]}, which is not of this corpus: give a new folder (--out)")
    with whole_folder(out) as folder:
        for split, paths in {"train": train, "valid": [valid], "test": [test]}.items():
            with open(folder / FILES[split], "w", encoding="utf-8", newline="\n") as text:
                counts[split] = sum(_write(Path(path), text) for path in paths)
            logger.info("%s: %d tokens", split, counts[split])
    return counts


def _write(path: Path, text: IO[str]) -> int:
    if not path.is_file():
        raise DataError(f"{path} is no file: --train, --valid and --test take text or CSV files")
    words = lines = 0
    for line in wikitext_lines(TextFile(path).lines()):
        words, lines = words + line.count(" ") + bool(line), lines + 1
        text.write(f"{line}\n")
    if not words:
        raise DataError(f"{path} has no words")
    return words + lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `make_wikipedia_text`."""
    parser.add_argument("--train", metavar="FILE", nargs="+", required=True, help="texts")
    for split in ("valid", "test"):
        parser.add_argument(f"--{split}", metavar="FILE", required=True, help="a text")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder of the corpus")


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    make_wikipedia_text(**vars(options))
