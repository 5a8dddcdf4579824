"""torch reads the few types of fairseq's checkpoints, and refuses all others."""

import argparse
import io
import pickle
from pathlib import Path

import numpy as np
import omegaconf
import pytest
import torch

from leap_fairseq import compat
from leap_fairseq.compat.checkpoint_types import allow_checkpoint_types

compat.apply()


@pytest.fixture
def unrepaired():
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.clear_safe_globals()
    yield
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(allowed)


def saved(value) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return file


def contents():
    from fairseq.distributed.utils import _TensorPlaceholder

    yield {"args": argparse.Namespace(arch="convtransformer", lr=[0.1])}
    config = {"model": {"_name": "transformer_lm", "layers": 2}, "lr": [0.1], "none": None, "path": "a"}
    yield omegaconf.OmegaConf.create(config, flags={"allow_objects": True})
    yield {"weight": _TensorPlaceholder(3)}
    yield {"metric": np.float64(0.5), "counts": np.arange(4), "flag": np.bool_(True), "half": np.float16(1)}


def test_refused_without_the_repair(unrepaired):
    for value in contents():
        with pytest.raises(pickle.UnpicklingError, match="weights_only"):
            torch.load(saved(value))


def test_read_with_the_repair(unrepaired):
    allow_checkpoint_types()
    allow_checkpoint_types()
    for value in contents():
        loaded = torch.load(saved(value))
        assert str(loaded) == str(value)


def test_read_where_the_environment_turns_the_check_off(unrepaired, monkeypatch):
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    allow_checkpoint_types()
    for value in contents():
        assert str(torch.load(saved(value), weights_only=True)) == str(value)


def test_numbers_written_under_numpy_1_are_read():
    file = saved({"best": np.float64(0.5)})
    # Both names have the same meaning; the pickle inside is rewritten as numpy 1 would have written it.
    data = pickle.dumps(np.float64(0.5), protocol=2).replace(b"numpy._core.", b"numpy.core.")
    assert torch.load(file)["best"] == 0.5
    from torch import _weights_only_unpickler

    assert _weights_only_unpickler.load(io.BytesIO(data), encoding="utf-8") == 0.5


def test_foreign_class_is_refused_and_runs_nothing(tmp_path):
    witness = tmp_path / "ran"

    class Attack:
        def __reduce__(self):
            return Path.touch, (witness,)

    class Shell:
        def __reduce__(self):
            return eval, (f"open({str(witness)!r}, 'w')",)

    for attack in (Attack(), Shell()):
        with pytest.raises(pickle.UnpicklingError, match="Unsupported global"):
            torch.load(saved({"args": argparse.Namespace(x=1), "model": attack}))
    from fairseq.checkpoint_utils import load_checkpoint_to_cpu

    path = tmp_path / "checkpoint.pt"
    path.write_bytes(saved({"args": Shell()}).getvalue())
    with pytest.raises(pickle.UnpicklingError, match="Unsupported global"):
        load_checkpoint_to_cpu(str(path))
    assert not witness.exists()


def test_a_torch_that_refuses_nothing_is_left_alone(unrepaired, monkeypatch):
    monkeypatch.setattr(torch, "load", lambda file, weights_only: None)
    allow_checkpoint_types()
    assert not torch.serialization.get_safe_globals()
