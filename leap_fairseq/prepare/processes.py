"""What the command lines of this folder share: logging to stderr, user errors as one line, work in parallel."""

import argparse
import collections
import concurrent.futures
import logging
import multiprocessing
import os
import sys
import threading
from typing import Any, Callable, Iterable, Iterator, Optional, TypeVar


from leap_fairseq.speech import AudioError, DataError

logger = logging.getLogger(__name__)

Job = TypeVar("Job")
Result = TypeVar("Result")


def command_parser(description: str) -> argparse.ArgumentParser:
    """A parser whose help shows the first paragraph of a script's docstring, and every default."""
    return argparse.ArgumentParser(
        description=description.split("\n\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )


def add_processes(parser: argparse.ArgumentParser, default: int) -> None:
    """Adds -j, which never changes what is written."""
    text = "worker processes; the bytes do not depend on it"
    parser.add_argument("-j", "--processes", type=int, default=default, metavar="N", help=text)


def run_command(main: Callable[[], Any]) -> int:
    """Runs a command line.

    Args:
        main: Parses the arguments and does the work.

    Returns:
        The exit code: 0, or 1 after an error that the user can mend, which is logged in one line.
    """
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s | %(levelname)s | %(name)s | %(message)s",
        datefmt="%H:%M:%S",
    )
    try:
        main()
    except (AudioError, DataError, OSError) as error:
        logger.error("%s", error)
        return 1
    return 0


def in_order(
    function: Callable[[Job], Result],
    jobs: Iterable[Job],
    processes: int,
    initializer: Optional[Callable[[], None]] = None,
) -> Iterator[Result]:
    """Maps a function over jobs in worker processes, results in the order of the jobs.

    Only a few results wait at a time, so that a slow reader does not fill the memory.

    Args:
        function: At module level, as are its arguments' types.
        jobs: The arguments, one a call.
        processes: Number of worker processes, at least 1.
        initializer: Called once in each process.

    Yields:
        The results.

    Raises:
        DataError: processes < 1.
    """
    if processes < 1:
        raise DataError(f"number of processes is {processes}, but must be 1 or more (-j)")
    with concurrent.futures.ProcessPoolExecutor(processes, initializer=_start_worker, initargs=(initializer,)) as pool:
        waiting: collections.deque = collections.deque()
        try:
            for job in jobs:
                waiting.append(pool.submit(function, job))
                if len(waiting) > 2 * processes:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _start_worker(initializer: Optional[Callable[[], None]]) -> None:
    # A parent that is killed (SIGKILL) cannot end its workers: they would wait for work for ever, or write into the
    # folder of the next run.
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer is not None:
        initializer()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
