"""Trainings that a comparison starts: each a process with a log, some at a time, none that is complete again.

A part of `lm/compare.py`, `simulst/compare.py` and `lra/sweep.py`, and of the reports on what they have run.
"""

import argparse
import concurrent.futures
import contextlib
import json
import math
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Sequence, Set, Tuple

from leap_fairseq.files import DataError, Stages, file_digest, whole_file
from leap_fairseq.waits import completed

OF_SEVERAL_MACHINES = ("NODES", "NODE")
"""Variables by which a script shares its work with other machines."""


def keep_first(options: argparse.Namespace, *names: str) -> None:
    """Of a value that an option repeats, keeps the first: a folder has one job, and a mean no run twice."""
    for name in names:
        setattr(options, name, list(dict.fromkeys(getattr(options, name))))


DATA = "data.json"
"""In the folder of a run, digests of the files that it was made from; earlier versions did not write it."""


def begin(folder: Path, options: Any, name: str, stages: str, data: Sequence[Path] = ()) -> Stages:
    """The folder of a run, with its options in a file of a name; what is there of other options is removed.

    Args:
        data: files that the run depends on beside its options; what is there of other ones is removed too.

    Raises:
        DataError: the options are others only in how folders are called, which may be the same ones.
    """
    if not is_of(folder, options, name) or not is_from(folder, data, name):
        _check_paths(folder, options, name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _write_digests(folder, data)
        with whole_file(folder / name, text=True) as file:
            json.dump(options, file, indent=1)
    elif not (folder / DATA).is_file():
        _write_digests(folder, data)
    return Stages(folder, stages)


def _write_digests(folder: Path, data: Sequence[Path]) -> None:
    if data:
        with whole_file(folder / DATA, text=True) as file:
            json.dump(digests(data), file, indent=1)


def digests(data: Sequence[Path]) -> Dict[str, str]:
    """What files hold, by their names."""
    return {path.name: file_digest(path) for path in data}


def is_from(folder: Path, data: Sequence[Path], name: str) -> bool:
    """Whether the run of a folder, whose options are in a file of a name, was made from what these files hold now."""
    if (folder / DATA).is_file():
        return json.loads((folder / DATA).read_text(encoding="utf-8")) == digests(data)
    return older(data, folder / name)


def older(data: Sequence[Path], path: Path) -> bool:
    """Whether files were written before another: all that an earlier version left to know them by."""
    written = path.stat().st_mtime_ns
    return all(each.stat().st_mtime_ns <= written for each in data)


def kind_of(folder: Path, command: Sequence[str]) -> Tuple[str, ...]:
    """What a run is, whatever its seed and its place: means are over runs of one kind."""
    names = [Path(word).name for word in command]
    seeds = {number + 1 for number, word in enumerate(command) if word == "--seed"}
    return tuple(name for number, name in enumerate(names) if number not in seeds and name != folder.name)


def is_of(folder: Path, options: Any, name: str) -> bool:
    """Whether a folder is that of a run with these options."""
    path = folder / name
    # As JSON has them.
    return path.is_file() and json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(options))


def _check_paths(folder: Path, options: Any, name: str) -> None:
    """Refuses to remove a run whose folders are called otherwise, as in another place, with a DataError."""
    path, given = folder / name, _words(options)
    known = _words(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []
    other = [(then, now) for then, now in zip(known, given) if then != now]
    if other and len(known) == len(given) and all(Path(then).name == Path(now).name for then, now in other):
        then, now = other[0]
        remedy = "call it as before, or remove the folder"
        raise DataError(f"{folder} holds a run with {then}, which is {now} now: {remedy}")


def _words(value: Any) -> List[str]:
    """All texts and numbers in plain data, in order."""
    parts = value.values() if isinstance(value, dict) else value
    return [word for part in parts for word in _words(part)] if isinstance(value, (dict, list)) else [str(value)]


_running: Set[int] = set()
"""Processes of `call`."""

_asked_to_end = threading.Event()


def _end_commands() -> None:
    for process in tuple(_running):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGTERM)


@contextlib.contextmanager
def _request_to_end_heard() -> Iterator[None]:
    """Within it, SIGTERM raises an exception, as Ctrl-C does: alone, it would leave the commands behind."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def call(command, log: Path, mode: str = "w", locks: Sequence[int] = ()) -> dict:
    """Runs a command into a log, on this machine alone; returns its peak memory in MiB and its CPU seconds.

    Args:
        locks: of :func:`leap_fairseq.files.locked`, which the command keeps if this process is killed.

    Raises:
        RuntimeError: it failed; with the end of the log.
    """
    words = [str(part) for part in command]
    environment = {name: value for name, value in os.environ.items() if name not in OF_SEVERAL_MACHINES}
    with open(log, mode, encoding="utf-8") as file:
        process = subprocess.Popen(words, env=environment, stdout=file, stderr=subprocess.STDOUT, pass_fds=locks)
        _running.add(process.pid)
        if _asked_to_end.is_set():  # while it began
            _end_commands()
        _, status, usage = os.wait4(process.pid, 0)
        _running.discard(process.pid)
    if status:
        tail = "\n".join(log.read_text(encoding="utf-8").splitlines()[-5:])
        raise RuntimeError(f"{log} ends with\n{tail}")
    return {"peak_mib": usage.ru_maxrss / 1024, "cpu_seconds": usage.ru_utime + usage.ru_stime}


def once(stages: Stages, name: str, command, mode: str = "w", data: Sequence[Path] = ()) -> None:
    """Runs a command into name.log and writes what it used to name.json, unless the same one is complete.

    Args:
        data: files that it depends on beside its words.
    """
    facts: Dict[str, Any] = {"command": [str(part) for part in command]}
    if data and not (stages.is_current(name, facts) and older(data, stages.folder / f"{name}.json")):
        facts["data"] = digests(data)

    def make() -> None:
        with stages.alone() as lock:
            used = call(command, stages.folder / f"{name}.log", mode, [lock])
        with whole_file(stages.folder / f"{name}.json", text=True) as file:
            json.dump(used, file)

    stages.run(name, facts, [f"{name}.log", f"{name}.json"], make)


def run_all(run: Callable[..., None], jobs: Iterable[Sequence], count: int) -> None:
    """Calls `run` with the arguments of every job, in threads, so many at a time.

    Raises:
        ValueError: fewer than one at a time.
        Exception: what the first job to fail raised; those that are running end before, and the rest does not begin.
        KeyboardInterrupt, SystemExit: Ctrl-C, or a request to end (SIGTERM), which end the commands of all jobs.
    """
    if count < 1:
        raise ValueError(f"--jobs {count} must be at least 1")
    ended = threading.Event()

    def attempt(job: Sequence) -> None:
        # Ctrl-C ends the commands of those that are running, and their threads would go on before we know of it.
        if ended.is_set():
            return
        try:
            run(*job)
        except BaseException:
            ended.set()
            raise

    with _request_to_end_heard(), concurrent.futures.ThreadPoolExecutor(count) as pool:
        try:
            for done in completed([pool.submit(attempt, job) for job in jobs]):
                done.result()
        except (KeyboardInterrupt, SystemExit):
            _asked_to_end.set()
            _end_commands()
            raise
        finally:
            ended.set()


def read_log(log: Path, valid: str = "valid") -> Tuple[str, int, List[Tuple[str, Dict[str, Any]]]]:
    """A log of fairseq-train with --log-format json, and the name of its --valid-subset.

    Returns:
        Its text; the number of parameters; and what it says in order: "train_inner" or `valid`, and figures.

    Raises:
        ValueError: it holds no update or no validation.
    """
    text = log.read_text(encoding="utf-8")
    counts = re.findall(r"num\. shared model params: ([\d,]+)", text)
    figures = re.findall(rf"\| (train_inner|{valid}) \| (\{{.*\}})$", text, re.MULTILINE)
    if len({kind for kind, _ in figures}) < 2:
        raise ValueError(f"{log} holds no update or no validation: remove its folder and run the comparison again")
    return text, int(counts[-1].replace(",", "")), [(kind, json.loads(values)) for kind, values in figures]


def cpu_seconds(used: Dict[str, float], text: str, updates: float) -> float:
    """CPU time of all updates of a training, of which an interrupted one has made some in an earlier process.

    Args:
        used: what `once` wrote of the last process.
        text: the log of all of them.
        updates: of the whole training.

    Returns:
        Seconds, at the rate of the last process; nan where that has made no update.
    """
    resumed = re.findall(r"Loaded checkpoint .* @ (\d+) updates\)", text)
    share = 1 - int(resumed[-1]) / updates if resumed else 1.0
    return used["cpu_seconds"] / share if share > 0 else math.nan


def mean_and_deviation(values: Sequence[float]) -> Tuple[float, float]:
    """Over the seeds; the deviation of one is 0."""
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0
