"""Choices that are the same on every machine."""

import random
from typing import Sequence, TypeVar

T = TypeVar("T")


class Choices:
    """A seeded source of choices that is the same on every Python version."""

    def __init__(self, seed: int):
        self._random = random.Random(seed)

    def pick(self, options: Sequence[T]) -> T:
        """One of the options, each as likely as the others."""
        # Of the random module only random() itself is guaranteed never to change.
        return options[int(self._random.random() * len(options))]

    def between(self, low: float, high: float) -> float:
        """A number from low to high."""
        return low + (high - low) * self._random.random()
