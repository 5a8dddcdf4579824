"""Speech is found in every recording of it, however quiet, and in no kind of silence."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile

from leap_fairseq.speech import SAMPLE_RATE, OnlineResampler, fbank, load_audio
from leap_fairseq.speech.voice_activity import OPENS_DB, SHORTEST, SpeechDetector, level

DATA = Path(__file__).parents[3] / "shared/data"
TIME = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE


def white(decibels):
    return np.random.default_rng(3).standard_normal(TIME.size) * 10 ** (decibels / 20)


def steps():
    """An offset that comes and goes."""
    return np.where(TIME % 0.5 < 0.25, 0.2, -0.1)


def clicks():
    return np.where(np.arange(TIME.size) % 4001 == 0, 0.9, 0.0)


SILENCES = {
    "digital zero": np.zeros(TIME.size),
    "dither": np.random.default_rng(1).uniform(-1, 1, TIME.size) / 32768,
    "noise of -70 dBFS": white(-70),
    "offset": np.full(TIME.size, 0.3),
    "steps": steps(),
    "clicks": clicks(),
    "hum": 10 ** (-55 / 20) * np.sin(2 * np.pi * 50 * TIME),
    "hum with overtones": 10 ** (-70 / 20) * sum(np.sin(2 * np.pi * 50 * n * TIME) / n for n in range(1, 12)),
    "rounded hum": np.round(20 * np.sin(2 * np.pi * 60 * TIME)) / 32768,
}


def detect(samples, sizes=None):
    """Frames of speech, and those that stand out."""
    features, detector = fbank(samples.astype(np.float32)), SpeechDetector()
    parts = [features] if sizes is None else np.split(features, np.cumsum(sizes))
    found = [detector.push(part) for part in parts]
    assert detector.frames == len(features)
    return tuple([frame for part in found for frame in part[which]] for which in (0, 1))


def spoken(text="hundred and five trains to Hamburg"):
    nanotts = pytest.importorskip("py_nanotts")
    return np.frombuffer(nanotts.NanoTTS().speak(text, voice="en-GB"), "<i2").astype(np.float32) / 32768


def at_peak(samples, decibels):
    return samples / np.abs(samples).max() * 10 ** (decibels / 20)


@pytest.mark.parametrize("name", SILENCES)
def test_silence_has_no_speech(name):
    assert detect(SILENCES[name]) == ([], [])


def test_the_control_that_sound_is_heard():
    for samples in (white(-62), 10 * SILENCES["noise of -70 dBFS"], 0.01 * np.sin(2 * np.pi * 440 * TIME)):
        speech, standing_out = detect(samples)
        assert len(speech) > 150 and len(standing_out) > 150
    burst = np.where((TIME > 1) & (TIME < 1.08), 0.05 * np.sin(2 * np.pi * 300 * TIME), 0.0)
    assert len(detect(burst)[0]) > SHORTEST


def test_the_level_is_relative_to_full_scale():
    for hertz in (300, 1000, 3000):
        for decibels in (0, -20, -60):
            sine = 10 ** (decibels / 20) * np.sin(2 * np.pi * hertz * TIME)
            assert np.median(level(fbank(sine.astype(np.float32)))) == pytest.approx(decibels, abs=0.6)


@pytest.mark.parametrize("peak", [0, -20, -50])
def test_voices_are_heard_from_their_first_sound(peak):
    samples = at_peak(spoken(), peak)
    speech, _ = detect(samples)
    energy = np.square(samples[: len(samples) // 160 * 160]).reshape(-1, 160).mean(axis=1)
    first_sound = int(np.flatnonzero(energy > energy.max() / 1000)[0])
    assert abs(speech[0] - first_sound) <= 6


def test_what_is_faint_against_the_speech_does_not_stand_out():
    samples = np.concatenate([spoken(), np.zeros(2 * SAMPLE_RATE)]) + 0.003 * np.random.default_rng(0).standard_normal(
        len(spoken()) + 2 * SAMPLE_RATE
    )
    speech, standing_out = detect(samples)
    assert speech[-1] / 100 == pytest.approx(len(samples) / SAMPLE_RATE, abs=0.05)
    assert standing_out[-1] / 100 == pytest.approx(len(spoken()) / SAMPLE_RATE, abs=0.4)


def test_it_does_not_depend_on_the_cuts():
    samples = np.concatenate([np.zeros(8000), at_peak(spoken(), -50), np.zeros(3000), spoken()])
    whole, frames = detect(samples), len(fbank(samples.astype(np.float32)))
    for sizes in ([1] * frames, [3] * (frames // 3), [0, 7, 0, 100, 1]):
        assert detect(samples, sizes) == whole
    control = [detect(part)[0] for part in np.split(samples, [12000])]
    assert control[0] + [frame + 75 for frame in control[1]] != whole[0]


def recordings():
    files = [*(DATA / "speech-fixtures").rglob("*.flac"), *(DATA / "speech-fixtures").rglob("*.wav")]
    return sorted(files)[::4] + sorted((DATA / "librispeech-sample/audio").rglob("*.flac"))[::12]


@pytest.mark.skipif(not recordings(), reason="needs ../shared/data/speech-fixtures")
@pytest.mark.parametrize("disturbed", ["not at all", "by noise", "by clipping"])
def test_recorded_speech_is_heard(disturbed):
    for path in recordings():
        samples = load_audio(str(path))[: 3 * SAMPLE_RATE]
        quiet = at_peak(samples, -50)
        if disturbed == "by noise":
            quiet = quiet + white(-70)[np.arange(len(quiet)) % TIME.size]
        if disturbed == "by clipping":
            quiet = at_peak(np.clip(samples, -0.1 * np.abs(samples).max(), 0.1 * np.abs(samples).max()), -50)
        assert len(detect(quiet)[0]) >= 10, path


@pytest.mark.skipif(not (DATA / "fsdd").is_dir(), reason="needs ../shared/data/fsdd")
def test_single_digits_are_heard():
    with tarfile.open(DATA / "fsdd/recordings.tar.gz") as archive:
        names = [name for name in archive.getnames() if name.endswith(".wav")][::40]
        for name in names:
            samples, rate = soundfile.read(io.BytesIO(archive.extractfile(name).read()), dtype="float32")
            assert detect(at_peak(OnlineResampler(rate).push(samples, last=True), -50))[0], name
    assert len(names) > 50


def test_the_margins():
    """What the thresholds are between: the loudest silence, and the quietest voice."""
    loudest = max(sustained(SILENCES[name]) for name in SILENCES)
    assert loudest < OPENS_DB - 2 < OPENS_DB + 5 < sustained(at_peak(spoken(), -50))


def sustained(samples):
    """The highest level that enough frames in a row reach."""
    levels = level(fbank(samples.astype(np.float32)))
    return np.lib.stride_tricks.sliding_window_view(levels, SHORTEST).min(axis=1).max()
