"""Makes a small English-German speech translation corpus in MuST-C's layout: travel phrases, spoken by py-nanotts.

The same options give the same bytes. A talk is some twenty sentences of one speaker (a voice with its speed and pitch)
with pauses between them. Every split appears when it is whole; a finished corpus is reused.

    leap-fairseq prepare travel data/travel --sentences-train 4000
    python data_prep/make_travel_corpus.py data/travel ...          (from a checkout)
"""

import argparse
import ctypes
import functools
import logging
import math
from pathlib import Path
from typing import Iterator, List, NamedTuple, Tuple, Union

import numpy as np

from leap_fairseq.prepare.choices import Choices
from leap_fairseq.prepare.processes import in_order
from leap_fairseq.prepare.synthetic_corpus import GRID, Pair, SyntheticCorpus, VoicedSegment, add_options, write_talk
from leap_fairseq.prepare.travel.grammar import distinct_sentences
from leap_fairseq.speech import SAMPLE_RATE, DataError

logger = logging.getLogger(__name__)

CORPUS, VERSION = "travel", 1
"""Raise VERSION with every change that changes the bytes."""

SENTENCES_PER_TALK = 20
VOICES = ("en-US", "en-GB")
SPEED = (0.85, 1.25)
PITCH = (0.85, 1.2)
PAUSE = (0.3, 1.0)
"""Seconds."""


class Talk(NamedTuple):
    """What one process needs to voice one talk; the seed decides voice, speeds, pitch and pauses."""

    name: str
    speaker: str
    seed: int
    sentences: List[Pair]
    wav_folder: Path


def make_travel_corpus(
    out: Union[str, Path],
    sentences_train: int = 4000,
    sentences_dev: int = 100,
    sentences_test: int = 100,
    seed: int = 1,
    processes: int = 2,
) -> Path:
    """Writes the corpus, or finds it already there; the arguments are the command's. No sentence occurs twice.

    Returns:
        The folder `out`, with `en-de/data/{train,dev,tst-COMMON}` and `corpus.json` (options, sizes).

    Raises:
        DataError: A count below 1 or above what the grammar has, a folder that holds something else, or no py-nanotts.
    """
    counts = {"train": sentences_train, "dev": sentences_dev, "tst-COMMON": sentences_test}
    with SyntheticCorpus(out, CORPUS, VERSION, counts, seed=seed) as corpus:
        pairs = distinct_sentences(sum(counts.values()), seed)
        start = 0
        # Evaluation first: these sentences stay the same when only the size of the training split changes.
        for number, split in enumerate(("tst-COMMON", "dev", "train")):
            wanted = pairs[start : start + counts[split]]
            start += counts[split]
            voice = functools.partial(_voice_split, split, wanted, seed * 10 + number, processes)
            corpus.add_split(split, wanted, voice)
    return corpus.out


def _voice_split(
    split: str, pairs: List[Pair], seed: int, processes: int, wav_folder: Path
) -> Iterator[List[VoicedSegment]]:
    talks = []
    for start in range(0, len(pairs), SENTENCES_PER_TALK):
        number = start // SENTENCES_PER_TALK
        speaker = f"spk.{split}-{number}"
        sentences = pairs[start : start + SENTENCES_PER_TALK]
        talks.append(Talk(f"{CORPUS}_{split}_{number}", speaker, seed * 100_000 + number, sentences, wav_folder))
    return in_order(voice_talk, talks, processes, prepare_voices)


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
    """Speaks one talk, writes its wav and returns its segments."""
    try:
        from py_nanotts import NanoTTS
    except ImportError as error:
        raise DataError(f"the voices need py-nanotts: pip install py-nanotts ({error})") from error
    engine, choices = NanoTTS(), Choices(talk.seed)
    voice, pace, pitch = choices.pick(VOICES), choices.between(*SPEED), round(choices.between(*PITCH), 2)

    def spoken() -> Iterator[Tuple[int, np.ndarray, int]]:
        for english, _ in talk.sentences:
            pause = GRID * math.ceil(int(choices.between(*PAUSE) * SAMPLE_RATE) / GRID)
            speed = round(min(max(pace + choices.between(-0.05, 0.05), SPEED[0]), SPEED[1]), 2)
            sound = engine.speak(english, voice=voice, speed=speed, pitch=pitch)
            yield pause, np.frombuffer(sound, dtype="<i2"), len(english.split())

    return write_talk(talk.wav_folder / f"{talk.name}.wav", talk.speaker, spoken())


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `make_travel_corpus`."""
    add_options(parser, train=4000, dev=100, test=100)


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    make_travel_corpus(**vars(options))
