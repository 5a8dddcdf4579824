"""The references of long recordings: their sentences in the order of time, recording after recording.

As a table of our own, with a line per sentence:

    audio        offset_ms  duration_ms  source         target
    ted_1.wav    1200.0     3450.0       Good morning.  Guten Morgen.

A header line, tabs between the columns, no quoting, UTF-8. ``leap-fairseq prepare lists --whole-talks`` writes it.
Or as MuST-C and the shared tasks of IWSLT have them: a YAML of segments, and a text file parallel to it.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Container, Dict, List, Union

from leap_fairseq.files import whole_file
from leap_fairseq.speech.corpus import read_lines
from leap_fairseq.speech.mustc import read_entries

SEGMENT_KEYS = ("wav", "offset", "duration")
COLUMNS = ("audio", "offset_ms", "duration_ms", "source", "target")


@dataclass(frozen=True)
class ReferenceSentence:
    """One sentence of a recording.

    Attributes:
        audio: what the recording is called; the same for all of its sentences.
        offset: where the sentence begins in the recording, ms, at least 0.
        duration: ms, at least 0.
        source: transcript; empty where it is not known.
        target: translation.
    """

    audio: str
    offset: float
    duration: float
    source: str
    target: str


def read_references(path: Union[str, Path]) -> List[List[ReferenceSentence]]:
    """Reads the sentences of each recording, in the order of their first lines; further columns are left out.

    Raises:
        OSError: the file cannot be read.
        ValueError: not UTF-8, no sentence, a column is missing, a line has another number of columns than the header,
            a time is no number of 0 or more, or the lines are not in the order of recordings and times.
    """
    lines = _lines(path)
    names = lines[0].split("\t") if lines else []
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        rule = f"it must name the columns {', '.join(COLUMNS)}, with tabs between them"
        raise ValueError(f"{path}: the first line lacks {', '.join(missing)}: {rule}")
    recordings: Dict[str, List[ReferenceSentence]] = {}
    for number, line in enumerate(lines[1:], start=2):
        where = f"{path}: line {number}"
        sentence = _sentence(line.split("\t"), names, where)
        _check_order(recordings, sentence, where)
        recordings.setdefault(sentence.audio, []).append(sentence)
    if not recordings:
        raise ValueError(f"{path}: holds no sentence below its header line")
    return list(recordings.values())


def _lines(path: Union[str, Path]) -> List[str]:
    """The lines of a table, but for empty ones at its end; only line feeds end a line."""
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: must be UTF-8: convert it ({error})") from error
    lines = [line.rstrip("\r") for line in text.split("\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def read_segments(
    yaml: Union[str, Path], text: Union[str, Path], transcripts: Union[str, Path, None] = None
) -> List[List[ReferenceSentence]]:
    """Reads the sentences of each recording from a YAML of segments, as MuST-C has it, and a text file parallel to it.

    Args:
        yaml: one {wav, offset, duration} a segment, times in seconds.
        text: the translations, one a line.
        transcripts: of the speech, one a line.

    Raises:
        ValueError: a file cannot be read, they are not parallel, a segment lacks something or has no such time, or the
            segments are not in the order of recordings and times.
    """
    entries = read_entries(Path(yaml))
    targets = _parallel(yaml, len(entries), text, "--reference-text")
    sources = _parallel(yaml, len(entries), transcripts, "--source-text") if transcripts else [""] * len(entries)
    recordings: Dict[str, List[ReferenceSentence]] = {}
    for number, (entry, source, target) in enumerate(zip(entries, sources, targets), start=1):
        where = f"{yaml}: entry {number}"
        missing = [key for key in SEGMENT_KEYS if not isinstance(entry, dict) or not isinstance(entry.get(key), str)]
        if missing:
            raise ValueError(f"{where} lacks {', '.join(missing)}: it must have {', '.join(SEGMENT_KEYS)}")
        offset, duration = (1000 * _time(entry, key, "seconds", where) for key in SEGMENT_KEYS[1:])
        sentence = ReferenceSentence(entry["wav"], offset, duration, source, target)
        _check_order(recordings, sentence, where)
        recordings.setdefault(sentence.audio, []).append(sentence)
    if not recordings:
        raise ValueError(f"{yaml}: holds no segment")
    return list(recordings.values())


def _parallel(yaml: object, count: int, text: Union[str, Path], option: str) -> List[str]:
    """The lines of a text, one for each of so many segments."""
    lines = read_lines(Path(text))
    if len(lines) != count:
        rule = f"there must be one line for each segment (--references, {option})"
        raise ValueError(f"{yaml} has {count} segments, {text} {len(lines)} lines: {rule}")
    return lines


def _sentence(values: List[str], names: List[str], where: str) -> ReferenceSentence:
    if len(values) != len(names):
        raise ValueError(f"{where} has {len(values)} columns, the header {len(names)}")
    row = dict(zip(names, values))
    offset, duration = (_time(row, name, "milliseconds", where) for name in ("offset_ms", "duration_ms"))
    return ReferenceSentence(row["audio"], offset, duration, row["source"], row["target"])


def _time(row: Dict[str, str], name: str, unit: str, where: str) -> float:
    try:
        time = float(row[name])
    except ValueError:
        time = math.nan
    if not 0 <= time < math.inf:
        raise ValueError(f"{where}: {name} is {row[name]!r}, but must be a number of {unit}, 0 or more")
    return time


def _check_order(recordings: Dict[str, List[ReferenceSentence]], sentence: ReferenceSentence, where: str) -> None:
    """A sentence must belong to the last recording or a new one, and not begin before the one before it."""
    if sentence.audio not in recordings:
        return
    if sentence.audio != next(reversed(recordings)):
        raise ValueError(f"{where}: {sentence.audio} occurs again behind other recordings: put its lines together")
    last = recordings[sentence.audio][-1].offset
    if sentence.offset < last:
        given = f"begins at {sentence.offset} ms, but the line before at {last} ms"
        raise ValueError(f"{where}: {given}: sort by their offsets")


def write_without(path: Path, numbers: Container[int], out: Path) -> Path:
    """Writes a table that `read_references` takes again, without the recordings of these numbers, from 0."""
    header, *lines = _lines(path)
    column = header.split("\t").index(COLUMNS[0])
    recordings = list(dict.fromkeys(line.split("\t")[column] for line in lines))
    kept = {name for number, name in enumerate(recordings) if number not in numbers}
    rows = [line for line in lines if line.split("\t")[column] in kept]
    with whole_file(out, text=True) as file:
        file.write("\n".join([header, *rows, ""]))
    return out
