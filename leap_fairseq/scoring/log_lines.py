"""The lines of a log: JSON objects, each checked as the sentence or recording it is to be.

A line that cannot be right is refused with its number, so that no score is computed from it.
"""

import json
import logging
import math
from pathlib import Path
from typing import Any, Container, Dict, Iterable, Iterator, List, NamedTuple

logger = logging.getLogger(__name__)

LONGEST_MS = 1e9
"""Days: what is longer is no time of a recording, and its sums would not be numbers."""

LARGEST_INDEX = 10**9
"""No test set has more sentences."""

SHORTEST_MS = 1e-3
"""Less than one sample."""


class Line(NamedTuple):
    """A line of a log.

    Attributes:
        path: of the file.
        number: in the file, from 1.
        fields: the object in it.
    """

    path: Path
    number: int
    fields: Any

    @property
    def where(self) -> str:
        """File and number, for messages."""
        return f"{self.path}: line {self.number}"


class Rules(NamedTuple):
    """What the lines of a format may be, other than those of SimulEval.

    Attributes:
        may_lack: fields that may be missing.
        earliest: the least time, ms.
        may_overtake: an elapsed time may be less than the one before it.
    """

    may_lack: Container[str] = ()
    earliest: float = 0.0
    may_overtake: bool = False


OF_SIMULEVAL = Rules()

SENTENCE_FIELDS = {
    "prediction": (str, "a text"),
    "reference": (str, "a text"),
    "delays": (list, "a list of milliseconds"),
    "elapsed": (list, "a list of milliseconds"),
    "source_length": ((int, float), "a number of milliseconds above 0"),
}
"""The types of the fields of a sentence, and their names."""


def json_lines(path: Path, allow_torn: bool = False) -> Iterator[Line]:
    """The lines of a file that are not blank.

    Args:
        path: of the file.
        allow_torn: a last line that breaks off, as a killed process leaves it, is left out with a warning.

    Raises:
        ValueError: a line is no JSON.
    """
    lines = path.read_bytes().split(b"\n")
    for number, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        line = Line(path, number, None)
        try:
            yield line._replace(fields=json.loads(text.decode("utf-8")))
        except (ValueError, RecursionError) as error:
            if number < len(lines):
                raise ValueError(f"{line.where} is not a sentence of a log ({error})") from error
            # Every complete line ends in a newline, so only a torn one is last.
            if not allow_torn:
                remedy = "finish the run, or remove the line to score what is there"
                raise ValueError(f"{line.where} breaks off, the run was interrupted: {remedy} ({error})") from error
            logger.warning("%s breaks off and is left out; the run was interrupted", line.where)


def checked(lines: Iterable[Line], rules: Rules = OF_SIMULEVAL) -> Iterator[Line]:
    """The lines as they are; a ValueError for the first that is no sentence, or one that there is already."""
    seen: Dict[int, int] = {}
    for line in lines:
        try:
            check(line.fields, rules)
        except ValueError as error:
            raise ValueError(f"{line.where}: {error}") from error
        first = seen.setdefault(line.fields["index"], line.number)
        if first != line.number:
            remedy = "remove one of the two; runs appended to one file must be scored one by one"
            raise ValueError(f"{line.where}: sentence {line.fields['index']} is in line {first} already: {remedy}")
        yield line


def check(fields: Any, rules: Rules = OF_SIMULEVAL) -> None:
    """Refuses what cannot be the object of a sentence, with a ValueError."""
    if not isinstance(fields, dict):
        raise ValueError(f"a {type(fields).__name__} is not a sentence of a log, which is an object")
    index = fields.get("index")
    if type(index) is not int or not 0 <= index <= LARGEST_INDEX:
        raise ValueError(f"index is {shown(fields, 'index')}, but must be a whole number from 0 to {LARGEST_INDEX}")
    needed = [name for name in SENTENCE_FIELDS if name in fields or name not in rules.may_lack]
    for name in needed:
        if not isinstance(fields.get(name), SENTENCE_FIELDS[name][0]):
            raise ValueError(f"{name} is {shown(fields, name)}, but must be {SENTENCE_FIELDS[name][1]}")
    _check_times(fields, rules)
    if "source_length" in needed:
        length = _time(fields["source_length"])
        # A recording without samples has no length and no words.
        if not length >= (SHORTEST_MS if fields["delays"] else 0):
            found = shown(fields, "source_length")
            raise ValueError(f"source_length is {found}, but must be a number of milliseconds above 0")


def _check_times(fields: Dict[str, Any], rules: Rules) -> None:
    delays = _times("delays", fields["delays"], rules.earliest)
    if "elapsed" not in fields:
        return
    elapsed = _times("elapsed", fields["elapsed"], rules.earliest, rules.may_overtake)
    if len(delays) != len(elapsed):
        raise ValueError(f"{len(delays)} delays but {len(elapsed)} elapsed times: there must be one of each for a word")
    for number, (delay, time) in enumerate(zip(delays, elapsed), start=1):
        if time < delay:
            rule = f"must not be less than its delay, {delay:g}: it counts the time of computing too"
            raise ValueError(f"elapsed: number {number} is {time:g}, but {rule}")


def _times(name: str, values: List[Any], earliest: float, may_fall: bool = False) -> List[float]:
    """A list of the log as numbers that do not fall, unless they may."""
    last = earliest
    for number, value in enumerate(values, start=1):
        time = _time(value, earliest)
        if not time >= last:
            rule = f"must be a number of milliseconds, not less than the one before, {last:g}"
            raise ValueError(f"{name}: number {number} is {value!r}, but {rule}")
        last = earliest if may_fall else time
    return [float(value) for value in values]


def _time(value: Any, earliest: float = 0.0) -> float:
    """A time of the log in ms; nan for what is none."""
    return float(value) if type(value) in (int, float) and earliest <= value <= LONGEST_MS else math.nan


def shown(fields: Dict[str, Any], name: str) -> str:
    """A field for a message, cut short."""
    return f"{fields[name]!r:.60}" if name in fields else "missing"
