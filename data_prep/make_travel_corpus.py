"""Makes a small English-German speech translation corpus in MuST-C's layout: travel phrases, spoken by py-nanotts.

The same options give the same bytes. A talk is some twenty sentences of one speaker (a voice with its speed and pitch)
with pauses between them. Every split appears when it is whole; a finished corpus is reused.

    python data_prep/make_travel_corpus.py data/travel --sentences-train 4000
"""

import argparse
import ctypes
import json
import logging
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence, Union

import _checkout  # noqa: F401
import numpy as np
import soundfile
from _command import add_processes, command_parser, in_order, run_command
from travel.choices import Choices
from travel.grammar import distinct_sentences
from travel.lexicon import Pair

from leap_fairseq.files import whole_file, whole_folder
from leap_fairseq.speech import SAMPLE_RATE, DataError

logger = logging.getLogger("make_travel_corpus")

CORPUS, VERSION = "travel", 1
"""Raise VERSION with every change that changes the bytes."""

SENTENCES_PER_TALK = 20
VOICES = ("en-US", "en-GB")
SPEED = (0.85, 1.25)
PITCH = (0.85, 1.2)
PAUSE = (0.3, 1.0)
"""Seconds."""

GRID = 2
"""Samples; offsets and durations are multiples of it, for 2 / 16000 s is exact in the six decimals of the YAML."""

PROGRESS_EVERY = 500


class Talk(NamedTuple):
    """What one process needs to voice one talk; the seed decides voice, speeds, pitch and pauses."""

    name: str
    speaker: str
    seed: int
    sentences: List[Pair]
    wav_folder: Path


class VoicedSegment(NamedTuple):
    """One line of the YAML; times in samples."""

    offset: int
    duration: int
    words: int
    speaker: str
    wav: str


def make_travel_corpus(
    out: Union[str, Path],
    sentences_train: int = 4000,
    sentences_dev: int = 100,
    sentences_test: int = 100,
    seed: int = 1,
    processes: int = 2,
) -> Path:
    """Writes the corpus, or finds it already there.

    Args:
        out: Folder that gets `en-de/data/{train,dev,tst-COMMON}` and `corpus.json` (options, sizes).
        sentences_train: Number of training sentences; no sentence occurs twice in the corpus.
        sentences_dev: Number of validation sentences.
        sentences_test: Number of test sentences (split tst-COMMON).
        seed: Another seed gives other sentences and speakers.
        processes: Worker processes; does not change the bytes.

    Returns:
        The folder `out`.

    Raises:
        DataError: A count below 1 or above what the grammar has, a folder that holds something else, or no py-nanotts.
    """
    out = Path(out)
    counts = {"train": sentences_train, "dev": sentences_dev, "tst-COMMON": sentences_test}
    for split, count in counts.items():
        if count < 1:
            raise DataError(f"{split} is to have {count} sentences, but needs 1 or more (--sentences-...)")
    options = {"corpus": CORPUS, "version": VERSION, "seed": seed, "sentences": counts}
    state = _load_state(out, options)
    pairs = distinct_sentences(sum(counts.values()), seed)
    start = 0
    # Evaluation first: these sentences stay the same when only the size of the training split changes.
    for number, split in enumerate(("tst-COMMON", "dev", "train")):
        folder = out / "en-de" / "data" / split
        wanted = pairs[start : start + counts[split]]
        start += counts[split]
        if split in state["splits"] and state["splits"][split]["bytes"] == _size(folder):
            logger.info("%s: reusing %s", split, folder)
            continue
        state["splits"][split] = _make_split(folder, split, wanted, seed * 10 + number, processes)
        _save_state(out, state)
    return out


def _load_state(out: Path, options: Dict[str, Any]) -> Dict[str, Any]:
    """What corpus.json says is there; a new one if nothing is."""
    path = out / "corpus.json"
    if not path.exists():
        if (out / "en-de").exists():
            raise DataError(f"{out} holds en-de without a corpus.json, so it is another corpus: choose an empty OUT")
        out.mkdir(parents=True, exist_ok=True)
        state = {"options": options, "splits": {}}
        _save_state(out, state)
        return state
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        found = state["options"]
        state["splits"].keys()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"cannot read {path}: it is not a corpus.json of this script; choose another OUT") from error
    if found != options:
        difference = _differences(found, options)
        raise DataError(f"{out} holds the corpus with {difference}: choose another OUT, or delete it")
    return state


def _differences(found: Dict[str, Any], wanted: Dict[str, Any]) -> str:
    names = [name for name in wanted if found.get(name) != wanted[name]] or ["other options"]
    return ", ".join(f"{name} {found.get(name)!r} instead of {wanted.get(name)!r}" for name in names)


def _save_state(out: Path, state: Dict[str, Any]) -> None:
    with whole_file(out / "corpus.json", text=True) as file:
        json.dump(state, file, indent=1, sort_keys=True)
        file.write("\n")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*/*") if path.is_file())


def _make_split(folder: Path, split: str, pairs: List[Pair], seed: int, processes: int) -> Dict[str, Any]:
    """Voices and writes one split; returns its entry of corpus.json."""
    with whole_folder(folder) as partial:
        for name in ("wav", "txt"):
            (partial / name).mkdir()
        talks = _plan_talks(split, pairs, seed, partial / "wav")
        segments: List[VoicedSegment] = []
        for voiced in in_order(voice_talk, talks, processes, prepare_voices):
            if (len(segments) + len(voiced)) // PROGRESS_EVERY > len(segments) // PROGRESS_EVERY:
                logger.info("%s: voiced %d of %d sentences", split, len(segments) + len(voiced), len(pairs))
            segments.extend(voiced)
        _write_texts(partial / "txt", split, pairs, segments)
    seconds = sum(segment.duration for segment in segments) / SAMPLE_RATE
    logger.info("%s: %d sentences, %.1f minutes of speech, %s", split, len(pairs), seconds / 60, folder)
    return {"sentences": len(pairs), "talks": len(talks), "seconds": round(seconds, 3), "bytes": _size(folder)}


def _plan_talks(split: str, pairs: List[Pair], seed: int, wav_folder: Path) -> List[Talk]:
    talks = []
    for start in range(0, len(pairs), SENTENCES_PER_TALK):
        number = start // SENTENCES_PER_TALK
        speaker = f"spk.{split}-{number}"
        sentences = pairs[start : start + SENTENCES_PER_TALK]
        talks.append(Talk(f"{CORPUS}_{split}_{number}", speaker, seed * 100_000 + number, sentences, wav_folder))
    return talks


def prepare_voices() -> None:
    """Makes what a voice says independent of what the process did before; called once in each worker.

    The speech engine reads memory that it never wrote. glibc can be told to hand out zeros only.
    """
    m_perturb = -6  # glibc's malloc.h; new memory is filled with the complement of the given byte
    try:
        ctypes.CDLL(None).mallopt(m_perturb, 0xFF)
    except (AttributeError, OSError, TypeError):
        logger.warning("this C library has no mallopt: the voices may differ in single samples from run to run")


def voice_talk(talk: Talk) -> List[VoicedSegment]:
    """Speaks one talk, writes its wav (16 kHz, mono, 16 bits) and returns its segments."""
    try:
        from py_nanotts import NanoTTS
    except ImportError as error:
        raise DataError(f"the voices need py-nanotts: pip install py-nanotts ({error})") from error
    engine, choices = NanoTTS(), Choices(talk.seed)
    voice, pace, pitch = choices.pick(VOICES), choices.between(*SPEED), round(choices.between(*PITCH), 2)
    wav = f"{talk.name}.wav"
    pieces, segments, offset = [], [], 0
    for english, _ in talk.sentences:
        pause = _on_grid(int(choices.between(*PAUSE) * SAMPLE_RATE))
        speed = round(min(max(pace + choices.between(-0.05, 0.05), SPEED[0]), SPEED[1]), 2)
        spoken = np.frombuffer(engine.speak(english, voice=voice, speed=speed, pitch=pitch), dtype="<i2")
        duration = _on_grid(len(spoken))
        offset += pause
        segments.append(VoicedSegment(offset, duration, len(english.split()), talk.speaker, wav))
        pieces += [np.zeros(pause, np.int16), spoken, np.zeros(duration - len(spoken), np.int16)]
        offset += duration
    soundfile.write(talk.wav_folder / wav, np.concatenate(pieces), SAMPLE_RATE, subtype="PCM_16")
    return segments


def _on_grid(samples: int) -> int:
    return -(-samples // GRID) * GRID


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


def _parse_arguments() -> argparse.Namespace:
    parser = command_parser(__doc__)
    parser.add_argument("out", metavar="OUT", help="folder for the corpus")
    for split, count, name in (("train", 4000, "train"), ("dev", 100, "dev"), ("test", 100, "tst-COMMON")):
        text = f"number of sentences of {name}"
        parser.add_argument(f"--sentences-{split}", type=int, default=count, metavar="N", help=text)
    parser.add_argument("--seed", type=int, default=1, help="another seed gives another corpus")
    add_processes(parser, default=2)
    return parser.parse_args()


def main() -> None:
    """The command line."""
    arguments = _parse_arguments()
    make_travel_corpus(
        arguments.out,
        arguments.sentences_train,
        arguments.sentences_dev,
        arguments.sentences_test,
        arguments.seed,
        arguments.processes,
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
