"""A clip is translated alike, and as early, at every sample rate that holds its sound."""

import numpy as np
import pytest
import soxr
from fairseq.data import Dictionary
from random_translator import TEXTS, noise, translate, translator

from leap_fairseq.speech import OnlineResampler, fbank, train_vocabulary
from leap_fairseq.streaming import stream as stream_module


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("spm") / "spm"
    train_vocabulary(TEXTS, str(prefix), 60, "unigram")
    return Dictionary.load(f"{prefix}.txt"), f"{prefix}.model"


RATES = pytest.mark.parametrize("rate", [8000, 11025, 22050, 32000, 44100, 48000])


@RATES
@pytest.mark.parametrize("segment_ms, ratio", [(160, 4), (280, 7), (40, 3)])
def test_tokens_come_as_early(vocabulary, rate, segment_ms, ratio):
    stream = translator(vocabulary, lagging=1, ratio=ratio, endless=True, visibility="segment", max_len_b=8)
    steps = []
    for own_rate in (16000, rate):
        translate(stream, noise(1600, rate=own_rate), segment_ms, own_rate)
        steps.append([(step.frames, step.delay) for step in stream.steps])
    if rate == 11025 and segment_ms != 160:
        # Segments of a whole number of samples are a little shorter than they should be: a border comes one later.
        assert all(0 <= late[1] - early[1] <= segment_ms for early, late in zip(*steps))
    else:
        assert steps[0] == steps[1]


def at_rate(samples, rate, own_rate=16000):
    """A recording as it would have been at another rate."""
    size = len(samples) * rate // own_rate
    return (np.fft.irfft(np.fft.rfft(samples), size) * size / len(samples)).astype(np.float32)


@RATES
def test_the_model_hears_the_same(rate):
    """But for the highest sound that both rates hold, where the filter ends."""
    samples = noise(2000)
    recorded = at_rate(samples, rate)
    heard = OnlineResampler(rate).push(recorded, last=True)
    hertz = 700 * np.expm1(np.linspace(1127 * np.log(1 + 20 / 700), 1127 * np.log(1 + 8000 / 700), 82) / 1127)
    bins = int(np.searchsorted(hertz[2:], min(rate, 16000) / 2 - 350))
    expected, found = fbank(at_rate(recorded, 16000, rate))[5:-5, :bins], fbank(heard)[5:-5, :bins]
    assert bins > 50 and np.abs(found - expected).max() < 0.05
    assert np.abs(found[:-1] - expected[1:]).max() > 1


def test_the_control_that_soxr_makes_them_later(vocabulary, monkeypatch):
    class Blocks(OnlineResampler):
        def __init__(self, source_rate):
            super().__init__(source_rate)
            soxr_stream = soxr.ResampleStream(source_rate, 16000, 1, dtype="float32")
            self._stream.push = lambda samples, last: soxr_stream.resample_chunk(samples, last=last)

    monkeypatch.setattr(stream_module, "OnlineResampler", Blocks)
    stream = translator(vocabulary, lagging=1, ratio=4, endless=True, visibility="segment", max_len_b=8)
    translate(stream, noise(1600, rate=48000), 160, 48000)
    assert stream.steps[0].delay == 320
