"""Corpora that a command makes itself, in MuST-C's layout: splits that are whole or absent, and reused when complete.

The commands `travel` and `digits` only make the sound. `corpus.json` says from which options a corpus was made.
"""

import argparse
import contextlib
import json
import logging
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Sequence, Tuple, Union

import numpy as np
import soundfile

from leap_fairseq.files import DataError, locked, whole_file, whole_folder
from leap_fairseq.prepare.processes import add_processes
from leap_fairseq.speech import SAMPLE_RATE

logger = logging.getLogger(__name__)

GRID = 2
"""Samples; offsets and durations are multiples of it, for 2 / 16000 s is exact in the six decimals of the YAML."""

PROGRESS_EVERY = 500

Pair = Tuple[str, str]
"""What is said, in English, and its German translation."""


class VoicedSegment(NamedTuple):
    """One line of the YAML; times in samples, on the grid."""

    offset: int
    duration: int
    words: int
    speaker: str
    wav: str


def write_talk(path: Path, speaker: str, sentences: Iterable[Tuple[int, np.ndarray, int]]) -> List[VoicedSegment]:
    """Writes the wav of one talk: 16 kHz, mono, 16 bits.

    Args:
        path: The file.
        speaker: Name.
        sentences: Of each the pause before it, in samples on the grid; its samples [N]; the number of its words.
    """
    pieces, segments, offset = [], [], 0
    for pause, samples, words in sentences:
        samples = np.pad(samples, (0, -len(samples) % GRID))
        segments.append(VoicedSegment(offset + pause, len(samples), words, speaker, path.name))
        pieces += [np.zeros(pause, samples.dtype), samples]
        offset += pause + len(samples)
    soundfile.write(path, np.concatenate(pieces), SAMPLE_RATE, subtype="PCM_16")
    return segments


class SyntheticCorpus:
    """The folder of one corpus, as a context in which no other process changes it.

    Args:
        out: Folder that gets `en-de/data/SPLIT` and corpus.json.
        corpus: Its name.
        version: Of what makes it.
        sentences: How many each split is to have.
        **options: Everything else that decides its bytes, as plain data.

    Raises:
        DataError: A split is to have no sentence; or, when it is entered, another process is at it, or the folder holds
            something else, or the same corpus from other options.
    """

    def __init__(self, out: Union[str, Path], corpus: str, version: int, sentences: Dict[str, int], **options: Any):
        for split, count in sentences.items():
            if count < 1:
                raise DataError(f"{split} is to have {count} sentences, but needs 1 or more (--sentences-...)")
        self.out = Path(out)
        self._options = {"corpus": corpus, "version": version, "sentences": sentences, **options}
        self._context = contextlib.ExitStack()

    def __enter__(self) -> "SyntheticCorpus":
        self.out.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(self.out))
            self._splits = self._load()
            self._context = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._context.close()

    def add_split(
        self, split: str, pairs: Sequence[Pair], voice: Callable[[Path], Iterable[List[VoicedSegment]]]
    ) -> None:
        """Makes a split, or finds it done.

        Args:
            split: For example train.
            pairs: Its sentences.
            voice: Writes the wavs into the folder it is given, and yields the segments talk by talk, in the order of
                the sentences.
        """
        folder = self.out / "en-de" / "data" / split
        if split in self._splits and self._splits[split]["bytes"] == _size(folder):
            logger.info("%s: reusing %s", split, folder)
            return
        with whole_folder(folder) as partial:
            for name in ("wav", "txt"):
                (partial / name).mkdir()
            segments: List[VoicedSegment] = []
            for talk in voice(partial / "wav"):
                if (len(segments) + len(talk)) // PROGRESS_EVERY > len(segments) // PROGRESS_EVERY:
                    logger.info("%s: voiced %d of %d sentences", split, len(segments) + len(talk), len(pairs))
                segments.extend(talk)
            _write_texts(partial / "txt", split, pairs, segments)
        seconds = sum(segment.duration for segment in segments) / SAMPLE_RATE
        logger.info("%s: %d sentences, %.1f minutes of speech, %s", split, len(pairs), seconds / 60, folder)
        talks = len({segment.wav for segment in segments})
        facts = {"sentences": len(pairs), "talks": talks, "seconds": round(seconds, 3), "bytes": _size(folder)}
        self._splits[split] = facts
        self._save()

    def _load(self) -> Dict[str, Any]:
        """The splits that corpus.json says are there."""
        path = self.out / "corpus.json"
        if not path.exists():
            if (self.out / "en-de").exists():
                rule = "holds en-de without a corpus.json, so it is another corpus"
                raise DataError(f"{self.out} {rule}: choose an empty OUT")
            self._splits = {}
            self._save()
            return self._splits
        try:
            state = json.loads(path.read_text(encoding="utf-8"))
            found, splits = state["options"], state["splits"]
            splits.keys()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            rule = "it is not a corpus.json of this command"
            raise DataError(f"cannot read {path}: {rule}; choose another OUT") from error
        if found != self._options:
            difference = _differences(found, self._options)
            raise DataError(f"{self.out} holds the corpus with {difference}: choose another OUT, or delete it")
        return splits

    def _save(self) -> None:
        with whole_file(self.out / "corpus.json", text=True) as file:
            json.dump({"options": self._options, "splits": self._splits}, file, indent=1, sort_keys=True)
            file.write("\n")


def add_options(parser: argparse.ArgumentParser, **sentences: int) -> None:
    """Adds OUT, --seed, -j and the numbers of sentences, with these defaults for train, dev and test."""
    parser.add_argument("out", metavar="OUT", help="folder for the corpus")
    for split, count in sentences.items():
        text = f"number of sentences of {'tst-COMMON' if split == 'test' else split}"
        parser.add_argument(f"--sentences-{split}", type=int, default=count, metavar="N", help=text)
    parser.add_argument("--seed", type=int, default=1, help="another seed gives another corpus")
    add_processes(parser, default=2)


def _differences(found: Dict[str, Any], wanted: Dict[str, Any]) -> str:
    names = [name for name in wanted if found.get(name) != wanted[name]] or ["other options"]
    return ", ".join(f"{name} {found.get(name)!r} instead of {wanted.get(name)!r}" for name in names)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/*") if path.is_file())


def _write_texts(folder: Path, split: str, pairs: Sequence[Pair], segments: Sequence[VoicedSegment]) -> None:
    for position, language in enumerate(("en", "de")):
        with whole_file(folder / f"{split}.{language}", text=True) as file:
            file.writelines(f"{pair[position]}\n" for pair in pairs)
    with whole_file(folder / f"{split}.yaml", text=True) as file:
        for segment in segments:
            file.write(
                f"- {{duration: {segment.duration / SAMPLE_RATE:.6f}, offset: {segment.offset / SAMPLE_RATE:.6f},"
                f" rW: {segment.words}, speaker_id: {segment.speaker}, wav: {segment.wav}}}\n"
            )
