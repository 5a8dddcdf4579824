"""Lines of progress of work of known size, with an estimate of what remains."""

import datetime
import logging
import time
from typing import Callable

logger = logging.getLogger(__name__)

EVERY = 30.0
"""Seconds between two lines."""


class Progress:
    """Counts what is done, and says it now and then.

    Args:
        what: For the lines.
        total: Number of clips.
        done: Of them, by an earlier run.
        clock: Seconds.
    """

    def __init__(self, what: str, total: int, done: int = 0, clock: Callable[[], float] = time.monotonic):
        self._what, self._total, self._done, self._before, self._clock = what, total, done, done, clock
        self._start = self._said = clock()
        if done:
            logger.info("%s: %s of %s clips are there from an earlier run", what, f"{done:,}", f"{total:,}")

    def add(self, clips: int) -> None:
        """Counts what was done now."""
        self._done += clips
        now = self._clock()
        if now - self._said >= EVERY:
            self._said = now
            logger.info("%s", self.line(now))

    def line(self, now: float) -> str:
        """What is done, and what remains at the speed of this run."""
        rate = (self._done - self._before) / (now - self._start)
        left = datetime.timedelta(seconds=round((self._total - self._done) / rate)) if rate else "unknown time"
        share = f"{self._done:,} of {self._total:,} clips ({100 * self._done / self._total:.1f} %)"
        return f"{self._what}: {share}, {rate:.1f} a second, {left} left"
