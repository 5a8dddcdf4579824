"""Work in several processes: it ends at once and without a word when told to, and says when a worker was killed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from leap_fairseq.files import DataError
from leap_fairseq.prepare.processes import in_order


def killed_at(number):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


@pytest.mark.parametrize("jobs", (3, 9))
def test_a_killed_worker_is_named(jobs):
    with pytest.raises(DataError, match=r"one of 1 worker processes was killed.*fewer processes \(-j\)"):
        list(in_order(killed_at, range(jobs), 1))


AT_WORK = """
import pathlib, sys, time
from leap_fairseq.prepare.processes import in_order

def job(path):
    pathlib.Path(path).touch()
    time.sleep(300)

list(in_order(job, [sys.argv[1]], 3))
"""
"""Two of the workers have nothing to do."""


def test_ctrl_c_ends_all_at_once_and_no_worker_says_a_word(tmp_path):
    command = [sys.executable, "-c", AT_WORK, str(tmp_path / "begun")]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.poll() is None and os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGINT and said.count("Traceback") == 1


def waits(number):
    time.sleep(300 if number else 0)


def test_who_has_enough_does_not_wait_for_the_rest():
    results = in_order(waits, range(9), 2)
    next(results)
    signal.alarm(60)
    results.close()
    signal.alarm(0)
