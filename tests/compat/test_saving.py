"""A checkpoint whose first attempt failed is whole all the same."""

import io

import pytest
import torch
from fairseq import checkpoint_utils

from leap_fairseq import compat
from leap_fairseq.compat.replacing import original

compat.apply()


class FullForAMoment(io.BytesIO):
    """A file behind whose first bytes there is no space, so many times."""

    def __init__(self, failures):
        super().__init__()
        self.failures = failures

    def write(self, data):
        if self.failures and self.tell() > 100:
            self.failures -= 1
            raise OSError("No space left on device")
        return super().write(data)


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_further_attempt_is_whole(failures):
    file, state = FullForAMoment(failures), {"weight": torch.randn(1000)}
    checkpoint_utils._torch_persistent_save(state, file)
    file.seek(0)
    assert torch.equal(torch.load(file)["weight"], state["weight"])


def test_the_control_that_fairseq_alone_appends():
    file = FullForAMoment(1)
    original(checkpoint_utils._torch_persistent_save)({"weight": torch.randn(1000)}, file)
    file.seek(0)
    with pytest.raises(RuntimeError, match="invalid header or archive is corrupted"):
        torch.load(file)


def test_the_last_failure_is_an_error():
    # torch cannot write the end of its archive either.
    with pytest.raises((OSError, RuntimeError)):
        checkpoint_utils._torch_persistent_save({"weight": torch.randn(1000)}, FullForAMoment(10**6))
