"""Features: streams equal whole files, and normalisation equals fairseq's."""

import kaldi_native_fbank
import numpy as np
import pytest
from fairseq.data.audio.feature_transforms.global_cmvn import GlobalCMVN

from leap_fairseq.speech import AudioError, CmvnAccumulator, DataError, GlobalCmvn, OnlineFbank, fbank

RATE = 16000


def speechlike(seconds, seed=0):
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * RATE)) / RATE
    voice = sum(np.sin(2 * np.pi * 130 * h * time + rng.random()) / h for h in range(1, 20)) * (1 + np.sin(8 * time))
    return (0.05 * voice + 0.01 * rng.standard_normal(len(time))).astype(np.float32)


def in_segments(samples, milliseconds):
    stream, step = OnlineFbank(), RATE * milliseconds // 1000
    parts = [stream.push(samples[start : start + step]) for start in range(0, len(samples), step)]
    return np.concatenate(parts + [stream.push(samples[:0], last=True)])


@pytest.mark.parametrize("milliseconds", [1, 10, 25, 40, 280, 333])
def test_stream_equals_whole(milliseconds):
    samples = speechlike(1.5)
    np.testing.assert_array_equal(in_segments(samples, milliseconds), fbank(samples))


def test_stream_with_random_cuts_and_empty_pushes():
    samples = speechlike(1.0)
    for seed in range(5):
        cuts = np.sort(np.random.default_rng(seed).integers(0, len(samples), 50))
        stream = OnlineFbank()
        parts = [stream.push(part) for piece in np.split(samples, cuts) for part in (piece, piece[:0])]
        np.testing.assert_array_equal(np.concatenate(parts), fbank(samples))


def test_control_features_of_each_segment_alone_differ():
    samples = speechlike(1.0)
    alone = np.concatenate([fbank(part) for part in np.split(samples, 10)])
    assert alone.shape != fbank(samples).shape


@pytest.mark.parametrize("milliseconds, frames", [(0, 0), (10, 0), (24, 0), (25, 1), (34, 1), (35, 2), (200, 18)])
def test_number_of_frames(milliseconds, frames):
    features = fbank(np.zeros(RATE * milliseconds // 1000, np.float32))
    assert features.shape == (frames, 80) and features.dtype == np.float32
    assert np.isfinite(features).all()


def test_definition_is_kaldis():
    samples = speechlike(0.3)
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.dither, options.mel_opts.num_bins = 0.0, 80
    computer = kaldi_native_fbank.OnlineFbank(options)
    computer.accept_waveform(RATE, (samples * 32768).tolist())
    expected = np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])
    np.testing.assert_array_equal(fbank(samples), expected)
    np.testing.assert_array_equal(fbank(samples.astype(np.float64)), expected)
    assert fbank(samples, num_mel_bins=40).shape == (len(expected), 40)


def test_refuses_misuse():
    stream = OnlineFbank()
    stream.push(speechlike(0.1), last=True)
    with pytest.raises(AudioError, match="has ended"):
        stream.push(speechlike(0.1))
    with pytest.raises(AudioError, match="OnlineResampler"):
        fbank(np.zeros((100, 2), np.float32))
    with pytest.raises(AudioError, match="divide 16-bit integers"):
        fbank(np.zeros(1000, np.int16))
    with pytest.raises(AudioError, match="num_mel_bins is 0"):
        OnlineFbank(num_mel_bins=0)


def test_cmvn_equals_fairseqs(tmp_path):
    clips = [fbank(speechlike(0.5, seed)) for seed in range(4)]
    accumulator = CmvnAccumulator()
    for clip in clips:
        accumulator.add(clip)
    cmvn = accumulator.finish()
    path = tmp_path / "gcmvn.npz"
    cmvn.save(path)
    loaded, theirs = GlobalCmvn.load(path), GlobalCMVN(str(path))
    for clip in clips:
        assert loaded(clip).dtype == np.float32
        np.testing.assert_array_equal(loaded(clip), theirs(clip))
    joined = np.concatenate(clips).astype(np.float64)
    np.testing.assert_allclose(cmvn.mean, joined.mean(0), rtol=1e-6)
    np.testing.assert_allclose(cmvn.std, joined.std(0), rtol=1e-5)
    normalised = np.concatenate([loaded(clip) for clip in clips])
    np.testing.assert_allclose(normalised.mean(0), 0, atol=1e-4)


@pytest.mark.parametrize("mean, std", [(15.0, 3.0), (-8000.0, 0.5), (1e4, 2.0)])
def test_cmvn_equals_two_passes_over_all_frames(mean, std):
    rng = np.random.default_rng(5)
    clips = [(mean + std * rng.standard_normal((count, 80))).astype(np.float32) for count in (1, 7, 400, 63)]
    accumulator = CmvnAccumulator()
    for clip in clips:
        accumulator.add(clip)
    cmvn = accumulator.finish()
    joined = np.concatenate(clips).astype(np.float64)
    expected = np.sqrt(np.square(joined - joined.mean(axis=0)).mean(axis=0))
    np.testing.assert_allclose(cmvn.mean, joined.mean(axis=0), atol=1e-4, rtol=1e-7)
    np.testing.assert_allclose(cmvn.std, expected, atol=1e-4, rtol=0)


def test_control_sums_in_float32_miss_a_large_mean():
    frames = (1e4 + np.random.default_rng(5).standard_normal((471, 80))).astype(np.float32)
    variance = np.square(frames).mean(axis=0) - np.square(frames.mean(axis=0))
    assert not np.allclose(np.sqrt(np.maximum(variance, 0)), frames.astype(np.float64).std(axis=0), atol=1e-2)


def test_cmvn_of_silence_has_a_std():
    accumulator = CmvnAccumulator()
    accumulator.add(fbank(np.zeros(RATE, np.float32)))
    cmvn = accumulator.finish()
    assert (cmvn.std >= 0.99e-4).all()
    assert np.isfinite(cmvn(fbank(np.zeros(RATE, np.float32)))).all()


def test_cmvn_refuses_what_it_cannot_use(tmp_path):
    with pytest.raises(DataError, match="at least one frame"):
        CmvnAccumulator().finish()
    with pytest.raises(DataError, match="above 0"):
        GlobalCmvn(np.zeros(3), np.zeros(3))
    with pytest.raises(DataError, match="global_cmvn.stats_npz_path"):
        GlobalCmvn.load(tmp_path / "missing.npz")
    np.savez(tmp_path / "other.npz", mean=np.zeros(3))
    np.save(tmp_path / "array.npy", np.ones(3))
    GlobalCmvn(np.zeros(3), np.ones(3)).save(tmp_path / "whole.npz")
    content = (tmp_path / "whole.npz").read_bytes()
    one = np.float64(1).tobytes()
    for name, damaged in (("torn", content[:-100]), ("empty", b""), ("flipped", content.replace(one, one[::-1]))):
        assert damaged != content
        (tmp_path / f"{name}.npz").write_bytes(damaged)
    for name in ("other.npz", "array.npy", "torn.npz", "empty.npz", "flipped.npz"):
        with pytest.raises(DataError, match=f"cannot read global CMVN from .*{name}: it must be .* with mean and std"):
            GlobalCmvn.load(tmp_path / name)
