"""The logs that can be scored, recognised by the fields of their first line, each as lines of SimulEval 1.1.

    SimulEval 1.1      {index, prediction, delays, elapsed, prediction_length, reference, source, source_length}
    SimulEval 1.0      the same with reference_length and metric; the prediction ends in </s>, which has a delay too
    OmniSTEval         {source, prediction, delays}, and elapsed, source_length, reference where they are known
    OmniSTEval, cut    its instances.resegmented.jsonl: {docid, segid, prediction, reference, emission_cu, ...}
    simulstream        see `simulstream_log`

Times are in ms. A field that a log does not have stays missing, and what depends on it cannot be scored.

Source: SimulEval 1.0 and 1.1.4, ``summarize`` of an instance; OmniSTEval 0.1.10, README and ``resegment.py``.
"""

import itertools
import math
from pathlib import Path
from typing import Any, Callable, Dict, FrozenSet, Iterable, Iterator, NamedTuple, Tuple

from leap_fairseq.scoring.log_lines import LONGEST_MS, Line, Rules, shown
from leap_fairseq.scoring.simulstream_log import simulstream_lines
from leap_fairseq.scoring.units import KEPT_SPACE, Characters, LatencyUnit

END_OF_SENTENCE = "</s>"


class LogFormat(NamedTuple):
    """A format of logs.

    Attributes:
        name: for messages.
        marks: sets of fields; the first line of such a log has all of one of them.
        read: lines as they are, and the unit of their delays, to lines as SimulEval 1.1 writes them.
        rules: what these may be.
        is_cut: a line is a part of a recording, its times counted from the part's beginning.
        is_numbered: the log says itself which sentence or recording of the test set a line is.
        adds_up: an elapsed time counts all computing since the beginning of the recording.
    """

    name: str
    marks: Tuple[FrozenSet[str], ...]
    read: Callable[[Iterable[Line], LatencyUnit], Iterator[Line]]
    rules: Rules = Rules()
    is_cut: bool = False
    is_numbered: bool = True
    adds_up: bool = True


def recognised(lines: Iterable[Line], path: Path) -> Tuple["LogFormat", Iterator[Line]]:
    """The format of a log, and all of its lines; of an empty one, that of SimulEval.

    Raises:
        ValueError: the first line has the fields of no format.
    """
    lines = iter(lines)
    first = next(lines, None)
    if first is None:
        return SIMULEVAL, lines
    names = set(first.fields) if isinstance(first.fields, dict) else set()
    for known in FORMATS:
        if any(mark <= names for mark in known.marks):
            return known, itertools.chain([first], lines)
    what = f"has the fields {', '.join(sorted(map(str, names)))}" if names else "is no object with fields"
    forms = "; ".join(f"{known.name}: {', '.join(sorted(known.marks[0]))}" for known in FORMATS)
    raise ValueError(f"{first.where} {what:.200}, as no log that is known. These have in their first line: {forms}")


def _simuleval_1_1(lines: Iterable[Line], unit: LatencyUnit) -> Iterator[Line]:
    return iter(lines)


def _simuleval_1_0(lines: Iterable[Line], unit: LatencyUnit) -> Iterator[Line]:
    """Takes the end of the sentence out, which is no word."""
    for line in lines:
        fields = line.fields
        if _is_text(fields, "prediction") and fields["prediction"].split()[-1:] == [END_OF_SENTENCE]:
            text = fields["prediction"].rstrip().removesuffix(END_OF_SENTENCE).rstrip()
            times = {name: fields[name][:-1] for name in ("delays", "elapsed") if isinstance(fields.get(name), list)}
            line = line._replace(fields={**fields, "prediction": text, **times})
        yield line


def _omnisteval(lines: Iterable[Line], unit: LatencyUnit) -> Iterator[Line]:
    """Numbers the recordings."""
    seen: Dict[Any, int] = {}
    for index, line in enumerate(lines):
        fields = dict(line.fields) if isinstance(line.fields, dict) else {}
        source = recording_of(fields)
        if not source:
            raise ValueError(f"{line.where}: source is {shown(fields, 'source')}, but must name the recording")
        if seen.setdefault(source, line.number) != line.number:
            raise ValueError(f"{line.where}: {source} is in line {seen[source]} already: remove one of the two")
        yield line._replace(fields=_with_spaces({**fields, "index": index}, unit))


def _omnisteval_cut(lines: Iterable[Line], unit: LatencyUnit) -> Iterator[Line]:
    """Gives the times of a part their names in SimulEval."""
    for index, line in enumerate(lines):
        fields = dict(line.fields) if isinstance(line.fields, dict) else {}
        fields.update(index=index, delays=fields.get("emission_cu", []), source=str(fields.get("docid")))
        if "emission_ca" in fields or not fields["delays"]:
            fields["elapsed"] = fields.get("emission_ca", [])
        rest = fields.setdefault("time_to_recording_end", math.inf)
        if type(rest) not in (int, float) or not rest >= 0:
            raise ValueError(f"{line.where}: time_to_recording_end is {rest!r}, but must be a number of milliseconds")
        yield line._replace(fields=_with_spaces(fields, unit))


def _with_spaces(fields: Dict[str, Any], unit: LatencyUnit) -> Dict[str, Any]:
    """OmniSTEval counts the spaces among the characters: then they are kept."""
    text, delays = fields.get("prediction"), fields.get("delays")
    counts = isinstance(text, str) and isinstance(delays, list) and len(delays) == len(text)
    return (
        {**fields, "prediction": text.replace(" ", KEPT_SPACE)} if counts and unit.name == Characters.name else fields
    )


def recording_of(fields: Dict[str, Any]) -> str:
    """What a line calls its recording: `source`, or the first text in it; empty where it says nothing."""
    source = fields.get("source")
    source = source[0] if isinstance(source, list) and source else source
    return source if isinstance(source, str) else ""


def _is_text(fields: Any, name: str) -> bool:
    return isinstance(fields, dict) and isinstance(fields.get(name), str)


SIMULEVAL = LogFormat("SimulEval 1.1", (frozenset({"index", "prediction"}),), _simuleval_1_1)

FORMATS = (
    LogFormat(
        "simulstream",
        (frozenset({"id", "metadata"}), frozenset({"id", "total_audio_processed"}), frozenset({"model_loading_time"})),
        simulstream_lines,
        Rules(may_lack=("reference",), may_overtake=True),
        is_numbered=False,
        adds_up=False,
    ),
    LogFormat(
        "OmniSTEval, cut",
        (frozenset({"docid", "segid", "prediction"}),),
        _omnisteval_cut,
        Rules(may_lack=("elapsed", "source_length"), earliest=-LONGEST_MS),
        is_cut=True,
    ),
    LogFormat("SimulEval 1.0", (frozenset({"index", "prediction", "metric"}),), _simuleval_1_0),
    SIMULEVAL,
    LogFormat(
        "OmniSTEval",
        (frozenset({"source", "prediction"}),),
        _omnisteval,
        Rules(may_lack=("reference", "elapsed", "source_length")),
        is_numbered=False,
    ),
)
"""In the order in which they are tried: a log of SimulEval has the fields of one of OmniSTEval too."""
