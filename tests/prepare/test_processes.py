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
import pathlib, signal, sys, time
from leap_fairseq.prepare.processes import in_order

signal.signal(signal.SIGINT, signal.default_int_handler)

def job(path):
    if path:
        pathlib.Path(path).touch()
        time.sleep(300)

list(in_order(job, ["", "", sys.argv[1]], 3))
"""
"""Two of the workers soon have nothing to do. What a shell has started in the background would ignore Ctrl-C."""


def test_ctrl_c_ends_all_at_once_and_no_worker_says_a_word(tmp_path):
    command = [sys.executable, "-c", AT_WORK, str(tmp_path / "begun")]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "begun").exists():
            assert process.poll() is None
            time.sleep(0.001)
        os.killpg(process.pid, signal.SIGINT)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.poll() is None and os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGINT and said.count("Traceback") == 1


def run_python(program):
    return subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, timeout=60)


def test_ctrl_c_waits_until_a_worker_has_begun():
    """It reaches each of them before anything else does."""
    program = """
import os, signal
from leap_fairseq.prepare.processes import in_order

os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGINT))
assert list(in_order(abs, range(-9, 0), 3)) == list(range(9, 0, -1))
"""
    ended = run_python(program)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_ctrl_c_that_does_not_end_a_wait_is_heard_after_it():
    """As one that comes just before the wait: it interrupts a call of another thread, here always."""
    program = """
import signal, threading, time
from leap_fairseq.prepare.processes import in_order

signal.signal(signal.SIGINT, signal.default_int_handler)

def press():
    time.sleep(1)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)

threading.Thread(target=press).start()
list(in_order(time.sleep, [300], 1))
"""
    ended = run_python(program)
    assert ended.returncode == -signal.SIGINT and ended.stderr.count("Traceback") == 1


def large(number):
    return bytes(3_000_000)


@pytest.mark.timeout(60)
def test_who_has_enough_does_not_wait_for_half_of_a_result():
    for _ in range(5):
        results = in_order(large, range(9), 3)
        assert len(next(results)) == 3_000_000
        results.close()


def fails_at(number):
    time.sleep(0.5 if number == 1 else 0)
    return [1, 2, 1 / (3 - number)]


def test_what_came_before_an_error_is_given():
    results = in_order(fails_at, range(9), 3)
    assert [next(results)[2] for _ in range(3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError) as caught:
        next(results)
    assert "in fails_at" in str(caught.value.__cause__)


def closes(number):
    raise EOFError("of the job")


def test_an_error_of_a_job_is_no_killed_worker():
    with pytest.raises(EOFError, match="of the job"):
        list(in_order(closes, [1], 1))


def test_what_cannot_be_sent_is_said():
    with pytest.raises(Exception, match="cannot pickle"):
        list(in_order(open, ["/dev/null"], 1))


begun = []


def begin():
    begun.append(os.getpid())


def begun_here(number):
    time.sleep(0.05)
    return tuple(begun)


def test_each_process_begins_once_and_none_without_a_job():
    found = set(in_order(begun_here, range(20), 3, begin))
    assert 1 <= len(found) <= 3 and all(len(pids) == 1 for pids in found) and not begun
    assert len(set(in_order(begun_here, range(1), 3, begin))) == 1
    assert list(in_order(begun_here, (), 3, begin)) == []


def waits(number):
    time.sleep(300 if number else 0)


@pytest.mark.timeout(60)
def test_who_has_enough_does_not_wait_for_the_rest():
    results = in_order(waits, range(9), 2)
    next(results)
    results.close()
