"""The resampler is exact, the same however it is cut, and never later than the features of a decision can wait."""

import numpy as np
import pytest

from leap_fairseq.speech.resampling import PolyphaseResampler

USUAL = (8000, 11025, 12000, 22050, 24000, 32000, 44100, 48000, 96000)
LATEST_MS = 4.75


def sine(hertz, rate, seconds=0.5):
    return np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate).astype(np.float32)


def whole(samples, rate, target=16000):
    return PolyphaseResampler(rate, target).push(samples, last=True)


@pytest.mark.parametrize("rate", USUAL)
def test_tones_keep_their_height_and_their_moment(rate):
    for hertz in (100, 1000, min(rate, 16000) / 2 - 350):
        found, expected = whole(sine(hertz, rate), rate), sine(hertz, 16000)
        assert len(found) == len(expected)
        assert np.abs(found - expected)[100:-100].max() < 10 ** (-80 / 20)
    assert np.abs(whole(np.ones(rate, np.float32), rate)[100:-100] - 1).max() < 1e-6


@pytest.mark.parametrize("rate", [22050, 32000, 44100, 48000, 96000])
def test_what_the_rate_cannot_hold_is_silent(rate):
    for hertz in (8350, 0.45 * rate):
        assert np.abs(whole(sine(hertz, rate), rate)[100:-100]).max() < 10 ** (-80 / 20)


@pytest.mark.parametrize("rate", [*USUAL, 16001, 12345])
def test_the_cuts_do_not_matter(rate):
    samples = np.random.default_rng(0).standard_normal(rate // 4).astype(np.float32)
    for seed, largest in enumerate((3, 200, 5000)):
        generator, stream, parts, first = np.random.default_rng(seed), PolyphaseResampler(rate, 16000), [], 0
        while first < len(samples):
            size = int(generator.integers(0, largest))
            parts.append(stream.push(samples[first : first + size]))
            first += size
            assert len(stream._buffer) < 0.02 * rate + largest
        assert np.array_equal(np.concatenate([*parts, stream.push(samples[:0], last=True)]), whole(samples, rate))


@pytest.mark.parametrize("rate", USUAL)
def test_the_delay_is_bounded(rate):
    """5 ms are what the last window of a decision leaves; here for every cut of a millisecond."""
    stream, received, returned, delays = PolyphaseResampler(rate, 16000), 0, 0, []
    for size in np.diff(np.arange(1, 400) * rate // 1000):
        returned += len(stream.push(np.zeros(size, np.float32)))
        received += int(size)
        delays.append(received / rate * 1000 - returned / 16)
    assert 0 < max(delays) <= LATEST_MS


def test_the_control_that_soxr_is_later():
    import soxr

    stream, returned, delays = soxr.ResampleStream(48000, 16000, 1, dtype="float32"), 0, []
    for received in range(480, 48000, 480):
        returned += len(stream.resample_chunk(np.zeros(480, np.float32)))
        delays.append(received / 48 - returned / 16)
    assert max(delays) > 5


@pytest.mark.parametrize("rate", [100, 16000, 768000])
def test_every_rate_is_taken(rate):
    for target in (16000, 48000):
        assert len(whole(np.zeros(rate, np.float32), rate, target)) == target
    assert len(whole(np.zeros(0, np.float32), rate)) == 0 and len(whole(np.zeros(1, np.float32), rate)) >= 1
