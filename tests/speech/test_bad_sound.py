"""Bad sound has one answer wherever it is read: what is there, said by name, or a refusal by name."""

import contextlib
import errno
import faulthandler
import io
import os
import struct
import warnings

import numpy as np
import pytest
import soundfile

from leap_fairseq.prepare.feature_parts import FileJob, features_of_file
from leap_fairseq.speech import (
    AudioError,
    OnlineFbank,
    OnlineResampler,
    fbank,
    load_audio,
    load_segments,
    sound_file,
    stream_file,
    stream_pcm,
)
from leap_fairseq.speech.sound_file import LOUDEST

RATE = 16000
SAMPLES = (np.random.default_rng(0).standard_normal(12000) * 0.1).astype(np.float32)


def content(form, subtype=None, samples=SAMPLES):
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=form, subtype=subtype)
    return file.getvalue()


WAV, FLAC, OGG, MP3 = (content(form) for form in ("WAV", "FLAC", "OGG", "MP3"))


def with_size(size, riff=None):
    head = WAV[:4] + struct.pack("<I", size if riff is None else riff) + WAV[8:40] + struct.pack("<I", size)
    return head + WAV[44:]


def with_total(total):
    """A FLAC file whose header says so many samples."""
    number = int.from_bytes(FLAC[18:26], "big") >> 36 << 36 | total
    return FLAC[:18] + number.to_bytes(8, "big") + FLAC[26:]


def streamed(path):
    return np.concatenate([piece for piece, _ in stream_file(path, 50)] or [np.zeros((0, 1), np.float32)])[:, 0]


def as_feature_job(path):
    (made,) = features_of_file(FileJob("train", path, ["a"], [(0.0, None)]))
    if made.clip.reason:
        raise AudioError(made.clip.reason)
    return np.load(io.BytesIO(made.member[made.clip.member.header :]))


def answers(path):
    """What each reader makes of a file: samples, samples, features, or the error's text."""
    found = []
    for read in (load_audio, streamed, as_feature_job):
        try:
            found.append(read(path))
        except AudioError as error:
            assert path.name in str(error)
            found.append(str(error))
    return found


LIES = {
    "size 0": (with_size(0), 12000, "says 0 bytes of sound, but 24000 are there"),
    "size 0, riff 36": (with_size(0, 36), 12000, "says 0 bytes"),
    "size unknown": (with_size(2**32 - 1), 12000, "says 4294967295 bytes"),
    "size of a pipe": (with_size(0x7FFFF000), 12000, "says 2147479552 bytes"),
    "size too small": (with_size(4000), 12000, "says 4000 bytes of sound, but 24000 are there"),
    "odd size": (with_size(23999), 12000, "says 23999 bytes"),
    "odd end": (WAV[:-1], 11999, "says 24000 bytes of sound, but 23999 are there"),
    "flac of no length": (with_total(0), 12000, "says no number of samples"),
    "ogg cut": (OGG[: OGG.rindex(b"OggS")], None, "it has no last page, so it breaks off"),
    "two mp3s": (MP3 + MP3, None, f"says {len(MP3)} bytes of sound, but {2 * len(MP3)} are there"),
    "nothing": (content("WAV", samples=SAMPLES[:0]), 0, "it has no samples"),
}


@pytest.mark.parametrize("name", LIES)
def test_what_is_there_is_read_and_said(tmp_path, caplog, name):
    data, length, words = LIES[name]
    path = tmp_path / "lie"
    path.write_bytes(data)
    whole, pieces, features = answers(path)
    assert caplog.text.count("lie: ") == 3 and caplog.text.count(words) == 3
    assert caplog.text.count(f"read what is there, {len(whole)} samples") == 3
    np.testing.assert_allclose(whole, pieces, atol=1e-6)
    assert length is None or len(whole) == length
    if not len(whole):
        assert features == "lie: shorter than one window of 25 ms"
        return
    np.testing.assert_array_equal(features, fbank(whole))
    if name != "two mp3s":
        right = soundfile.read(io.BytesIO(WAV), dtype="float32")[0][: len(whole)]
        np.testing.assert_allclose(whole, right, atol=1e-4)


def test_two_mp3s_in_one_are_read_both(tmp_path):
    (tmp_path / "two.mp3").write_bytes(MP3 + MP3)
    assert len(load_audio(tmp_path / "two.mp3")) >= 2 * len(SAMPLES)
    assert len(soundfile.read(tmp_path / "two.mp3")[0]) < 1.2 * len(SAMPLES)  # the control


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
def test_control_nothing_is_said_of_a_true_header(tmp_path, caplog, form):
    (tmp_path / "x").write_bytes(content(form))
    assert [len(found) for found in answers(tmp_path / "x")[:2]] == [12000, 12000]
    chunk = b"LIST\x04\0\0\0abcd"
    (tmp_path / "x").write_bytes(WAV + chunk)
    assert len(load_audio(tmp_path / "x")) == 12000
    (tmp_path / "x").write_bytes(with_size(0)[:44] + chunk)
    with caplog.at_level("ERROR"):
        assert len(load_audio(tmp_path / "x")) == 0
    assert not caplog.text


def with_sample(value):
    samples = SAMPLES.astype(np.float64)
    samples[5000] = value
    return content("WAV", "DOUBLE", samples)


def with_bytes(place, value):
    return WAV[:place] + value + WAV[place + len(value) :]


def mp3_cut_without_bytes():
    """Its header tells the number of samples, but not that of bytes."""
    flags = MP3.index(b"Xing") + 7
    return MP3[:flags] + b"\x0d" + MP3[flags + 1 : len(MP3) // 2]


HALF = len(MP3) // 2
REFUSED = {
    "size too large": (with_size(30000), "says 30000 bytes of sound, but 24000 are there: the file is cut short"),
    "wav cut": (WAV[: 44 + 10000], "says 24000 bytes of sound, but 10000 are there: the file is cut short, replace it"),
    "flac cut": (FLAC[: len(FLAC) * 6 // 10], "says 12000 samples, but 4096 can be read: the file is cut short"),
    "flac too long": (with_total(2**36 - 1), "says 68719476735 samples, but 12000 can be read: the file is cut short"),
    "mp3 cut": (MP3[:HALF], f"says {len(MP3)} bytes of sound, but {HALF} are there: the file is cut short, replace it"),
    "mp3 without bytes cut": (
        mp3_cut_without_bytes(),
        "bad: only .* of .* samples at 0.0 s, the file is cut short: replace it",
    ),
    "nan": (with_sample(np.nan), r"bad: the samples go from nan to nan, but must be floats in \[-1, 1\]"),
    "inf": (with_sample(np.inf), "the samples go from .* to inf"),
    "-inf": (with_sample(-np.inf), "the samples go from -inf"),
    "1e30": (with_sample(1e30), r"to 1e\+30, but must be floats"),
    "1e300": (with_sample(1e300), "to inf, but must be floats"),
    "integers": (with_sample(-17.0), "from -17 to"),
    "rate 0": (with_bytes(24, bytes(4)), "cannot read audio file .*bad"),
    "rate 4": (with_bytes(24, b"\4\0\0\0"), "bad: the sample rate in the header is 4 Hz, but must be 4000"),
    "no channels": (with_bytes(22, bytes(2)), "cannot read audio file .*bad"),
    "many channels": (with_bytes(22, b"\xff\0"), "bad: the header has 255 channels, but must have 1 to 64"),
    "empty": (b"", "cannot read audio file .*bad"),
    "text": (b"this is no audio at all", "cannot read audio file .*bad"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_recording_is_refused_by_name(tmp_path, name):
    data, words = REFUSED[name]
    (tmp_path / "bad").write_bytes(data)
    for read in (load_audio, streamed, as_feature_job):
        with pytest.raises(AudioError, match=words):
            read(tmp_path / "bad")


def test_a_disk_that_fails_in_the_middle_is_no_end(tmp_path, monkeypatch):
    path = tmp_path / "two.mp3"
    path.write_bytes(MP3 + MP3)

    def read(self, size):
        if self.tell() >= len(MP3):
            raise OSError(errno.EIO, "Input/output error")
        return self._file.read(len(MP3))

    monkeypatch.setattr(sound_file._Mended, "read", read)
    with pytest.raises(AudioError, match="cannot read audio file .*two.mp3.*Input/output error"):
        load_audio(path)


@contextlib.contextmanager
def ended_after(seconds):
    """Ends the process, and says where it was: a hang in C is no failure that can be caught."""
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "x.wav"
    {"pipe": os.mkfifo, "folder": os.mkdir, "device": lambda p: os.symlink("/dev/zero", p)}[kind](path)
    with ended_after(60):
        for read in (load_audio, streamed, as_feature_job):
            with pytest.raises(AudioError, match="x.wav: .*it is a folder, a pipe or a device"):
                read(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30, -LOUDEST * 1.01])
@pytest.mark.parametrize("last", [False, True])
def test_streams_refuse_such_samples_too(value, last):
    """As they come from SimulEval, the page or the library."""
    samples = SAMPLES.copy()
    samples[-1] = value
    for stream in (OnlineResampler(RATE), OnlineResampler(48000), OnlineFbank()):
        with pytest.raises(AudioError, match=r"the samples go from .*, but must be floats in \[-1, 1\]"):
            stream.push(samples, last)
        stream.push(SAMPLES, last)
    OnlineResampler(RATE).push(np.full(10, LOUDEST))  # the control


@pytest.mark.parametrize("rate", [0, -1, 3999, 192001, 1e308, float("nan"), None, "16000"])
def test_streams_refuse_rates_of_no_recording(rate):
    with pytest.raises(AudioError, match="source_rate is .* Hz, but must be 4000 to 192000 Hz"):
        OnlineResampler(rate)


@pytest.mark.parametrize("value", [-1.0, 1e308, float("nan"), float("inf"), 700000.0])
def test_times_of_a_damaged_list(tmp_path, value):
    (tmp_path / "x.wav").write_bytes(WAV)
    segments = [(value, 0.1), (0.1, value), (0.1, 0.1)]
    first, second, third = load_segments(tmp_path / "x.wav", segments, cut_at_end=True)
    assert "offset is" in str(first) and "duration is" in str(second) and len(third) == 1600


def test_pcm_that_ends_inside_of_a_sample(caplog):
    pieces = list(stream_pcm(io.BytesIO(WAV[44:] + b"x"), 100))
    assert sum(len(piece) for piece, _ in pieces) == 12000
    assert "the PCM ends inside of a sample, 1 bytes of 2, which are left out" in caplog.text


def mutated(data, rng):
    """One of five accidents, more often in the header."""
    data = bytearray(data)
    end = min(len(data), int(rng.choice([64, 200, len(data)])))
    place, kind = int(rng.integers(0, end)), int(rng.integers(0, 5))
    if kind == 0:
        for _ in range(rng.integers(1, 8)):
            data[rng.integers(0, end)] = rng.integers(0, 256)
    elif kind == 1:
        del data[int(rng.integers(0, len(data))) :]
    elif kind == 2:
        data[place : place + 4] = rng.choice([b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\1\0\0\0"])
    elif kind == 3:
        data[place:place] = rng.bytes(20)
    else:
        del data[place : place + 20]
    return bytes(data)


def fuzz(tmp_path, form, subtype, rounds):
    whole, rng = content(form, subtype, SAMPLES[:6000]), np.random.default_rng(len(form) * rounds)
    path, kinds = tmp_path / f"fuzz.{form.lower()}", []
    with ended_after(30 + rounds // 10):
        for _ in range(rounds):
            path.write_bytes(mutated(whole, rng))
            samples, pieces, features = answers(path)
            kinds.append({type(found) for found in (samples, pieces)})
            assert len(kinds[-1]) == 1
            for found in (samples, pieces, features):
                assert isinstance(found, str) or (np.isfinite(found).all() and found.nbytes < 2**26)
    assert {str} in kinds and ({np.ndarray} in kinds or form == "OGG")


FORMS = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("WAV", "MS_ADPCM"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", None)]


@pytest.mark.parametrize("form, subtype", FORMS)
def test_mutations(tmp_path, form, subtype):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fuzz(tmp_path, form, subtype, 40)


@pytest.mark.slow
@pytest.mark.parametrize("form, subtype", FORMS)
def test_many_mutations(tmp_path, form, subtype):
    fuzz(tmp_path, form, subtype, 400)
