"""When a client sends the pieces of a recording, and what time it is when their words come back."""

import asyncio
import time


class RealTime:
    """Sound at the speed of speech: a piece is sent when its last sample has been spoken."""

    def __init__(self):
        self._begin = time.monotonic()

    async def spoken(self, ms: float) -> None:
        """Waits until so much has been spoken."""
        await asyncio.sleep(self._begin + ms / 1000 - time.monotonic())

    def asked(self) -> None:
        """Something is sent that will be answered."""

    def answered(self) -> None:
        """It was."""

    def elapsed(self, delay: float) -> float:
        """Time of a word that is received now, ms; no less than its delay, by the resolution of the clock."""
        return max(delay, (time.monotonic() - self._begin) * 1000)


class AsFastAsTaken(RealTime):
    """Sound that takes no time, only its translation does: a piece is sent when the one before is answered."""

    def __init__(self):
        self._waited, self._free = 0.0, asyncio.Event()
        self._free.set()

    async def spoken(self, ms: float) -> None:
        """Waits until all that was sent is answered."""
        await self._free.wait()

    def asked(self) -> None:
        """Something is sent that will be answered."""
        self._begin = time.monotonic()
        self._free.clear()

    def answered(self) -> None:
        """It was."""
        self._waited += time.monotonic() - self._begin
        self._free.set()

    def elapsed(self, delay: float) -> float:
        """Time of a word that is received now, ms."""
        return delay + self._waited * 1000
