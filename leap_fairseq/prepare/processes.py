"""Work in several processes: results in order, whatever the number, and no worker outlives its parent or its use."""

import argparse
import collections
import concurrent.futures.process
import functools
import multiprocessing.connection
import os
import signal
import threading
from typing import Callable, Iterable, Iterator, Optional, TypeVar

from leap_fairseq.files import DataError

Job = TypeVar("Job")
Result = TypeVar("Result")


def add_processes(parser: argparse.ArgumentParser, default: int) -> None:
    """Adds -j, which never changes what is written."""
    text = "worker processes; the bytes do not depend on it"
    parser.add_argument("-j", "--processes", type=int, default=default, metavar="N", help=text)


def check_processes(count: int) -> None:
    """Refuses an impossible number of worker processes.

    Raises:
        DataError: Below 1.
    """
    if count < 1:
        raise DataError(f"number of processes is {count}, but must be 1 or more (-j)")


def in_order(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    processes: int,
    initializer: Optional[Callable[[], None]] = None,
) -> Iterator[Result]:
    """Maps a function over jobs in worker processes, results in the order of the jobs.

    Only a few results wait at a time, so that a slow reader does not fill the memory. Where it ends early, by an error,
    Ctrl-C or a reader that has enough, the workers end at once.

    Args:
        function: At module level, as are its arguments' types.
        jobs: The arguments, one a call.
        processes: Number of worker processes, at least 1.
        initializer: Called once in each process.

    Raises:
        DataError: processes < 1, or a worker was killed.
    """
    check_processes(processes)
    told, tell = multiprocessing.Pipe(duplex=False)
    start = functools.partial(_start_worker, told, initializer)
    with told, tell, concurrent.futures.ProcessPoolExecutor(processes, initializer=start) as pool:
        waiting: collections.deque = collections.deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(function, job))
                if len(waiting) > 2 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except concurrent.futures.process.BrokenProcessPool as error:
            rule = "most often because the memory was full: give fewer processes (-j), or free memory, and run again"
            raise DataError(f"one of {processes} worker processes was killed, {rule}") from error
        except BaseException:
            tell.send_bytes(b"end")
            raise


def _start_worker(told: multiprocessing.connection.Connection, initializer: Optional[Callable[[], None]]) -> None:
    # A terminal sends Ctrl-C to all: a worker that it ends while it takes a job may keep the others waiting for ever.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A parent that is killed (SIGKILL) cannot end its workers: they would wait for work for ever, or write into the
    # folder of the next run.
    threading.Thread(target=_end_when_told, args=(told,), daemon=True).start()
    if initializer is not None:
        initializer()


def _end_when_told(told: multiprocessing.connection.Connection) -> None:
    """Ends this process with its parent, or when that has written something, which is left there for the others."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel, told])
    os._exit(1)
