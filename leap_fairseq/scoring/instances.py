"""SimulEval's instances.log: what was written of each sentence, and when.

One JSON object a line, as SimulEval 1.1.4 writes it. A line that cannot be right is refused with its number, so that
no score is computed from it.
"""

import json
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple, Union

from leap_fairseq.scoring.latency import latencies
from leap_fairseq.scoring.units import KEPT_SPACE, LatencyUnit

logger = logging.getLogger(__name__)

LONGEST_MS = 1e9
"""Days: what is longer is no time of a recording, and its sums would not be numbers."""

LARGEST_INDEX = 10**9
"""No test set has more sentences."""

SHORTEST_MS = 1e-3
"""Less than one sample."""

WORDS = LatencyUnit()


@dataclass(frozen=True)
class Instance:
    """One translated sentence.

    Attributes:
        index: position in the test set.
        prediction: the hypothesis.
        reference: the reference translation.
        delays: source time read when each word (or character, or piece) was written, ms.
        elapsed: the same plus the time spent computing, ms.
        source_length: ms.
        written: the words (or characters, or pieces) that the delays belong to.
        unit: which of these they are, and how the reference is counted.
    """

    index: int
    prediction: str
    reference: str
    delays: List[float]
    elapsed: List[float]
    source_length: float
    written: List[str]
    unit: LatencyUnit = WORDS

    @property
    def is_scorable(self) -> bool:
        """Whether a latency is defined: something was written, and there was a source."""
        return len(self.delays) > 0 and self.source_length > 0

    @property
    def reference_length(self) -> int:
        """Units of the reference, at least 1.

        Raises:
            ValueError: the unit is spm, without a model.
        """
        return self.unit.length(self.reference)

    def latency(self, computation_aware: bool = False) -> Dict[str, float]:
        """All scores by name, of `elapsed` in place of `delays` where they are to be computation-aware.

        Raises:
            ValueError: the sentence is not scorable, or the unit is spm, without a model.
        """
        times = self.elapsed if computation_aware else None
        return latencies(self.delays, self.source_length, self.reference_length, times)


def read_log(path: Path, allow_torn: bool = False) -> Dict[int, Dict[str, Any]]:
    """Reads the objects of an instances.log by their index, in the order of its lines.

    Args:
        path: of the file.
        allow_torn: a last line that breaks off, as a killed process leaves it, is left out with a warning.

    Raises:
        ValueError: a line is not a sentence, with its number and the reason.
    """
    return {fields["index"]: fields for _, fields in _lines(path, allow_torn)}


def read_instances(path: Union[str, Path], unit: LatencyUnit = WORDS) -> List[Instance]:
    """Reads a log, in the order of `index`.

    Args:
        path: the file, or the folder that holds it (SimulEval's ``--output``).
        unit: that SimulEval ran with (``--eval-latency-unit``).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is not a sentence in this unit, with its number and the reason.
    """
    path = Path(path)
    path = path / "instances.log" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the --output folder of a simuleval run")
    instances = []
    for where, fields in _lines(path):
        try:
            instances.append(_instance(fields, unit))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    return sorted(instances, key=lambda instance: instance.index)


def _lines(path: Path, allow_torn: bool = False) -> Iterator[Tuple[str, Dict[str, Any]]]:
    """Each line's place and its fields, of which times, texts and index have been checked."""
    lines = path.read_bytes().split(b"\n")
    seen: Dict[int, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            fields = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            if number < len(lines):
                raise ValueError(f"{where} is not a sentence of a simuleval log ({error})") from error
            # Every complete line ends in a newline, so only a torn one is last.
            if not allow_torn:
                remedy = "finish the run, or remove the line to score what is there"
                raise ValueError(f"{where} breaks off, the run was interrupted: {remedy} ({error})") from error
            logger.warning("%s breaks off and is left out; the run was interrupted", where)
            return
        try:
            _check(fields)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        first = seen.setdefault(fields["index"], number)
        if first != number:
            remedy = "remove one of the two; runs appended to one file must be scored one by one"
            raise ValueError(f"{where}: sentence {fields['index']} is in line {first} already: {remedy}")
        yield where, fields


def _check(fields: Any) -> None:
    """Refuses what cannot be the object of a sentence, with a ValueError."""
    if not isinstance(fields, dict):
        raise ValueError(f"a {type(fields).__name__} is not a sentence of a simuleval log, which is an object")
    index = fields.get("index")
    if type(index) is not int or not 0 <= index <= LARGEST_INDEX:
        raise ValueError(f"index is {_shown(fields, 'index')}, but must be a whole number from 0 to {LARGEST_INDEX}")
    for name in ("prediction", "reference"):
        if not isinstance(fields.get(name), str):
            raise ValueError(f"{name} is {_shown(fields, name)}, but must be a text")
    for name in ("delays", "elapsed"):
        if not isinstance(fields.get(name), list):
            raise ValueError(f"{name} is {_shown(fields, name)}, but must be a list of milliseconds")
    delays, elapsed = (_times(name, fields[name]) for name in ("delays", "elapsed"))
    if len(delays) != len(elapsed):
        raise ValueError(f"{len(delays)} delays but {len(elapsed)} elapsed times: there must be one of each for a word")
    for number, (delay, time) in enumerate(zip(delays, elapsed), start=1):
        if time < delay:
            rule = f"must not be less than its delay, {delay:g}: it counts the time of computing too"
            raise ValueError(f"elapsed: number {number} is {time:g}, but {rule}")
    length = _time(fields.get("source_length"))
    # A recording without samples has no length and no words.
    if not length >= (SHORTEST_MS if delays else 0):
        shown = _shown(fields, "source_length")
        raise ValueError(f"source_length is {shown}, but must be a number of milliseconds above 0")


def _times(name: str, values: List[Any]) -> List[float]:
    """A list of the log as numbers that do not fall."""
    last = 0.0
    for number, value in enumerate(values, start=1):
        time = _time(value)
        if not time >= last:
            rule = f"must be a number of milliseconds, not less than the one before, {last:g}"
            raise ValueError(f"{name}: number {number} is {value!r}, but {rule}")
        last = time
    return [float(value) for value in values]


def _time(value: Any) -> float:
    """A time of the log in ms; nan for what is none."""
    return float(value) if type(value) in (int, float) and 0 <= value <= LONGEST_MS else math.nan


def _shown(fields: Dict[str, Any], name: str) -> str:
    return f"{fields[name]!r:.60}" if name in fields else "missing"


def _instance(fields: Dict[str, Any], unit: LatencyUnit) -> Instance:
    delays, written = fields["delays"], unit.written(fields)
    if len(written) != len(delays):
        remedy = "give the unit that the run was made with (--latency-unit, or --tgt-lang)"
        counted = f"{len(delays)} delays for {len(written)} units ({unit.name}) of the prediction"
        raise ValueError(f"sentence {fields['index']} has {counted} {fields['prediction'][:40]!r}: {remedy}")
    return Instance(
        index=fields["index"],
        prediction=fields["prediction"].replace(KEPT_SPACE, " "),
        reference=fields["reference"],
        delays=[float(delay) for delay in delays],
        elapsed=[float(time) for time in fields["elapsed"]],
        source_length=float(fields["source_length"]),
        written=written,
        unit=unit,
    )
