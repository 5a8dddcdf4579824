"""Work in several processes: results in order, whatever the number, and no worker outlives its parent or its use.

A worker has a pipe of its own, and no lock is shared: what one leaves behind when it is ended, half of a result for
example, keeps nobody waiting, as it does in a pool of the standard library.
"""

import argparse
import contextlib
import multiprocessing
import signal
from multiprocessing.connection import Connection, wait
from multiprocessing.pool import ExceptionWithTraceback
from multiprocessing.reduction import ForkingPickler
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple, TypeVar

from leap_fairseq.files import DataError
from leap_fairseq.waits import LONGEST_WAIT, end_with_parent, held_back, let_through

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
        processes: Number of worker processes, at least 1; there are no more of them than jobs.
        initializer: Called once in each process.

    Raises:
        DataError: processes < 1, or a worker was killed.
        Others: those of the jobs, of the function and of the initializer.
    """
    check_processes(processes)
    workers = _Workers(function, initializer, processes)
    try:
        yield from _results(workers, jobs)
    finally:
        workers.end()


def _results(workers: "_Workers", jobs: Iterable[Job]) -> Iterator[Any]:
    numbered, more = enumerate(jobs), True
    computing: Dict[Connection, int] = {}
    answers: Dict[int, Tuple[bool, Any]] = {}
    given = 0
    while True:
        while more and len(computing) < workers.most and len(computing) + len(answers) <= 2 * workers.most:
            number, job = next(numbered, (None, None))
            if number is None:
                more = False
            else:
                computing[workers.begin(job)] = number
        if given in answers:
            done, value = answers.pop(given)
            if not done:
                raise value
            yield value
            given += 1
        elif computing:
            # Not for ever: Ctrl-C that comes just before a wait is heard after it.
            for connection in wait(list(computing), LONGEST_WAIT):
                answers[computing.pop(connection)] = workers.answer(connection)
        else:
            return


class _Workers:
    """Processes that are begun when there is something to do.

    Args:
        function: that they call.
        initializer: as for `in_order`.
        most: how many there may be.
    """

    def __init__(self, function: Callable, initializer: Optional[Callable[[], None]], most: int):
        self.most, self._work = most, (function, initializer)
        self._begun: List[Tuple[multiprocessing.Process, Connection]] = []
        self._free: List[Connection] = []

    def begin(self, job: Any) -> Connection:
        """Gives a job to one that is free; fewer than `most` are not. Returns the connection on which it answers."""
        connection = self._free.pop() if self._free else self._new()
        with self._alive():
            connection.send(job)
        return connection

    def answer(self, connection: Connection) -> Tuple[bool, Any]:
        """Of one that has answered, which is free now: whether it is done, and the result or what was raised."""
        with self._alive():
            answer = connection.recv()
        self._free.append(connection)
        return answer

    def end(self) -> None:
        """Kills all of them, whatever they are at."""
        for process, _ in self._begun:
            process.kill()
        for process, connection in self._begun:
            process.join()
            connection.close()

    def _new(self) -> Connection:
        ours, theirs = multiprocessing.Pipe()
        process = multiprocessing.Process(target=_work, args=(theirs, *self._work), daemon=True)
        # A terminal sends Ctrl-C to all: also to one that does not ignore it yet.
        with held_back():
            process.start()
            self._begun.append((process, ours))
        # No other worker gets this end: ours says when this one has been killed.
        theirs.close()
        return ours

    @contextlib.contextmanager
    def _alive(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, ConnectionError) as error:
            rule = "most often because the memory was full: give fewer processes (-j), or free memory, and run again"
            raise DataError(f"one of {self.most} worker processes was killed, {rule}") from error


def _work(connection: Connection, function: Callable, initializer: Optional[Callable[[], None]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    let_through()
    # A parent that is killed (SIGKILL) cannot end its workers: they would write into the folder of the next run.
    end_with_parent()
    while True:
        job = connection.recv()
        try:
            if initializer is not None:
                initializer()
                initializer = None
            answer = ForkingPickler.dumps((True, function(job)))
        except Exception as error:
            answer = ForkingPickler.dumps((False, ExceptionWithTraceback(error, error.__traceback__)))
        connection.send_bytes(answer)
