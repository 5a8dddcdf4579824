"""run.json of a real training: written from its beginning, brought up to date, in the way of nothing."""

import json
import platform
import sys

import pytest
import torch
from fairseq.logging import progress_bar
from lm_runs import BATCHES, EPOCH, files, train, write_text

from leap_fairseq.report.run_record import NAME, RunRecord
from leap_fairseq.tasks import recorded_training

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

LM = BATCHES["leap_language_modeling"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def twice(data, tmp_path_factory):
    """A training that was stopped in its second epoch and resumed."""
    folder = tmp_path_factory.mktemp("twice")
    for updates in (EPOCH + 2, EPOCH + 4):
        train(data, folder, LM, updates)
    return folder


def test_sessions_of_a_resumed_training(twice):
    record = RunRecord.read(twice)
    assert [(one["first_update"], one["updates"]) for one in record.sessions] == [(0, 7), (7, 9)]
    curve = record.validations()
    assert [entry["updates"] for entry in curve] == [EPOCH, EPOCH + 2, EPOCH + 4]
    state = torch.load(twice / "checkpoint_last.pt")["extra_state"]
    assert curve[-1]["loss"] == state["val_loss"] and curve[-1].keys() >= {"subset", "seconds", "loss", "ppl"}
    assert record.summary()["best"]["value"] == state["best"] == min(entry["loss"] for entry in curve)
    assert curve == sorted(curve, key=lambda entry: entry["seconds"]) and curve[0]["seconds"] > 0


def test_facts(twice):
    facts = RunRecord.read(twice).sessions[-1]
    assert facts["command"] == sys.argv and facts["host"] == platform.node() and facts["started"].endswith("+00:00")
    assert (facts["seed"], facts["processes"], facts["arch"]) == (1, 1, "leap_transformer_lm_tiny")
    weights = torch.load(twice / "checkpoint_last.pt")["model"]
    assert 0 < facts["parameters"] <= sum(weight.numel() for weight in weights.values())
    assert facts["device"] and facts["threads"] == torch.get_num_threads()
    assert facts["versions"].keys() >= {"python", "torch", "fairseq"}


def test_a_training_that_has_ended_changes_nothing(data, twice):
    before = files(twice)
    train(data, twice, LM, EPOCH + 4)
    assert files(twice) == before


def test_it_is_there_from_the_beginning(data, tmp_path, monkeypatch):
    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(recorded_training.RecordedTraining, "train_step", stop)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path, LM, 2)
    assert RunRecord.read(tmp_path).summary().keys() >= {"updates", "seconds"}
    assert json.loads((tmp_path / NAME).read_text(encoding="utf-8"))["updates"] == 0


def test_checkpoints_without_a_validation_are_counted(data, tmp_path):
    train(data, tmp_path, LM, 3, dataset__disable_validation=True, checkpoint__save_interval_updates=2)
    record = RunRecord.read(tmp_path)
    assert record.summary()["updates"] == 3 and record.validations() == []


def test_one_process_writes_and_no_save_means_nothing(data, tmp_path, monkeypatch):
    train(data, tmp_path / "a", LM, 1, checkpoint__no_save=True)
    monkeypatch.setattr(recorded_training.distributed_utils, "is_master", lambda cfg: False)
    train(data, tmp_path / "b", LM, 1)
    for folder in ("a", "b"):
        assert not (tmp_path / folder / NAME).exists()


def test_a_training_goes_on_without_its_record(data, tmp_path, caplog, monkeypatch):
    def full(self):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(RunRecord, "write", full)
    train(data, tmp_path, LM, 1)
    assert (tmp_path / "checkpoint_last.pt").is_file() and not (tmp_path / NAME).exists()
    assert "is not brought up to date: [Errno 28] No space left" in caplog.text


def test_the_commit_is_that_of_a_checkout_alone(tmp_path):
    assert recorded_training._commit(tmp_path) is None
    (tmp_path / ".git").mkdir()
    assert recorded_training._commit(tmp_path) is None  # no repository: what git says is on stderr


def test_tensorboard(data, tmp_path):
    pytest.importorskip("torch.utils.tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    more = {"common__tensorboard_logdir": str(tmp_path / "board"), "common__log_interval": 1}
    train(data, tmp_path / "run", LM, 2, **more)
    progress_bar._close_writers()
    progress_bar._tensorboard_writers.clear()
    valid, train_inner = (
        EventAccumulator(str(tmp_path / "board" / name)).Reload() for name in ("valid", "train_inner")
    )
    assert [event.step for event in train_inner.Scalars("loss")] == [1, 2]
    (event,) = valid.Scalars("loss")
    assert event.value == pytest.approx(RunRecord.read(tmp_path / "run").validations()[0]["loss"])


@pytest.mark.slow
def test_wandb(data, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.delenv("WANDB_NAME", raising=False)
    train(data, tmp_path / "run", LM, 2, common__wandb_project="leap", common__log_interval=1)
    name = wandb.run.name
    # What belongs to the last step, a validation among it, is written at the end.
    wandb.finish()
    (written,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    assert name == "run" and all(figure in written.read_bytes() for figure in (b"valid/loss", b"train_inner/loss"))
