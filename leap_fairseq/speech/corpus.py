"""What a corpus of translated speech is to data preparation: segments of audio files with their texts.

The readers (`mustc`, `mtedx`, `europarl_st`, `covost`) make segments from a corpus's own layout; nothing behind them
depends on the layout.
"""

import reprlib
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any, Dict, List, Optional, Tuple, Union

from leap_fairseq.files import DataError
from leap_fairseq.speech.audio import LONGEST

LONGEST_NAME = 200
"""Characters; file systems take 255 bytes."""

OTHER_ENDINGS = (".flac", ".wav")


@dataclass(frozen=True)
class Segment:
    """One sentence: a part of an audio file, or a whole one.

    Attributes:
        id: Unique in its split; fit for a file name.
        audio: The audio file, whether it exists or not.
        offset: Seconds from the beginning of the file.
        duration: Seconds; None is to the end of the file.
        speaker: Name of the speaker.
        src_text: Transcript.
        tgt_text: Translation.
        src_lang: Language of the speech and the transcript, for example en.
        tgt_lang: Language of the translation, for example de.
        fault: Why the entry of the corpus's list cannot be used, so that it is skipped; empty if it can.
    """

    id: str
    audio: Path
    offset: float
    duration: Optional[float]
    speaker: str
    src_text: str
    tgt_text: str
    src_lang: str
    tgt_lang: str
    fault: str = ""


Corpus = Dict[str, List[Segment]]
"""The segments of each split, in the order of the split's text files."""


def find_audio(folder: Union[str, Path], name: str) -> Path:
    """The audio file that a corpus names.

    Corpora are often converted to save space while their lists keep the old names: where the file is missing, one of
    the same name that ends in .flac or .wav stands in for it.

    Returns:
        The path; the one that was asked for if there is none.

    Raises:
        DataError: It is no name, or leads out of the folder.
        OSError: The system does not take it for one.
    """
    if not 0 < len(name) <= LONGEST_NAME or "\0" in name:
        raise DataError(f"the audio file is {reprlib.repr(name)}, but must have a name")
    if PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise DataError(f"the audio file {name!r} is not inside of {Path(folder).name}")
    path = Path(folder) / name
    if path.exists():
        return path
    others = (path.with_suffix(ending) for ending in OTHER_ENDINGS)
    return next((other for other in others if other.exists()), path)


def check_seconds(value: Any, name: str) -> float:
    """A time of a corpus's list, as a number of seconds.

    Raises:
        DataError: It is no number from 0 to a week; `name` says which it is.
    """
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = float("nan")
    if not 0 <= seconds <= LONGEST:
        raise DataError(f"{name} is {reprlib.repr(value)}, but must be 0 to {LONGEST} s, a week")
    return seconds


def read_lines(path: Path) -> List[str]:
    """The sentences of a text file, UTF-8, one a line; only line feeds end a line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: it must be a UTF-8 text file, one sentence a line ({error})") from error
    lines = text.split("\n")
    if lines[-1] == "":
        lines.pop()
    return [line.strip() for line in lines]


def named_by_file(segments: List[Segment], name: object) -> List[Segment]:
    """The segments with the ids TALK_i, the i-th of its audio file by offset, as in fairseq's recipes.

    Args:
        segments: Of a split; faulty ones keep their ids.
        name: Of their list, for the message.

    Raises:
        DataError: Two audio files have the same name but for their folders and endings.
    """
    named = list(segments)
    of_name: Dict[str, Path] = {}
    for audio, indices in by_file(segments):
        other = of_name.setdefault(audio.stem, audio)
        if other != audio:
            rule = "differ in nothing but their folders or endings, so that ids would occur twice: rename one"
            raise DataError(f"{name}: the recordings {other} and {audio} {rule}")
        for rank, index in enumerate(indices):
            named[index] = replace(named[index], id=f"{audio.stem}_{rank}")
    return named


def by_file(segments: List[Segment]) -> List[Tuple[Path, List[int]]]:
    """Groups segments by audio file, without the faulty ones.

    Returns:
        For each file, in the order of first appearance, its path and the indices of its segments by offset.
    """
    files: Dict[Path, List[int]] = defaultdict(list)
    for index, segment in enumerate(segments):
        if not segment.fault:
            files[segment.audio].append(index)
    return [(audio, sorted(indices, key=lambda i: (segments[i].offset, i))) for audio, indices in files.items()]
