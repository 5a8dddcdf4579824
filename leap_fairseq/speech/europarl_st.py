"""Reads Europarl-ST 1.1: speeches of the European Parliament in nine languages, with translations into the others.

ROOT/en/audios/SPEECH.m4a                    to be converted: see `check_converted`
ROOT/en/de/SPLIT/segments.lst                "SPEECH begin end" a line, times in seconds
ROOT/en/de/SPLIT/segments.en, segments.de    one sentence a line, parallel to segments.lst
ROOT/en/de/SPLIT/speeches.lst, speakers.lst  the speeches of the split, and parallel to them who holds each

Splits are train, dev, test and train-noisy. Source: the corpus of mllp.upv.es/europarl-st (Iranzo-Sánchez et al. 2020),
as the `EuroparlST` readers of public forks of fairseq's speech_to_text take it apart.
"""

import functools
import logging
import shlex
from pathlib import Path
from typing import Callable, Dict, List, Tuple, Union

from leap_fairseq.files import DataError
from leap_fairseq.speech.corpus import Corpus, Segment, by_file, check_seconds, find_audio, named_by_file, read_lines

logger = logging.getLogger(__name__)

SPLITS = ("train", "dev", "test")
REQUIRED_SPLITS = ("train", "dev")
RELEASE = "v1.1"
"""The folder in the published archive."""

PUBLISHED = ".m4a"


def read_corpus(root: Union[str, Path], src_lang: str, tgt_lang: str) -> Corpus:
    """Reads all splits of a language pair: train, dev and test, then train-noisy and others in the same form.

    Args:
        root: The folder that holds `en`, or v1.1, in which it is.
        src_lang: Language of the speech, for example en.
        tgt_lang: Language of the translations, for example de.

    Raises:
        DataError: train or dev is missing, or a split cannot be read (see `read_split`).
    """
    folder = _pair_folder(root, src_lang, tgt_lang)
    found = sorted(path.parent.name for path in folder.glob("*/segments.lst"))
    others = [split for split in found if split not in SPLITS]
    wanted = [split for split in SPLITS if split in found or split in REQUIRED_SPLITS] + others
    corpus = {split: _read_split(folder, split, src_lang, tgt_lang) for split in wanted}
    check_converted([segment for segments in corpus.values() for segment in segments])
    return corpus


def read_split(root: Union[str, Path], split: str, tgt_lang: str, src_lang: str) -> List[Segment]:
    """Reads the segments of one split, in the order of its text files.

    A segment is called SPEECH_i, the i-th of its speech by offset. A line of segments.lst that cannot be used is called
    "line N", and says why. Arguments are those of `read_corpus`.

    Raises:
        DataError: Both languages are the same, the layout is wrong, a text is missing, not UTF-8 or not parallel to
            segments.lst, or the recordings were not converted.
    """
    segments = _read_split(_pair_folder(root, src_lang, tgt_lang), split, src_lang, tgt_lang)
    check_converted(segments)
    return segments


def check_converted(segments: List[Segment]) -> None:
    """Refuses recordings as they were published, which libsndfile does not read: MPEG-4 with AAC.

    Raises:
        DataError: Some are there as .m4a alone; with the command that converts them.
    """
    recordings = [audio for audio, _ in by_file(segments)]
    left = [audio for audio in recordings if audio.suffix == PUBLISHED]
    if left:
        folder = shlex.quote(str(left[0].parent))
        raise DataError(
            f"{len(left)} of {len(recordings)} recordings are there as m4a alone, such as {left[0]}, and m4a cannot be "
            f'read here: convert them, for f in {folder}/*.m4a; do ffmpeg -nostdin -loglevel error -i "$f" -ac 1 '
            '-ar 16000 "${f%.m4a}.flac"; done'
        )


def _pair_folder(root: Union[str, Path], src_lang: str, tgt_lang: str) -> Path:
    if src_lang == tgt_lang:
        rule = "but must differ: transcripts are with each translation (--task asr)"
        raise DataError(f"--src-lang and --tgt-lang are both {src_lang}, {rule}")
    places = [Path(root) / part / src_lang for part in ("", RELEASE)]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        rule = f"ROOT must hold the folder of the language of the speech (--src-lang), or {RELEASE}, in which it is"
        raise DataError(f"{src_lang} is neither in {places[0].parent} nor in {places[1].parent}: {rule}")
    return found / tgt_lang


def _read_split(folder: Path, split: str, src_lang: str, tgt_lang: str) -> List[Segment]:
    place = folder / split
    if not place.is_dir():
        found = sorted(path.name for path in folder.parent.iterdir() if path.is_dir() and path.name != "audios")
        there = f"; {folder.parent} has {', '.join(found)}" if found else ""
        raise DataError(f"{place} is missing: give a language and a split of the corpus (--tgt-lang, --split){there}")
    names = ["segments.lst", *(f"segments.{language}" for language in (src_lang, tgt_lang))]
    lines, sources, targets = (read_lines(place / name) for name in names)
    if not len(lines) == len(sources) == len(targets):
        counts = ", ".join(f"{name} {len(each)}" for name, each in zip(names, (lines, sources, targets)))
        raise DataError(f"{place}: {counts} lines, but they must be parallel: fetch or write these files again")
    find = functools.lru_cache(maxsize=None)(functools.partial(_find, folder.parent / "audios"))
    speakers = _speakers(place)
    segments = [
        _segment(number, line, find, speakers, [*texts, src_lang, tgt_lang])
        for number, (line, *texts) in enumerate(zip(lines, sources, targets), start=1)
    ]
    return named_by_file(segments, place / names[0])


def _segment(
    number: int, line: str, find: Callable[[str], Path], speakers: Dict[str, str], texts: List[str]
) -> Segment:
    """The segment of a line of segments.lst; `texts` are transcript, translation, and the languages of both."""
    audio, offset, duration, speech, fault = Path(), 0.0, 0.0, "", ""
    try:
        speech, offset, duration = _fields(line)
        audio = find(speech)
    except (DataError, OSError) as error:
        fault = f"line {number} of segments.lst cannot be used: {error}"
    return Segment(f"line {number}", audio, offset, duration, speakers.get(speech, ""), *texts, fault)


def _fields(line: str) -> Tuple[str, float, float]:
    """Speech, offset and duration of a line of segments.lst."""
    fields = line.split()
    if len(fields) != 3:
        raise DataError(f"it is {line!r:.80}, but must be a speech, its begin and its end, between spaces")
    begin, end = (check_seconds(value, name) for value, name in zip(fields[1:], ("begin", "end")))
    if end < begin:
        raise DataError(f"it ends at {end} s, before it begins at {begin} s")
    return fields[0], begin, round(end - begin, 6)


def _find(folder: Path, speech: str) -> Path:
    """The recording of a speech; the one that was published where it was not converted."""
    path = find_audio(folder, f"{speech}.wav")
    published = folder / f"{speech}{PUBLISHED}"
    return published if published.exists() and not path.exists() else path


def _speakers(place: Path) -> Dict[str, str]:
    """Who holds each speech of a split; nobody where the corpus does not say it."""
    if not all((place / name).is_file() for name in ("speeches.lst", "speakers.lst")):
        return {}
    speeches, speakers = (read_lines(place / name) for name in ("speeches.lst", "speakers.lst"))
    if len(speeches) != len(speakers):
        counts = f"speeches.lst has {len(speeches)} lines, speakers.lst {len(speakers)}"
        raise DataError(f"{place}: {counts}, but they must be parallel: fetch these files again")
    return dict(zip(speeches, speakers))
