"""Opening audio files: headers that cannot be true, and mp3s that do not say how long they are."""

import struct

import numpy as np
import pytest
import soundfile
from fake_corpora import speechlike

from leap_fairseq.speech import AudioError, load_audio, load_segments, stream_file
from leap_fairseq.speech.sound_file import MAX_RATE, MIN_RATE, open_sound

BITRATES = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
"""kbit/s of MPEG-1 layer III. Source: ISO 11172-3, 2.4.2.3."""


def with_rate(path, rate):
    soundfile.write(path, np.full(1000, 0.1), 16000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[24:28] = struct.pack("<I", rate)
    path.write_bytes(content)
    return path


def mp3(path, mode="VARIABLE", rate=48000, seconds=1.5):
    """An mp3 that begins loud and ends soft, so that its frames shrink; returns the samples."""
    samples = speechlike(seconds, 3, rate) * np.linspace(1, 0.002, int(seconds * rate)) ** 4
    soundfile.write(path, samples, rate, format="MP3", bitrate_mode=mode, compression_level=0.3)
    return samples


def without_tag(path, prefix=b""):
    """Takes the first frame away, which holds the length."""
    content = path.read_bytes()
    rate = (44100, 48000, 32000)[content[2] >> 2 & 3]
    length = 144 * BITRATES[content[2] >> 4] * 1000 // rate + (content[2] >> 1 & 1)
    assert b"Info" in content[:length] or b"Xing" in content[:length]
    path.write_bytes(prefix + content[length:])


@pytest.mark.parametrize("rate", [4, MIN_RATE - 1, MAX_RATE + 1, 2**31 - 1])
def test_rates_that_no_recording_has(tmp_path, rate):
    path = with_rate(tmp_path / "x.wav", rate)
    rule = f"x.wav: the sample rate in the header is {rate} Hz, but must be 4000 to 192000 Hz"
    with pytest.raises(AudioError, match=rule):
        load_audio(path)
    with pytest.raises(AudioError, match=rule):
        next(stream_file(path, 10))
    assert [type(result) for result in load_segments(path, [(0, 1), (1, None)])] == [AudioError] * 2


@pytest.mark.parametrize("rate", [0, 2**32 - 1])
def test_rates_that_libsndfile_refuses(tmp_path, rate):
    with pytest.raises(AudioError, match="cannot read audio file .*x.wav"):
        load_audio(with_rate(tmp_path / "x.wav", rate))


@pytest.mark.parametrize("rate", [MIN_RATE, 11025, MAX_RATE])
def test_rates_that_are_allowed(tmp_path, rate):
    assert len(load_audio(with_rate(tmp_path / "x.wav", rate))) == pytest.approx(1000 * 16000 / rate, abs=2)


@pytest.mark.parametrize("rate", [32000, 44100, 48000])
@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("prefix", [b"", b"ID3\4\0\0\0\0\2\0" + bytes(256)], ids=["plain", "id3"])
def test_mp3_without_a_length_is_read_to_its_end(tmp_path, rate, mode, prefix):
    path = tmp_path / "x.mp3"
    samples = mp3(path, mode, rate)
    without_tag(path, prefix)
    with open_sound(path) as sound:
        found = sound.read(sound.frames)[:, 0]
        sound.seek(1000)
        np.testing.assert_array_equal(sound.read(500)[:, 0], found[1000:1500])
    # What encoder and decoder add is not taken off without the tag.
    assert 0 <= len(found) - len(samples) <= 4 * 1152
    lag = max(range(0, 2400), key=lambda n: np.dot(found[n : n + 8000], samples[:8000]))
    assert np.corrcoef(found[lag : lag + 8000], samples[:8000])[0, 1] > 0.98
    (one, other) = load_segments(path, [(0.0, None), (1.2, 0.1)])
    assert len(one) == pytest.approx(len(found) * 16000 / rate, abs=2) and len(other) == 1600


def test_control_libsndfile_alone_loses_the_end(tmp_path):
    samples = mp3(tmp_path / "x.mp3")
    without_tag(tmp_path / "x.mp3")
    assert len(soundfile.read(tmp_path / "x.mp3")[0]) < 0.7 * len(samples)


def test_junk_that_calls_itself_mp3(tmp_path):
    for content in (b"", b"ID3", b"ID3\4\0\0\0\0\2\0" + bytes(256), b"\xff\xfb\xa4\xc4", bytes(5000)):
        (tmp_path / "x.mp3").write_bytes(content)
        with pytest.raises(AudioError, match="x.mp3"):
            if not len(load_audio(tmp_path / "x.mp3")):
                raise AudioError("x.mp3 has no samples")
