"""What was written of each sentence or recording, and when, from a log in one of several formats (`log_formats`)."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Union

from leap_fairseq.scoring.latency import latencies
from leap_fairseq.scoring.log_formats import LogFormat, recognised, recording_of
from leap_fairseq.scoring.log_lines import Line, checked, json_lines
from leap_fairseq.scoring.units import KEPT_SPACE, LatencyUnit

WORDS = LatencyUnit()

NAMES = ("instances.log", "instances.resegmented.jsonl")
"""Of a log in the folder of a run: SimulEval's (``--output``), or OmniSTEval's (``--output_folder``)."""


@dataclass(frozen=True)
class Instance:
    """One translated sentence, or recording of several.

    Attributes:
        index: position in the test set.
        prediction: the hypothesis.
        reference: the reference translation; None where the log has none.
        delays: source time read when each word (or character, or piece) was written, ms.
        elapsed: the same plus the time spent computing, ms; none where the log has none.
        source_length: ms; nan where the log has none.
        written: the words (or characters, or pieces) that the delays belong to.
        unit: which of these they are, and how the reference is counted.
        recording: what the log calls the audio; empty where it does not.
        transcript: of the speech; None where it is not known.
    """

    index: int
    prediction: str
    reference: Optional[str]
    delays: List[float]
    elapsed: List[float]
    source_length: float
    written: List[str]
    unit: LatencyUnit = WORDS
    recording: str = ""
    transcript: Optional[str] = None

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

    def latency(self, computation_aware: bool = False, adds_up: bool = True) -> Dict[str, float]:
        """All scores by name, of `elapsed` in place of `delays` where they are to be computation-aware.

        Args:
            computation_aware: whether they are.
            adds_up: as for `latencies`.

        Raises:
            ValueError: the sentence is not scorable, or the unit is spm, without a model.
        """
        times = self.elapsed if computation_aware else None
        return latencies(self.delays, self.source_length, self.reference_length, times, adds_up)


@dataclass(frozen=True)
class Part(Instance):
    """What belongs to one sentence of a long recording; its times count from the sentence's beginning.

    Times are below 0 for words that were written before it.

    Attributes:
        in_order: `elapsed` of a writer that writes no word before the one in front of it, ms.
        rest: from the sentence's beginning to the end of the last one of the recording, ms.
    """

    in_order: List[float] = field(default_factory=list)
    rest: float = math.inf


class Log(NamedTuple):
    """All of a log.

    Attributes:
        path: as it was given, for messages.
        format: that it has.
        instances: in the order of `index`.
    """

    path: Union[str, Path]
    format: LogFormat
    instances: List[Instance]


def log_path(path: Union[str, Path]) -> Path:
    """The log of a run: the file itself, or the one of `NAMES` that is in the folder.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if path.is_dir():
        path = next((path / name for name in NAMES if (path / name).is_file()), path / NAMES[0])
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the --output folder of a simuleval run, or a log")
    return path


def read_log(path: Path, allow_torn: bool = False) -> Dict[int, Dict[str, Any]]:
    """Reads the objects of SimulEval's instances.log by their index, in the order of its lines.

    Args:
        path: of the file.
        allow_torn: a last line that breaks off, as a killed process leaves it, is left out with a warning.

    Raises:
        ValueError: a line is not a sentence, with its number and the reason.
    """
    return {line.fields["index"]: line.fields for line in checked(json_lines(path, allow_torn))}


def read_any_log(path: Union[str, Path], unit: LatencyUnit = WORDS) -> Log:
    """Reads a log of any format of `log_formats`.

    Args:
        path: the file, or the folder that holds instances.log.
        unit: that the delays belong to.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the format is not known, or a line is not a sentence in this unit, with its number and the reason.
    """
    found = log_path(path)
    known, lines = recognised(json_lines(found), found)
    instances = [_instance(line, unit, known) for line in checked(known.read(lines, unit), known.rules)]
    return Log(path, known, sorted(instances, key=lambda instance: instance.index))


def read_instances(path: Union[str, Path], unit: LatencyUnit = WORDS) -> List[Instance]:
    """Reads a log, in the order of `index`; arguments and errors are those of `read_any_log`."""
    return read_any_log(path, unit).instances


def _instance(line: Line, unit: LatencyUnit, known: LogFormat) -> Instance:
    fields = line.fields
    try:
        written = unit.written(fields)
    except ValueError as error:
        raise ValueError(f"{line.where}: {error}") from error
    delays, elapsed = ([float(time) for time in fields.get(name, [])] for name in ("delays", "elapsed"))
    if len(written) != len(delays):
        remedy = "give the unit that the run was made with (--latency-unit, or --tgt-lang)"
        counted = f"{len(delays)} delays for {len(written)} units ({unit.name}) of the prediction"
        raise ValueError(
            f"{line.where}: sentence {fields['index']} has {counted} {fields['prediction'][:40]!r}: {remedy}"
        )
    values = dict(
        index=fields["index"],
        prediction=fields["prediction"].replace(KEPT_SPACE, " "),
        reference=fields.get("reference"),
        delays=delays,
        elapsed=elapsed,
        source_length=float(fields.get("source_length", math.nan)),
        written=written,
        unit=unit,
        recording=recording_of(fields),
    )
    return (
        Part(**values, in_order=elapsed, rest=fields["time_to_recording_end"]) if known.is_cut else Instance(**values)
    )
