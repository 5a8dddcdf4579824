"""Makes a corpus of spoken digit strings with German translations in MuST-C's layout, from real human recordings.

    leap-fairseq prepare digits RECORDINGS data/digits
    python data_prep/make_digits_corpus.py RECORDINGS data/digits    (from a checkout)

RECORDINGS holds the files of the Free Spoken Digit Dataset (github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA
4.0), DIGIT_SPEAKER_INDEX.wav, in a folder, a checkout, a zip or a tar. A string is 2 to 12 digits of one speaker with
varied pauses. The speakers of the test are not heard in training; dev has the training speakers, but the recordings of
the dataset's own test split (index 0 to 4). Training strings vary in speed, level, noise and colour, and half of them
have another voice for each digit.
"""

import argparse
import functools
import io
from pathlib import Path
from typing import Dict, Iterator, List, NamedTuple, Sequence, Tuple, Union

import numpy as np
import soundfile
import soxr

from leap_fairseq.files import DataError, digest
from leap_fairseq.prepare.choices import Choices
from leap_fairseq.prepare.processes import in_order
from leap_fairseq.prepare.sources import files_of
from leap_fairseq.prepare.synthetic_corpus import GRID, Pair, SyntheticCorpus, VoicedSegment, add_options, write_talk
from leap_fairseq.speech import SAMPLE_RATE
from leap_fairseq.speech.sound_file import check_samples

CORPUS, VERSION = "digits", 3
"""Raise VERSION with every change that changes the bytes."""

ENGLISH = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
GERMAN = ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
RECORDINGS = r"(?P<digit>\d)_(?P<speaker>[a-z]+)_(?P<index>\d+)\.wav"
TEST_SPEAKERS = ("theo", "yweweler")
OWN_TEST_SPLIT = 5
"""Recordings with a lower index are the dataset's own test split."""

LENGTHS = range(2, 13)
SHORT = range(1, 4)
"""Half of the training strings have so few digits: a model finds the digits there first, then in the long ones."""

STRINGS_PER_TALK = 20
PAUSE = (0.1, 0.4)
"""Seconds between two digits."""

GAP = (0.5, 1.0)
"""Seconds between two strings."""

BANDS = (0.0, 250.0, 500.0, 1000.0, 2000.0, 4000.0)
"""Hz, where the colour of a room or microphone is drawn; between them it is interpolated, above the last it stays."""

Voice = Dict[int, List[np.ndarray]]
"""The recordings of each digit by one speaker, floats [N]."""


class Variation(NamedTuple):
    """From what to what the strings of a talk differ, beside their digits and pauses.

    Attributes:
        mixed: Each digit has its own speaker, speed and colour; else they are drawn for the string.
        speed: Of resampling, so that pitch and formants move with it: further voices.
        level: RMS of a string, dB of full scale. The speakers' own levels are 20 dB apart.
        noise: White noise under a string, dB of its RMS: else there would be silence that no microphone has.
        colour: Gain at each of BANDS, dB.
    """

    mixed: bool
    speed: Tuple[float, float]
    level: Tuple[float, float]
    noise: Tuple[float, float]
    colour: Tuple[float, float]


PLAIN = Variation(False, (1.0, 1.0), (-24.0, -24.0), (-35.0, -35.0), (0.0, 0.0))
TRAINING = (
    Variation(False, (0.8, 1.25), (-30.0, -18.0), (-45.0, -25.0), (0.0, 0.0)),
    Variation(True, (0.7, 1.45), (-36.0, -16.0), (-50.0, -12.0), (-8.0, 8.0)),
)
"""In turn from talk to talk of a speaker: a model finds the digits in the first, and in the second, which has many
more voices than there are speakers, what those of others need."""

MIXED = "mixed"
"""Names the speaker where there are several."""


class Talk(NamedTuple):
    """The strings of one speaker that one process joins; `digits` are the recordings of each string."""

    name: str
    speaker: str
    seed: int
    strings: List[List[np.ndarray]]
    rate: int
    variation: Variation


def make_digits_corpus(
    recordings: Union[str, Path],
    out: Union[str, Path],
    sentences_train: int = 12000,
    sentences_dev: int = 100,
    sentences_test: int = 200,
    test_speakers: Sequence[str] = TEST_SPEAKERS,
    seed: int = 1,
    processes: int = 2,
) -> Path:
    """Writes the corpus, or finds it already there; the arguments are the command's.

    Returns:
        The folder `out`, with `en-de/data/{train,dev,tst-COMMON}` and `corpus.json`.

    Raises:
        DataError: A count below 1, recordings that are missing or of several rates, an unknown speaker or none left,
            or a folder that holds something else.
        AudioError: Samples of a recording are none (see `sound_file.check_samples`).
    """
    counts = {"train": sentences_train, "dev": sentences_dev, "tst-COMMON": sentences_test}
    found, rate = read_recordings(recordings)
    voices = choose_voices(found, sorted(set(test_speakers)))
    options = {"seed": seed, "test_speakers": sorted(set(test_speakers))}
    options["recordings"] = digest({str(key): float(np.abs(samples).sum()) for key, samples in sorted(found.items())})
    with SyntheticCorpus(out, CORPUS, VERSION, counts, **options) as corpus:
        for number, (split, count) in enumerate(counts.items()):
            variations = TRAINING if split == "train" else (PLAIN,)
            talks, pairs = _plan(split, count, voices[split], seed * 10 + number, rate, variations)
            corpus.add_split(split, pairs, functools.partial(_join_talks, talks, processes))
    return corpus.out


def read_recordings(path: Union[str, Path]) -> Tuple[Dict[Tuple[int, str, int], np.ndarray], int]:
    """Reads all recordings.

    Args:
        path: A folder that holds the wavs, at any depth, or a zip or tar of one.

    Returns:
        The samples, float32 [N], by (digit, speaker, index); and their rate in Hz.

    Raises:
        DataError: There are none, or one cannot be read, or they have several rates or channels.
        AudioError: Samples of a recording are none (see `sound_file.check_samples`).
    """
    found, rates = {}, set()
    for file in files_of(path, RECORDINGS):
        try:
            samples, rate = soundfile.read(io.BytesIO(file.content), dtype="float32", always_2d=True)
        except RuntimeError as error:
            raise DataError(f"cannot read {file.name} in {path}: fetch the recordings again ({error})") from error
        check_samples(samples, f"{file.name} in {path}: the samples")
        digit, speaker, index = file.groups.values()
        found[int(digit), speaker, int(index)] = samples[:, 0]
        rates.add((rate, samples.shape[1]))
    if not found:
        raise DataError(f"{path} holds no DIGIT_SPEAKER_INDEX.wav: give recordings/ of the Free Spoken Digit Dataset")
    if len(rates) > 1 or {channels for _, channels in rates} != {1}:
        raise DataError(f"the recordings have (Hz, channels) {sorted(rates)}, but must be mono and of one rate")
    return found, rates.pop()[0]


def choose_voices(
    found: Dict[Tuple[int, str, int], np.ndarray], test_speakers: Sequence[str]
) -> Dict[str, Dict[str, Voice]]:
    """Which recordings each split may use: for each split and speaker those of each digit.

    Raises:
        DataError: An unknown speaker, no speaker for training, or a digit without a recording.
    """
    speakers = sorted({speaker for _, speaker, _ in found})
    unknown = sorted(set(test_speakers) - set(speakers))
    if unknown or not test_speakers or len(test_speakers) == len(speakers):
        wanted = " ".join(test_speakers)
        rule = "must name some of the speakers, and leave some for training"
        raise DataError(f"--test-speakers {wanted} {rule}: {', '.join(speakers)}")
    voices: Dict[str, Dict[str, Voice]] = {"train": {}, "dev": {}, "tst-COMMON": {}}
    for (digit, speaker, index), samples in sorted(found.items()):
        split = "tst-COMMON" if speaker in test_speakers else "dev" if index < OWN_TEST_SPLIT else "train"
        voices[split].setdefault(speaker, {}).setdefault(digit, []).append(samples)
    for split, of_split in voices.items():
        if not of_split or any(len(voice) < len(ENGLISH) for voice in of_split.values()):
            raise DataError(f"the recordings for {split} lack a digit of a speaker: fetch all of them again")
    return voices


def _plan(
    split: str, count: int, voices: Dict[str, Voice], seed: int, rate: int, variations: Sequence[Variation]
) -> Tuple[List[Talk], List[Pair]]:
    """Draws the strings: the talks of the speakers in turn, and what is said in them."""
    choices, talks, pairs = Choices(seed), [], []
    lengths = (LENGTHS, SHORT) if split == "train" else (LENGTHS,)
    speakers = sorted(voices)
    for start in range(0, count, STRINGS_PER_TALK):
        number = start // STRINGS_PER_TALK
        own = speakers[number % len(speakers)]
        variation = variations[number // len(speakers) % len(variations)]
        strings = []
        for _ in range(min(STRINGS_PER_TALK, count - start)):
            length = choices.pick(choices.pick(lengths))
            digits = [choices.pick(range(len(ENGLISH))) for _ in range(length)]
            heard = [choices.pick(speakers) if variation.mixed else own for _ in digits]
            strings.append([choices.pick(voices[speaker][digit]) for speaker, digit in zip(heard, digits)])
            pairs.append(tuple(" ".join(words[digit] for digit in digits) for words in (ENGLISH, GERMAN)))
        name = f"{CORPUS}_{split}_{number}"
        label = MIXED if variation.mixed else own
        talks.append(Talk(name, label, seed * 100_000 + number, strings, rate, variation))
    return talks, pairs


def _join_talks(talks: List[Talk], processes: int, wav_folder: Path) -> Iterator[List[VoicedSegment]]:
    return in_order(functools.partial(join_talk, wav_folder), talks, processes)


def join_talk(wav_folder: Path, talk: Talk) -> List[VoicedSegment]:
    """Joins the recordings of one talk, writes its wav and returns its segments."""
    choices, noise = Choices(talk.seed), np.random.RandomState(talk.seed % 2**32)

    def strings() -> Iterator[Tuple[int, np.ndarray, int]]:
        for digits in talk.strings:
            gap = GRID * int(choices.between(*GAP) * SAMPLE_RATE / GRID)
            yield gap, _join_string(digits, talk.rate, choices, noise, talk.variation), len(digits)

    return write_talk(wav_folder / f"{talk.name}.wav", talk.speaker, strings())


def _join_string(
    digits: List[np.ndarray], rate: int, choices: Choices, noise: np.random.RandomState, variation: Variation
) -> np.ndarray:
    """One string, float32 [N] with N on the grid."""
    level, below = choices.between(*variation.level), choices.between(*variation.noise)
    pieces = []
    for number, samples in enumerate(digits):
        if number == 0 or variation.mixed:
            speed = choices.between(*variation.speed)
            gains = [choices.between(*variation.colour) for _ in BANDS]
        pieces.append(np.zeros(int(choices.between(*PAUSE) * SAMPLE_RATE), np.float32))
        spoken = _coloured(soxr.resample(samples, rate * speed, SAMPLE_RATE), gains)
        pieces.append(spoken / _rms(spoken) if variation.mixed else spoken)
    joined = np.concatenate(pieces[1:])  # no pause before the first
    joined = np.pad(joined, (0, -len(joined) % GRID))
    gain = 10 ** (level / 20)
    result = joined * (gain / _rms(joined)) + noise.standard_normal(len(joined)) * gain * 10 ** (below / 20)
    return np.clip(result, -1.0, 1.0).astype(np.float32)


def _rms(samples: np.ndarray) -> float:
    return np.sqrt(np.mean(np.square(samples), dtype=np.float64)) or 1.0


def _coloured(samples: np.ndarray, gains: List[float]) -> np.ndarray:
    """The samples [N] with these gains, dB, at BANDS."""
    if not any(gains):
        return samples
    spectrum = np.fft.rfft(samples.astype(np.float64))
    frequencies = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    return np.fft.irfft(spectrum * 10 ** (np.interp(frequencies, BANDS, gains) / 20), len(samples))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `make_digits_corpus`."""
    parser.add_argument("recordings", metavar="RECORDINGS", help="folder, zip or tar of the recordings")
    add_options(parser, train=12000, dev=100, test=200)
    text = "speakers that only the test has"
    parser.add_argument("--test-speakers", nargs="+", default=TEST_SPEAKERS, metavar="NAME", help=text)


def run(options: argparse.Namespace) -> None:
    """Runs the command."""
    make_digits_corpus(**vars(options))
