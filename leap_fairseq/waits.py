"""Waits for work beside this thread, which Ctrl-C or a request to end does not break in the middle.

Python raises KeyboardInterrupt anywhere: inside of a lock, which then stays closed, and who needs it waits for ever; or
only after a wait without end that had not quite begun. Here it is raised between two short waits.
"""

import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import queue
import signal
import threading
from typing import Iterable, Iterator, TypeVar

Result = TypeVar("Result")

LONGEST_WAIT = 0.5
"""Seconds after which a wait ends, so that a signal is heard, and begins anew."""

SIGNALS = {signal.SIGINT, signal.SIGTERM}
"""Those that are held back."""


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Signals wait for the end of this, but for those that another thread takes.

    Threads and processes that begin within it hold them back until they call :func:`let_through`.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def let_through() -> None:
    """Ends the holding back with which this thread, or process, was born."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def completed(
    futures: "Iterable[concurrent.futures.Future[Result]]",
) -> "Iterator[concurrent.futures.Future[Result]]":
    """The futures in the order in which they end."""
    # Not concurrent.futures.wait, which takes the locks of all futures again and again. To hold signals back is no
    # help: another thread takes them, and Python raises KeyboardInterrupt in this one. This queue has no such lock.
    ended = queue.SimpleQueue()
    waiting = set(futures)
    for future in waiting:
        future.add_done_callback(ended.put)
    while waiting:
        try:
            done = ended.get(timeout=LONGEST_WAIT)
        except queue.Empty:
            continue
        waiting.remove(done)
        yield done


def end_with_parent() -> None:
    """Of a process of multiprocessing: from now on it ends when its parent does, be it killed (SIGKILL)."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
