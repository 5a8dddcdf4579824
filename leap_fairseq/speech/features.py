"""The one definition of the speech features: log mel filterbanks and their global normalisation.

80 mel bins, windows of 25 ms every 10 ms, no dither, only windows that fit wholly (snip_edges), samples at the scale
of 16-bit integers, as Kaldi computes them. Data preparation and the streaming agent both come here, and a stream gives
the same frames as the whole file, bit for bit, however it is cut.

Shapes: N samples, T frames, F mel bins.
"""

import zipfile
from typing import Optional

import kaldi_native_fbank
import numpy as np

from leap_fairseq.files import DataError, whole_file
from leap_fairseq.speech.audio import SAMPLE_RATE, AudioError, to_mono

NUM_MEL_BINS = 80
FRAME_LENGTH_MS = 25.0
FRAME_SHIFT_MS = 10.0
INT16_SCALE = np.float32(32768)
"""Samples in [-1, 1] times this are 16-bit integers; a power of two, so the product is exact."""

VARIANCE_FLOOR = 1e-8
"""As in fairseq's `cal_gcmvn_stats` (examples/speech_to_text/data_utils.py)."""


def fbank(samples: np.ndarray, sample_rate: int = SAMPLE_RATE, num_mel_bins: int = NUM_MEL_BINS) -> np.ndarray:
    """Features of a whole recording, float32 [T, F]; T = 0 when it is shorter than one window (25 ms).

    Args:
        samples: [N] floats in [-1, 1], mono.
        sample_rate: Hz.
        num_mel_bins: F.

    Raises:
        AudioError: Samples that are not floats of shape [N].
    """
    return OnlineFbank(sample_rate, num_mel_bins).push(samples, last=True)


class OnlineFbank:
    """Features of a recording that is still going on.

    The frames of all pushes, joined, equal `fbank` of all samples, joined, bit for bit.

    Args:
        sample_rate: Hz.
        num_mel_bins: F.

    Raises:
        AudioError: A rate or number of bins that is not above 0.
    """

    def __init__(self, sample_rate: int = SAMPLE_RATE, num_mel_bins: int = NUM_MEL_BINS):
        for name, value in (("sample_rate", sample_rate), ("num_mel_bins", num_mel_bins)):
            if not value > 0:
                raise AudioError(f"{name} is {value}, but must be above 0")
        options = kaldi_native_fbank.FbankOptions()
        options.frame_opts.samp_freq = sample_rate
        options.frame_opts.frame_length_ms = FRAME_LENGTH_MS
        options.frame_opts.frame_shift_ms = FRAME_SHIFT_MS
        options.frame_opts.dither = 0.0
        options.frame_opts.snip_edges = True
        options.mel_opts.num_bins = num_mel_bins
        self.sample_rate = sample_rate
        self.num_mel_bins = num_mel_bins
        self._computer = kaldi_native_fbank.OnlineFbank(options)
        self._frames_returned = 0
        self._finished = False

    def push(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """Takes the next samples and returns the frames that became whole.

        Args:
            samples: [N] floats in [-1, 1], mono; N = 0 is allowed.
            last: True with the end of the recording. It brings no further frame, since a window must fit wholly; a
                push after it is an error of the caller.

        Returns:
            float32 [new frames, F].

        Raises:
            AudioError: A push after the last one, or samples that are not floats of shape [N].
        """
        if self._finished:
            raise AudioError("the stream has ended (push with last=True): make a new OnlineFbank for the next one")
        samples = np.asarray(samples)
        if samples.ndim != 1:
            raise AudioError(f"samples have shape {samples.shape}, but must be [N], mono: use OnlineResampler before")
        if samples.size:
            self._computer.accept_waveform(self.sample_rate, to_mono(samples) * INT16_SCALE)
        self._finished = last
        ready = self._computer.num_frames_ready
        frames = np.empty((ready - self._frames_returned, self.num_mel_bins), np.float32)
        for row in range(len(frames)):
            frames[row] = self._computer.get_frame(self._frames_returned + row)
        # What has been returned is forgotten: a long stream needs no more memory than a short one.
        self._computer.pop(len(frames))
        self._frames_returned = ready
        return frames


class GlobalCmvn:
    """Normalisation by the mean and standard deviation of the training data.

    Bit-equal with fairseq's feature transform `global_cmvn`, whose files it reads and writes.

    Args:
        mean: [F].
        std: [F], above 0.

    Raises:
        DataError: Shapes that differ, or a std that is not above 0.
    """

    def __init__(self, mean: np.ndarray, std: np.ndarray):
        self.mean, self.std = np.asarray(mean), np.asarray(std)
        if self.mean.ndim != 1 or self.mean.shape != self.std.shape:
            raise DataError(f"CMVN mean {self.mean.shape} and std {self.std.shape} must both have shape [mel bins]")
        if not np.all(self.std > 0):
            remedy = "compute the statistics again with leap-fairseq prepare"
            raise DataError(f"CMVN std must be above 0 in every bin: {remedy}")

    @classmethod
    def load(cls, path: str) -> "GlobalCmvn":
        """Reads the .npz that the data YAML names under global_cmvn.stats_npz_path.

        Raises:
            DataError: The file is missing or damaged, or has no mean and std.
        """
        try:
            with np.load(path, allow_pickle=False) as stats:
                return cls(stats["mean"], stats["std"])
        except (OSError, KeyError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            origin = "global_cmvn.stats_npz_path in the data YAML; leap-fairseq prepare writes gcmvn.npz"
            rule = f"it must be an .npz with mean and std ({origin})"
            raise DataError(f"cannot read global CMVN from {path}: {rule} ({error})") from error

    def save(self, path: str) -> None:
        """Writes the .npz, whole or not at all."""
        with whole_file(path) as file:
            np.savez(file, mean=self.mean, std=self.std)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        """Normalises frames [T, F] to float32 [T, F]."""
        # Subtract, then divide: the same two operations as fairseq's transform, for equal bits.
        return np.divide(np.subtract(frames, self.mean), self.std).astype(np.float32, copy=False)


def clip_sums(frames: np.ndarray) -> np.ndarray:
    """What the statistics of a corpus take of one clip: the sums of its frames [T, F] and of their squares, [2, F]."""
    frames = np.asarray(frames, np.float64)
    return np.stack([frames.sum(axis=0), np.square(frames).sum(axis=0)])


class CmvnAccumulator:
    """Collects the statistics of a corpus, clip by clip, in float64.

    The sums depend on the order of the clips in their last bits: add them in a fixed order.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sums: Optional[np.ndarray] = None

    def add(self, frames: np.ndarray) -> None:
        """Adds the frames [T, F] of one clip."""
        self.add_sums(len(frames), clip_sums(frames))

    def add_sums(self, count: int, sums: np.ndarray) -> None:
        """Adds one clip of so many frames, of which `clip_sums` are known, with the same result."""
        if self._sums is None:
            self._sums = np.zeros(sums.shape)
        self.count += count
        self._sums += sums

    def finish(self) -> GlobalCmvn:
        """The statistics, float32; std is at least 1e-4.

        Raises:
            DataError: No frame was added.
        """
        if not self.count:
            raise DataError("global CMVN needs at least one frame of training audio: check the train split")
        mean, square = self._sums / self.count
        variance = square - np.square(mean)
        std = np.sqrt(np.maximum(variance, VARIANCE_FLOOR))
        return GlobalCmvn(mean.astype(np.float32), std.astype(np.float32))
