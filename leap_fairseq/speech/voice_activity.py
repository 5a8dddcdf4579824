"""Which moments of a recording hold speech: its energy in the band of speech, with hysteresis.

The thresholds are those of a gate that must never hold speech back: digital silence, an offset, dither and faint hum or
hiss are silence, and whatever is louder may be speech. It is causal, looks at each frame once, and its state has a
constant size, so that it hears the same however a recording is cut.

Shape legend: T feature frames of 10 ms, M mel bins.
"""

import functools
from typing import List, Tuple

import numpy as np

from leap_fairseq.speech.audio import SAMPLE_RATE
from leap_fairseq.speech.features import NUM_MEL_BINS, fbank

BAND_HZ = (200.0, 4000.0)
"""Above the hum of the mains, below most of the hiss."""

OPENS_DB, CLOSES_DB = -66.0, -72.0
"""Level at which speech begins, and below which it has ended; 0 is a sine of full scale. Speech whose highest peak is
at -50 dBFS reaches -65, white noise of -70 dBFS stays below -69."""

SHORTEST = 4
"""Frames in a row with which speech begins; a click, or a step of the offset, is in the windows of three at most."""

STANDS_OUT_DB = 20.0
"""Speech is within this range below its loudest moment; what is fainter may be the noise of the room."""

LOWEST_HZ, PREEMPHASIS = 20.0, 0.97
"""Of the features. Source: Kaldi, MelBanksOptions and FrameExtractionOptions."""


def level(features: np.ndarray) -> np.ndarray:
    """Power in the band of speech, in dB relative to a sine of full scale.

    Args:
        features: log mel energies [T, M] of :func:`leap_fairseq.speech.fbank`, not normalised.

    Returns:
        [T].
    """
    first, last, gain = _band()
    return np.logaddexp.reduce(features[:, first:last] + gain, axis=1) * (10 / np.log(10))


@functools.cache
def _band() -> Tuple[int, int, np.ndarray]:
    """The bins of the band, and what makes of each the logarithm of its power, relative to full scale."""
    low, high = (1127 * np.log(1 + np.array([LOWEST_HZ, SAMPLE_RATE / 2]) / 700)).tolist()
    centres = 700 * np.expm1(np.linspace(low, high, NUM_MEL_BINS + 2)[1:-1] / 1127)
    first, last = np.searchsorted(centres, BAND_HZ).tolist()
    emphasis = np.abs(1 - PREEMPHASIS * np.exp(-2j * np.pi * centres[first:last] / SAMPLE_RATE))
    gain = -2 * np.log(emphasis)
    sine = fbank(np.sin(2 * np.pi * 1000 / SAMPLE_RATE * np.arange(SAMPLE_RATE // 10)))
    full_scale = np.logaddexp.reduce(sine[:, first:last] + gain, axis=1).mean()
    return first, last, gain - full_scale


class SpeechDetector:
    """Listens for speech.

    Attributes:
        frames: how many were heard.
    """

    def __init__(self) -> None:
        self.frames = 0
        self._loud_in_a_row, self._speaking, self._loudest = 0, False, -np.inf

    def push(self, features: np.ndarray) -> Tuple[List[int], List[int]]:
        """Hears on.

        Args:
            features: the next ones, as for :func:`level`.

        Returns:
            Indices of the frames of speech, from the first of those that it began with; and of those that stand out
            against what was heard of it so far.
        """
        speech, standing_out = [], []
        for frame, decibels in enumerate(level(features).tolist(), start=self.frames):
            self._loud_in_a_row = self._loud_in_a_row + 1 if decibels >= OPENS_DB else 0
            begins = not self._speaking and self._loud_in_a_row >= SHORTEST
            self._speaking = begins or (self._speaking and decibels >= CLOSES_DB)
            if self._speaking:
                speech += range(frame + 1 - SHORTEST, frame + 1) if begins else [frame]
                self._loudest = max(self._loudest, decibels)
                standing_out += [frame] if decibels >= self._loudest - STANDS_OUT_DB else []
        self.frames += len(features)
        return speech, standing_out
