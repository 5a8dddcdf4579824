"""Trainings that a comparison starts: each a process with a log, some at a time, none that is complete again.

A part of `lm/compare.py` and `lra/sweep.py`.
"""

import concurrent.futures
import json
import os
import subprocess
from pathlib import Path
from typing import Callable, Iterable, Sequence

from leap_fairseq.files import Stages, whole_file


def call(command, log: Path, mode: str = "w") -> dict:
    """Runs a command into a log; returns its peak memory in MiB and its CPU seconds.

    Raises:
        RuntimeError: it failed; with the end of the log.
    """
    with open(log, mode, encoding="utf-8") as file:
        process = subprocess.Popen([str(part) for part in command], stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-5:])
        raise RuntimeError(f"{log} ends with\n{tail}")
    return {"peak_mib": usage.ru_maxrss / 1024, "cpu_seconds": usage.ru_utime + usage.ru_stime}


def once(stages: Stages, name: str, command, mode: str = "w") -> None:
    """Runs a command into name.log and writes what it used to name.json, unless the same one is complete."""

    def make() -> None:
        used = call(command, stages.folder / f"{name}.log", mode)
        with whole_file(stages.folder / f"{name}.json", text=True) as file:
            json.dump(used, file)

    stages.run(name, {"command": [str(part) for part in command]}, [f"{name}.log", f"{name}.json"], make)


def run_all(run: Callable[..., None], jobs: Iterable[Sequence], count: int) -> None:
    """Runs every job, some at a time; after a failure those that are running end, and the rest does not begin.

    Args:
        run: what is called, in a thread.
        jobs: its arguments, one sequence a job, in the order they begin.
        count: at a time.

    Raises:
        Exception: what the first job to fail raised.
    """
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        waiting = [pool.submit(run, *job) for job in jobs]
        for done in concurrent.futures.as_completed(waiting):
            if done.exception():
                pool.shutdown(wait=False, cancel_futures=True)
                raise done.exception()
