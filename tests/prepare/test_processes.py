"""Work in several processes: a worker that is killed is said, with what to do."""

import os
import signal

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
