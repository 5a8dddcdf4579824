"""Pauses in speech, from the loudness of its features.

Shape legend: T feature frames of 10 ms, M mel bins.
"""

from typing import List, Tuple

import numpy as np

SHORTEST = 20
"""Feature frames; a gap of less than 200 ms is within a word or between two."""

QUIET, LOUD = 5, 95
"""Percentiles that stand for the background and for speech: what is heard has some of both."""

SHARE = 0.25
"""A frame is quiet that is closer than this share of the way from the background to speech."""


def loudness(features: np.ndarray) -> np.ndarray:
    """How loud each frame of features [T, M] is, [T]: the mean of its log mel energies, normalised or not."""
    return features.mean(axis=1)


def quiet_below(features: np.ndarray) -> float:
    """The loudness below which a frame belongs to the background of this speech, [T, M] with T >= 1."""
    background, speech = np.percentile(loudness(features), (QUIET, LOUD))
    return float(background + SHARE * (speech - background))


def find_pauses(features: np.ndarray) -> List[Tuple[int, int]]:
    """Long enough stretches of quiet frames of features [T, M]: the first frame and the one behind the last of each."""
    if len(features) < SHORTEST:
        return []
    quiet = loudness(features) < quiet_below(features)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], quiet, [False]))))
    return [(int(first), int(end)) for first, end in zip(edges[::2], edges[1::2]) if end - first >= SHORTEST]
