"""Work that several jobs share: each does one of N parts, counted from 0, as SLURM counts the jobs of an array."""

import argparse
import re
from pathlib import Path
from typing import List, NamedTuple, Sequence

from leap_fairseq.files import DataError

MOST = 10**5
"""Parts; no array has more jobs."""


class Part(NamedTuple):
    """One part.

    Attributes:
        number: from 0.
        count: of all parts.
    """

    number: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Reads I/N.

        Raises:
            DataError: it is not two whole numbers with 0 <= I < N.
        """
        found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text.strip())
        part = cls(*map(int, found.groups())) if found else None
        if part is None or not part.number < part.count <= MOST:
            rule = "must be I/N, job I of N, counted from 0"
            example = "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT with --array=0-3"
            raise DataError(f"--part is {text!r}, but {rule}: 0/4 to 3/4, or {example}")
        return part

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def folder(self) -> str:
        """A name for what it leaves."""
        return f"{self.number}-of-{self.count}"

    def of(self, length: int) -> range:
        """Its stretch of a list of this length; together the parts are the list, in its order."""
        return range(self.number * length // self.count, (self.number + 1) * length // self.count)

    def all(self) -> List["Part"]:
        """All parts that this one is of, in order."""
        return [Part(number, self.count) for number in range(self.count)]


def parts_in(folder: Path) -> List[Part]:
    """The parts that have left something in a folder, by count and number."""
    found = (re.fullmatch(r"(\d{1,6})-of-(\d{1,6})", path.name) for path in folder.glob("*-of-*"))
    return sorted((Part(*map(int, match.groups())) for match in found if match), key=lambda part: part[::-1])


def listed(parts: Sequence[Part], most: int = 10) -> str:
    """Some parts for a message: --part 1/4, 3/4."""
    return f"--part {', '.join(map(str, parts[:most]))}{', ...' if len(parts) > most else ''}"


def add_part(parser: argparse.ArgumentParser, what: str) -> None:
    """Adds --part; `what` is divided."""
    text = f"{what}: this is job I of N, from 0, on any machine that sees the folder; the last one joins all"
    parser.add_argument("--part", metavar="I/N", help=text)
