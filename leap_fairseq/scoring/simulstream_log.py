"""The log of simulstream: which tokens were written and taken back after which piece of audio.

    {"model_loading_time": 6.0}
    {"id": 0, "metadata": {"wav_name": "talks/ted_1.wav"}}
    {"id": 0, "total_audio_processed": 2.0, "computation_time": 0.3, "generated_tokens": [...], "deleted_tokens": [...]}

A text counts as it stands in the end; a word has the time, in s, of the last line that changed it. Its elapsed time
adds the computing of that line alone. Tokens are SentencePiece's, with ▁ before a word; without that mark they are
words, or characters where latency is counted in these, as simulstream writes them down for agents of SimulEval.

Source: simulstream 1.0.0, ``metrics/readers.py``; the tests compare with it.
"""

import os
from pathlib import PurePath
from typing import Any, Dict, Iterable, Iterator, List

from leap_fairseq.scoring.log_lines import Line, shown
from leap_fairseq.scoring.units import KEPT_SPACE, Characters, LatencyUnit, Pieces
from leap_fairseq.speech.vocabulary import WORD_BOUNDARY

BYTE_BOUNDARY = "\u0120"
"""A space in the vocabularies of byte-level BPE."""

NUMBERS = ("total_audio_processed", "computation_time")
TOKENS = ("generated_tokens", "deleted_tokens")


def simulstream_lines(lines: Iterable[Line], unit: LatencyUnit) -> Iterator[Line]:
    """A line for each recording, as SimulEval writes it; its number is that of the first line of the recording.

    Raises:
        ValueError: a line is none of simulstream's, with its number and the reason.
    """
    streams: Dict[Any, List[Line]] = {}
    recordings: Dict[str, List[Line]] = {}
    for line in lines:
        fields = line.fields if isinstance(line.fields, dict) else {}
        if "metadata" in fields:
            name = _recording(line)
            if name in recordings:
                first = recordings[name][0].number
                raise ValueError(f"{line.where}: {name} is in line {first} already: remove one of the two")
            # A server counts its clients by addresses, which come again.
            streams[_id(line)] = recordings[name] = [line]
        elif "id" in fields:
            _check(line)
            if _id(line) not in streams:
                raise ValueError(f"{line.where}: no line before it says which recording {fields['id']!r:.40} is")
            streams[_id(line)].append(line)
        elif "model_loading_time" not in fields:
            raise ValueError(f"{line.where} has no id: it is no line of simulstream")
    marked = any(WORD_BOUNDARY in token for stream in recordings.values() for token in _tokens(stream))
    for index, (name, (first, *writes)) in enumerate(recordings.items()):
        yield first._replace(fields={"index": index, "source": name, **_translation(writes, unit, marked)})


def _translation(writes: List[Line], unit: LatencyUnit, marked: bool) -> Dict[str, Any]:
    """Prediction, times and length of a recording."""
    text = _Text(unit, marked)
    for line in writes:
        written, deleted = (line.fields[name] for name in TOKENS)
        kept = len(text.tokens) - len(deleted)
        if text.tokens[max(0, kept) :] != deleted:
            raise ValueError(f"{line.where}: deleted_tokens are not the last ones that were written")
        delay = 1000.0 * line.fields["total_audio_processed"]
        times = delay, delay + 1000.0 * line.fields["computation_time"]
        # What is taken back and written again is written anew.
        if deleted:
            text.change(kept, [], *times)
        if written:
            text.change(kept, written, *times)
    is_char, is_spm = unit.name == Characters.name, unit.name == Pieces.name
    return {
        "prediction": "".join(text.units) if is_char else unit.join(text.units),
        "delays": text.delays,
        "elapsed": text.elapsed,
        "source_length": 1000.0 * writes[-1].fields["total_audio_processed"] if writes else 0.0,
        **({"prediction_spm": text.units} if is_spm else {}),
    }


class _Text:
    """The tokens of a recording as they stand, and the units they make; a change costs what it changes.

    Args:
        unit: of latency.
        marked: whether a mark stands before each word.

    Attributes:
        tokens: that stand.
        units: words, characters or pieces of them.
        delays, elapsed: of each unit, ms.
    """

    def __init__(self, unit: LatencyUnit, marked: bool):
        self._is_char, self._is_spm, self._marked = unit.name == Characters.name, unit.name == Pieces.name, marked
        self.tokens: List[str] = []
        self.units: List[str] = []
        self.delays: List[float] = []
        self.elapsed: List[float] = []
        self._borders = [(0, 0)]  # numbers of a token, and of the unit that begins with it whatever follows

    def change(self, kept: int, written: List[str], delay: float, elapsed: float) -> None:
        """Has other tokens behind the first ones; a unit that this changes, and all behind it, get its times."""
        self.tokens[kept:] = written
        while len(self._borders) > 1 and self._borders[-1][0] >= kept:
            self._borders.pop()
        begin, first = self._borders[-1]
        units: List[str] = []
        for end in range(begin + 1, len(self.tokens) + 1):
            if end == len(self.tokens) or self._is_border(*self.tokens[end - 1 : end + 1]):
                units += self._units(self.tokens[begin:end], is_first=begin == 0)
                begin = end
                if end < len(self.tokens):
                    self._borders.append((end, first + len(units)))
        same = len(os.path.commonprefix([self.units[first:], units]))
        self.units[first + same :] = units[same:]
        for times, time in ((self.delays, delay), (self.elapsed, elapsed)):
            times[first + same :] = [time] * (len(units) - same)

    def _is_border(self, before: str, behind: str) -> bool:
        """Whether a unit begins with the second of two tokens, and no space that may have to go ends the first."""
        if self._is_spm or not self._marked:
            return True
        before, behind = before.replace(WORD_BOUNDARY, " "), behind.replace(WORD_BOUNDARY, " ")
        if self._is_char:
            return bool(before) and not before[-1].isspace()
        return before[-1:].isspace() or behind[:1].isspace()

    def _units(self, tokens: List[str], is_first: bool) -> List[str]:
        """Those of the tokens between two borders, or behind the last one."""
        if self._is_spm:
            return tokens
        if self._marked:
            text = "".join(tokens).replace(WORD_BOUNDARY, " ").rstrip()
            text = text.lstrip() if is_first else text
        else:
            text = ("" if self._is_char else " ").join(tokens)
        return list(text.replace(" ", KEPT_SPACE)) if self._is_char else text.split()


def _tokens(stream: List[Line]) -> Iterator[str]:
    for line in stream[1:]:
        yield from line.fields["generated_tokens"]


def _recording(line: Line) -> str:
    """The name of a recording, without folder and ending, as simulstream compares it with references."""
    metadata = line.fields["metadata"]
    name = metadata.get("wav_name") if isinstance(metadata, dict) else None
    if not isinstance(name, str) or not PurePath(name).stem:
        raise ValueError(f"{line.where}: metadata is {shown(line.fields, 'metadata')}, but must have a wav_name")
    return PurePath(name).stem


def _id(line: Line) -> Any:
    """What a line calls its stream, a number or a text."""
    name = line.fields.get("id")
    if not isinstance(name, (int, str)):
        raise ValueError(f"{line.where}: id is {shown(line.fields, 'id')}, but must be a number or a text")
    return name


def _check(line: Line) -> None:
    """Refuses what is no writing, with a ValueError."""
    for name in NUMBERS:
        value = line.fields.get(name)
        if type(value) not in (int, float) or not 0 <= value < 1e6:
            raise ValueError(f"{line.where}: {name} is {shown(line.fields, name)}, but must be a number of seconds")
    for name in TOKENS:
        tokens = line.fields.get(name)
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise ValueError(f"{line.where}: {name} is {shown(line.fields, name)}, but must be a list of tokens")
        if any(token.startswith(BYTE_BOUNDARY) for token in tokens):
            remedy = "convert the log with simulstream's reader to the JSONL of OmniSTEval"
            raise ValueError(f"{line.where}: {name} are of byte-level BPE ({BYTE_BOUNDARY}), not of pieces: {remedy}")
