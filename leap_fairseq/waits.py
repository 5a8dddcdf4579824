"""Waits for work beside this thread, which Ctrl-C or a request to end does not break in the middle.

Python raises KeyboardInterrupt anywhere: inside of a lock, which then stays closed, and who needs it waits for ever; or
only after a wait without end that had not quite begun. Here it is raised between two short waits.
"""

import concurrent.futures
import contextlib
import signal
from typing import Iterable, Iterator, TypeVar

Result = TypeVar("Result")

LONGEST_WAIT = 0.5
"""Seconds for which a signal may be held back."""

SIGNALS = {signal.SIGINT, signal.SIGTERM}
"""Those that are held back."""


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Signals wait for the end of this; those of threads and processes that begin within it, until `let_through`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_through() -> None:
    """Ends what this thread, or process, was born with."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def completed(
    futures: "Iterable[concurrent.futures.Future[Result]]",
) -> "Iterator[concurrent.futures.Future[Result]]":
    """The futures in the order in which they end."""
    waiting = set(futures)
    while waiting:
        with held_back():
            done, waiting = concurrent.futures.wait(waiting, LONGEST_WAIT, concurrent.futures.FIRST_COMPLETED)
        yield from done
