"""Another sample rate, with no more delay than the features of speech leave: a polyphase filter of fixed length.

An output is the sum of the ``2 H`` inputs around its moment, weighted by a low pass, a sinc in a Kaiser window. From
8 kHz on it is there 4.75 ms behind its moment at most, and the last window of a decision ends 5 ms before the decision
(:mod:`leap_fairseq.streaming.frames`): words come as early as at 16 kHz. (soxr computes in blocks, of which it holds
back up to 40 ms at 48 kHz, and 115 ms at 8 kHz.)

Shape legend: N inputs, M outputs, P phases of an output between two inputs, T = 2 H taps.
"""

import functools
import math
from typing import Tuple

import numpy as np

HALF_SECONDS, HALF_SAMPLES = 0.0045, 36
"""Half of the window: the longer of the two, the latter at the lower of the rates."""

STOPBAND_DB = 90.0
"""Half of the amplitude is left at half of the lower rate: what is 320 Hz below is whole, for the sake of the highest
features, and what is up to 320 Hz above is folded back."""

MOST_PHASES = 1000
"""Rates with a divisor in common with 16 kHz, as all usual ones have, need 640 at most, and are exact."""


class PolyphaseResampler:
    """Resamples a stream, however it is cut to the same bits.

    Args:
        source_rate: Hz of the incoming samples, at least 1.
        target_rate: Hz of the outgoing samples, at least 1.
    """

    def __init__(self, source_rate: int, target_rate: int):
        divisor = math.gcd(source_rate, target_rate)
        self._up, self._down = target_rate // divisor, source_rate // divisor
        self._bank, self._half = _filter_bank(source_rate, target_rate)
        # The samples from `_first` on, where the silence before the stream counts below 0.
        self._buffer, self._first = np.zeros(self._half, np.float32), -self._half
        self._received = self._returned = 0

    def push(self, samples: np.ndarray, last: bool = False) -> np.ndarray:
        """Takes the next samples, float32 [N].

        Args:
            samples: mono.
            last: nothing follows.

        Returns:
            The samples that became final, float32 [M].
        """
        self._received += len(samples)
        silence = np.zeros(self._half + 2 if last else 0, np.float32)
        self._buffer = np.concatenate([self._buffer, samples, silence])
        ready = -(-self._received * self._up // self._down)
        if not last:
            ready = max(self._returned, (self._received - self._half - 2) * self._up // self._down + 1)
        outputs = self._compute(self._returned, ready)
        self._returned = ready
        unneeded = max(0, ready * self._down // self._up - self._half - self._first)
        self._buffer, self._first = self._buffer[unneeded:].copy(), self._first + unneeded
        return outputs

    def _compute(self, first: int, end: int) -> np.ndarray:
        """The outputs of these numbers, those of one phase together."""
        outputs = np.empty(end - first, np.float32)
        if not len(outputs):
            return outputs
        windows = np.lib.stride_tricks.sliding_window_view(self._buffer, self._bank.shape[1])
        for number in range(first, min(first + self._up, end)):
            before, rest = divmod(number * self._down, self._up)
            step, phase = divmod((rest * len(self._bank) + self._up // 2) // self._up, len(self._bank))
            alike = outputs[number - first :: self._up]
            inputs = windows[before + step - self._half + 1 - self._first :: self._down][: len(alike)]
            # Each window is summed by itself: its bits do not depend on how many there are.
            alike[:] = np.einsum("mt,t->m", inputs, self._bank[phase])
        return outputs


@functools.lru_cache(maxsize=16)
def _filter_bank(source_rate: int, target_rate: int) -> Tuple[np.ndarray, int]:
    """Weights [P, T] of the inputs around an output at each phase between two inputs; and T / 2.

    Source: Kaiser, Nonrecursive digital filter design using the I0-sinh window function, ISCAS 1974.
    """
    lower = min(source_rate, target_rate)
    seconds = max(HALF_SECONDS, HALF_SAMPLES / lower)
    half = math.floor(seconds * source_rate)
    phases = min(target_rate // math.gcd(source_rate, target_rate), MOST_PHASES)
    distance = np.arange(phases)[:, None] / phases + half - 1 - np.arange(2 * half)
    window = np.i0(0.1102 * (STOPBAND_DB - 8.7) * np.sqrt(np.maximum(0, 1 - (distance / half) ** 2)))
    weights = np.sinc(lower / source_rate * distance) * window
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32), half
