"""Digit strings from recordings: what is said is what is written, and nobody of the test is heard in training."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from leap_fairseq.prepare.choices import Choices
from leap_fairseq.prepare.digits import (
    BANDS,
    ENGLISH,
    GERMAN,
    MIXED,
    OWN_TEST_SPLIT,
    PLAIN,
    TRAINING,
    _coloured,
    _join_string,
    _plan,
    choose_voices,
    make_digits_corpus,
    read_recordings,
)
from leap_fairseq.prepare.synthetic_corpus import GRID
from leap_fairseq.speech import DataError, load_audio
from leap_fairseq.speech.mustc import read_split

RATE = 8000
SPEAKERS = ("ann", "bob", "eve")
FSDD = Path(__file__).parents[3] / "shared/data/fsdd/recordings.tar.gz"


def pitch(digit, speaker):
    """Each speaker says each digit as a tone of its own, Hz."""
    return 300 + 100 * digit + 20 * SPEAKERS.index(speaker)


def tones_of(samples, rate=16000):
    """The tones of a string, in order: the loudest frequency of each loud stretch."""
    loud = np.abs(samples) > 0.3 * np.abs(samples).max()
    edges = np.flatnonzero(np.diff(np.concatenate([[0], loud, [0]])))
    found, start = [], edges[0]
    for end, following in zip(edges[1::2], [*edges[2::2], None]):
        if following is None or following - end > rate // 20:
            spectrum = np.abs(np.fft.rfft(samples[start:end]))
            found.append(spectrum.argmax() * rate / (end - start))
            start = following
    return found


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recordings")
    for speaker in SPEAKERS:
        for digit in range(10):
            for index in range(OWN_TEST_SPLIT + 2):
                time = np.arange(int(RATE * (0.2 + 0.01 * index))) / RATE
                tone = 0.1 * np.sin(2 * np.pi * pitch(digit, speaker) * time)
                soundfile.write(folder / f"{digit}_{speaker}_{index}.wav", tone, RATE, subtype="PCM_16")
    return folder


def make(recordings, out, **options):
    counts = dict(sentences_train=84, sentences_dev=6, sentences_test=7)
    return make_digits_corpus(recordings, out, **{**counts, "test_speakers": ("eve",), **options})


@pytest.fixture(scope="module")
def corpus(recordings, tmp_path_factory):
    return make(recordings, tmp_path_factory.mktemp("digits") / "corpus")


@pytest.mark.parametrize("split, count", [("train", 84), ("dev", 6), ("tst-COMMON", 7)])
def test_what_is_heard_is_what_is_written(corpus, split, count):
    segments = read_split(corpus, split, "de")
    assert len(segments) == count
    for segment in segments:
        if split == "train" and int(segment.audio.stem.split("_")[-1]) // 2 % 2:
            continue  # a talk with strong noise, in which tones cannot be counted
        digits = [GERMAN.index(word) for word in segment.tgt_text.split()]
        assert segment.src_text.split() == [ENGLISH[digit] for digit in digits]
        tones = tones_of(load_audio(str(segment.audio), segment.offset, segment.duration))
        assert len(tones) == len(digits)
        wanted = np.array([pitch(digit, segment.speaker) for digit in digits])
        if split == "train":  # one speed for the whole string
            speed = np.mean(np.array(tones) / wanted)
            assert 0.78 < speed < 1.27
            wanted = wanted * speed
        np.testing.assert_allclose(tones, wanted, atol=8)


def test_talks_of_a_speaker_vary_weakly_and_strongly_in_turn(corpus):
    levels = {}
    for segment in read_split(corpus, "train", "de"):
        samples = load_audio(str(segment.audio), segment.offset, segment.duration)
        level = 10 * np.log10(np.mean(np.square(samples)))
        levels.setdefault(int(segment.audio.stem.split("_")[-1]) // 2 % 2, []).append(level)
    weak, strong = levels[0], levels[1]
    assert -30.2 < min(weak) and max(weak) < -17.8
    assert -36.5 < min(strong) < -30.2 and max(strong) < -15.5


def test_mixed_talks_have_the_recordings_of_all_training_speakers_and_of_no_other(recordings):
    found, rate = read_recordings(recordings)
    speaker_of = {id(samples): speaker for (_, speaker, _), samples in found.items()}
    talks, _ = _plan("train", 84, choose_voices(found, ["eve"])["train"], 1, rate, TRAINING)
    heard = {(talk.speaker, speaker_of[id(x)]) for talk in talks for string in talk.strings for x in string}
    assert heard == {("ann", "ann"), ("bob", "bob"), (MIXED, "ann"), (MIXED, "bob")}


@pytest.mark.parametrize("mixed", [False, True])
def test_a_mixed_string_has_a_speed_for_each_digit_and_equal_levels(mixed):
    times = [np.arange(int(RATE * seconds)) / RATE for seconds in (0.3, 0.4, 0.5)]
    digits = [level * np.sin(2 * np.pi * 800 * time) for level, time in zip((0.01, 0.1, 0.9), times)]
    if not mixed:
        digits = [digit / np.abs(digit).max() for digit in digits]
    variation = PLAIN._replace(mixed=mixed, speed=(0.7, 1.45), noise=(-60.0, -60.0))
    joined = _join_string(digits, RATE, Choices(3), np.random.RandomState(0), variation)
    assert len(joined) % GRID == 0
    speeds = np.array(tones_of(joined)) / 800
    assert len(speeds) == 3 and 0.69 < min(speeds) and max(speeds) < 1.46
    assert (np.ptp(speeds) > 0.1) == mixed


def test_colour_is_the_gain_at_its_band():
    time = np.arange(16000) / 16000
    for frequency, gain in zip(BANDS[1:], (-8.0, 4.0, 0.0, 8.0, -2.0)):
        tone = np.sin(2 * np.pi * frequency * time)
        coloured = _coloured(tone, [1.0, -8.0, 4.0, 0.0, 8.0, -2.0])
        assert 20 * np.log10(np.std(coloured) / np.std(tone)) == pytest.approx(gain, abs=0.1)


def test_lengths_and_speakers(corpus):
    splits = {split: read_split(corpus, split, "de") for split in ("train", "dev", "tst-COMMON")}
    lengths = {split: {len(s.tgt_text.split()) for s in segments} for split, segments in splits.items()}
    assert min(lengths["train"]) == 1 and min(lengths["dev"] | lengths["tst-COMMON"]) >= 2
    assert max(set.union(*lengths.values())) <= 12
    assert {s.speaker for s in splits["train"]} == {"ann", "bob", MIXED}
    assert {s.speaker for s in splits["dev"]} <= {"ann", "bob"}
    assert {s.speaker for s in splits["tst-COMMON"]} == {"eve"}


def test_a_tar_and_another_number_of_processes_give_the_same_bytes(recordings, corpus, tmp_path, hashes):
    with tarfile.open(tmp_path / "recordings.tar.gz", "w:gz") as tar:
        tar.add(recordings, "recordings")
    again = make(tmp_path / "recordings.tar.gz", tmp_path / "again", processes=1)
    assert hashes(again) == hashes(corpus)


def test_a_finished_corpus_is_reused_and_another_refused(recordings, corpus, caplog):
    caplog.set_level("INFO")
    make(recordings, corpus)
    assert caplog.text.count("reusing") == 3
    with pytest.raises(DataError, match="test_speakers .'eve'. instead of .'ann'."):
        make(recordings, corpus, test_speakers=("ann",))
    assert json.loads((corpus / "corpus.json").read_text())["options"]["corpus"] == "digits"


def test_wrong_recordings_and_speakers_are_named(recordings, tmp_path):
    with pytest.raises(DataError, match="must name some of the speakers.*ann, bob, eve"):
        make(recordings, tmp_path / "x", test_speakers=("carl",))
    with pytest.raises(DataError, match="leave some for training"):
        make(recordings, tmp_path / "x", test_speakers=SPEAKERS)
    with pytest.raises(DataError, match="holds no DIGIT_SPEAKER_INDEX.wav"):
        make(tmp_path, tmp_path / "x")
    with pytest.raises(DataError, match="dev is to have 0 sentences"):
        make(recordings, tmp_path / "x", sentences_dev=0)
    (tmp_path / "torn.tar.gz").write_bytes(b"\x1f\x8b\x08\x00")
    with pytest.raises(DataError, match="cannot read .*torn.tar.gz"):
        make(tmp_path / "torn.tar.gz", tmp_path / "x")
    (tmp_path / "1_ann_0.wav").write_bytes(b"RIFF")
    with pytest.raises(DataError, match="cannot read 1_ann_0.wav in .*: fetch the recordings again"):
        make(tmp_path, tmp_path / "x")
    soundfile.write(tmp_path / "1_ann_0.wav", np.zeros(800), 8000)
    soundfile.write(tmp_path / "2_ann_0.wav", np.zeros(800), 16000)
    with pytest.raises(DataError, match="of one rate"):
        make(tmp_path, tmp_path / "x")


@pytest.mark.skipif(not FSDD.is_file(), reason="needs the Free Spoken Digit Dataset in ../shared")
def test_the_real_recordings(tmp_path):
    found, rate = read_recordings(FSDD)
    assert len(found) == 3000 and rate == 8000
    assert {speaker for _, speaker, _ in found} == {"george", "jackson", "lucas", "nicolas", "theo", "yweweler"}
