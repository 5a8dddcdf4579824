"""Reading and resampling audio: parts of files, rates, channels, cuts, and what is refused."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from leap_fairseq.speech import (
    SAMPLE_RATE,
    AudioError,
    OnlineResampler,
    load_audio,
    load_segments,
    stream_file,
    stream_pcm,
    to_mono,
)

HUMAN_SPEECH = Path(__file__).parents[3] / "shared" / "data" / "speech-fixtures"


def noise(seconds, rate=SAMPLE_RATE, channels=None, seed=0):
    shape = (int(seconds * rate),) if channels is None else (int(seconds * rate), channels)
    return (np.random.default_rng(seed).standard_normal(shape) * 0.1).astype(np.float32)


def cuts(total, seed):
    rng = np.random.default_rng(seed)
    return sorted(rng.integers(0, total + 1, 40).tolist())  # doubles among them: empty pushes


@pytest.fixture
def wav(tmp_path):
    path = tmp_path / "talk.wav"
    soundfile.write(path, noise(2), SAMPLE_RATE, subtype="PCM_16")
    return path


@pytest.mark.parametrize("source_rate", [8000, 11025, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [None, 1, 2, 5])
def test_resampler_does_not_depend_on_the_cuts(source_rate, channels):
    samples = noise(0.7, source_rate, channels)
    whole = OnlineResampler(source_rate).push(samples, last=True)
    assert whole.dtype == np.float32
    assert abs(len(whole) - 0.7 * SAMPLE_RATE) <= 1
    stream = OnlineResampler(source_rate)
    parts = [stream.push(part) for part in np.split(samples, cuts(len(samples), seed=source_rate))]
    parts.append(stream.push(samples[:0], last=True))
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_resampler_one_sample_at_a_time():
    samples = noise(0.05, 44100)
    stream = OnlineResampler(44100)
    parts = [stream.push(samples[i : i + 1], last=i == len(samples) - 1) for i in range(len(samples))]
    np.testing.assert_array_equal(np.concatenate(parts), OnlineResampler(44100).push(samples, last=True))


def test_control_resampling_each_piece_alone_differs():
    samples = noise(0.5, 48000)
    pieces = [OnlineResampler(48000).push(part, last=True) for part in np.split(samples, 10)]
    assert not np.array_equal(np.concatenate(pieces), OnlineResampler(48000).push(samples, last=True))


def test_equal_rates_pass_bits_through():
    samples = noise(0.1)
    np.testing.assert_array_equal(OnlineResampler(SAMPLE_RATE).push(samples), samples)


@pytest.mark.parametrize("rate", [16000, 48000])
def test_resampler_of_nothing(rate):
    assert len(OnlineResampler(rate).push(np.zeros(0), last=True)) == 0


def test_resampler_refuses_misuse():
    stream = OnlineResampler(16000)
    stream.push(noise(0.01), last=True)
    with pytest.raises(AudioError, match="has ended"):
        stream.push(noise(0.01))
    with pytest.raises(AudioError, match="source_rate is 0 Hz"):
        OnlineResampler(0)
    with pytest.raises(AudioError, match="divide 16-bit integers by 32768"):
        OnlineResampler(16000).push(np.ones(4, np.int16))
    with pytest.raises(AudioError, match=r"\[N, channels\]"):
        to_mono(np.zeros((2, 2, 2)))


def test_48_khz_stereo_copy_sounds_the_same(tmp_path):
    time = np.arange(SAMPLE_RATE * 3) / (SAMPLE_RATE * 3)
    tone = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)  # 1 s at 48 kHz
    soundfile.write(tmp_path / "stereo.wav", np.stack([tone * 0.5, tone * 1.5], 1), 48000, subtype="FLOAT")
    loaded = load_audio(tmp_path / "stereo.wav")
    expected = 0.3 * np.sin(2 * np.pi * 440 * np.arange(SAMPLE_RATE) / SAMPLE_RATE)
    np.testing.assert_allclose(loaded[1000:-1000], expected[1000:-1000], atol=1e-4)


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3"])
def test_reads_each_format(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    soundfile.write(path, noise(1), SAMPLE_RATE)
    assert load_audio(path).shape == (SAMPLE_RATE,)
    assert load_audio(path, offset=0.25, duration=0.5).shape == (SAMPLE_RATE // 2,)


def test_reads_exactly_the_wanted_part(wav):
    whole = load_audio(wav)
    np.testing.assert_array_equal(load_audio(wav, offset=0.500125, duration=0.25), whole[8002:12002])
    np.testing.assert_array_equal(load_audio(wav, offset=1.5), whole[24000:])
    assert len(load_audio(wav, offset=0.5, duration=0.0)) == 0


@pytest.mark.parametrize(
    "offset, duration, rule",
    [
        (2.5, None, "lies outside"),
        (2.0, 0.1, "lies outside"),
        (1.5, 1.0, "ends at 2.000000 s"),
        (-1.0, 1.0, "offset is -1.0 s"),
        (0.0, float("nan"), "duration is nan s"),
    ],
)
def test_refuses_parts_outside_of_the_file(wav, offset, duration, rule):
    with pytest.raises(AudioError, match=rule) as error:
        load_audio(wav, offset, duration)
    assert "talk.wav" in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"this is no audio at all"])
def test_refuses_broken_files(tmp_path, content):
    path = tmp_path / "broken.wav"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AudioError, match="cannot read audio file .*broken.wav"):
        load_audio(path)


def test_one_bad_segment_does_not_spoil_the_others(wav):
    good, bad, cut = load_segments(wav, [(0.0, 0.5), (3.0, 0.5), (1.75, 0.5)], cut_at_end=True)
    assert len(good) == 8000 and isinstance(bad, AudioError) and len(cut) == 4000


def test_empty_recording(tmp_path):
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), SAMPLE_RATE)
    assert load_audio(tmp_path / "empty.wav").shape == (0,)


@pytest.mark.skipif(not HUMAN_SPEECH.is_dir(), reason="needs ../shared/data/speech-fixtures")
def test_human_speech_survives_resampling():
    speech = load_audio(next(iter(sorted(HUMAN_SPEECH.glob("*.flac")))), duration=5.0)
    there = OnlineResampler(SAMPLE_RATE, 48000).push(speech, last=True)
    back = OnlineResampler(48000, SAMPLE_RATE).push(there, last=True)
    error = back[: len(speech)] - speech[: len(back)]
    assert np.sqrt(np.mean(error**2)) < 0.02 * np.sqrt(np.mean(speech**2))


def test_a_file_in_segments_is_the_file(tmp_path):
    samples = np.random.default_rng(0).uniform(-1, 1, (1000, 2)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", samples, 8000, subtype="FLOAT")
    for segment_ms in (1, 7, 125, 9999):
        pieces = list(stream_file(tmp_path / "x.wav", segment_ms))
        assert {rate for _, rate in pieces} == {8000}
        assert np.array_equal(np.concatenate([piece for piece, _ in pieces]), samples)
        assert all(len(piece) == min(8 * segment_ms, 1000) for piece, _ in pieces[:-1])


def test_pcm_in_segments():
    integers = np.array([[0, 1], [-32768, 32767], [5, 6], [7, 8], [9, 10]], "<i2")
    pieces = list(stream_pcm(io.BytesIO(integers.tobytes()), 1, sample_rate=4000, channels=2))
    assert [len(piece) for piece, _ in pieces] == [4, 1] and pieces[0][1] == 4000
    assert np.array_equal(np.concatenate([piece for piece, _ in pieces]), integers.astype(np.float32) / 32768)
    assert list(stream_pcm(io.BytesIO(), 10)) == []


def test_pcm_of_a_pipe_that_gives_what_has_arrived():
    class Pipe(io.BytesIO):
        def read(self, size):
            return super().read(min(size, 3))

    integers = np.arange(10, dtype="<i2")
    pieces = list(stream_pcm(Pipe(integers.tobytes()), 1, sample_rate=4000))
    assert [len(piece) for piece, _ in pieces] == [4, 4, 2]
    assert np.array_equal(np.concatenate([piece for piece, _ in pieces])[:, 0] * 32768, integers)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: stream_pcm(io.BytesIO(), 10, sample_rate=0), r"--rate\) is 0 Hz, but must be 4000 to 192000 Hz"),
        (lambda: stream_pcm(io.BytesIO(), 0), "--segment-ms"),
        (lambda: stream_pcm(io.BytesIO(), 10, channels=0), "--channels"),
        (lambda: stream_file("missing.wav", 10), "cannot read audio file missing.wav"),
        (lambda: stream_file("missing.wav", -1), "--segment-ms"),
    ],
)
def test_streams_that_cannot_be_read_are_named(make, message):
    with pytest.raises(AudioError, match=message):
        list(make())
