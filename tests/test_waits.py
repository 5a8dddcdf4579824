"""Waits: a signal is heard soon, and never within one."""

import concurrent.futures
import signal
import subprocess
import sys
import threading
import time

import pytest

from leap_fairseq.waits import LONGEST_WAIT, SIGNALS, completed, held_back, let_through


def blocked():
    return signal.pthread_sigmask(signal.SIG_BLOCK, ()) & SIGNALS


@pytest.mark.parametrize("number", sorted(SIGNALS))
def test_a_signal_waits_for_the_end(number, monkeypatch):
    heard = []
    before = signal.signal(number, lambda *_: heard.append(number))
    try:
        with held_back():
            signal.raise_signal(number)
            assert not heard and blocked() == SIGNALS
        assert heard == [number] and not blocked()
        signal.raise_signal(number)  # the control
        assert heard == [number] * 2
    finally:
        signal.signal(number, before)


def test_what_begins_within_it_is_let_through_where_it_says_so():
    found = []

    def begin():
        found.append(blocked())
        let_through()
        found.append(blocked())

    with held_back():
        thread = threading.Thread(target=begin)
        thread.start()
        thread.join()
    assert found == [SIGNALS, set()]


def test_futures_come_as_they_end_and_between_them_nothing_is_held_back():
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        turns = [threading.Event() for _ in range(3)]
        futures = [pool.submit(turn.wait, 60) for turn in turns]
        ended = completed(futures)
        for number in (2, 0, 1):
            turns[number].set()
            assert next(ended) is futures[number] and not blocked()
        assert next(ended, None) is None


@pytest.fixture
def heard():
    """SIGINT is, also where a shell has started the tests in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_no_lock_is_taken_that_ctrl_c_could_leave_closed():
    """As it does where it comes between the taking of a lock and the block that gives it back."""
    taken = []

    def trace(frame, event, argument):
        if frame.f_code is threading.Condition.__enter__.__code__:
            taken.append(frame.f_back.f_code.co_name)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        ended = completed([pool.submit(time.sleep, seconds) for seconds in (0, 1.5 * LONGEST_WAIT)])
        next(ended)
        sys.settrace(trace)
        try:
            next(ended)
        finally:
            sys.settrace(None)
    assert not taken


def test_a_signal_that_ends_no_wait_is_heard_after_it(heard):
    """As one that comes just before the wait: it interrupts a call of another thread."""
    pressed, go_on = threading.Event(), threading.Event()

    def press():
        pressed.wait()
        time.sleep(LONGEST_WAIT / 4)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        go_on.wait(60)

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(press)
        pressed.set()
        with pytest.raises(KeyboardInterrupt):
            next(completed([future]))
        assert not future.done() and not blocked()
        go_on.set()


def test_a_worker_ends_with_its_parent():
    program = """
import multiprocessing, os, signal, time
from leap_fairseq.waits import end_with_parent

def work():
    end_with_parent()
    os.write(1, b"begun")
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(300)

multiprocessing.get_context("fork").Process(target=work).start()
time.sleep(300)
"""
    # The end of what they write is that of both.
    ended = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=60)
    assert ended.returncode == -signal.SIGKILL and ended.stdout == b"begun"
