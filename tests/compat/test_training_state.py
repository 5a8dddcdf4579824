"""A training that is stopped, killed or started again ends with the weights of one that is not, bit for bit."""

import os
import shutil

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.data.iterators import EpochBatchIterator
from fairseq.optim.fp16_optimizer import _FP16OptimizerMixin
from fairseq.tasks import FairseqTask
from fairseq.trainer import Trainer
from lm_runs import BATCHES, EPOCH, PLATEAU, differing, files, train, weights, write_text

from leap_fairseq.compat.replacing import original
from leap_fairseq.tasks.leap_language_modeling import LeapLanguageModelingTask

# hydra and torch warn of the age of fairseq's calls.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

LM, CARRIED = BATCHES["leap_language_modeling"], BATCHES["carried"]
SILENT = {"dataset__disable_validation": True}
END = 2 * EPOCH + 2


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_text(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    """A function: the weights after a training without a stop."""
    made = {}

    def run(flags=LM, **changes):
        key = flags, *changes.items()
        if key not in made:
            made[key] = weights(train(data, tmp_path_factory.mktemp("straight"), flags, END, **changes))
        return made[key]

    return run


def stopped(data, folder, stops, flags=LM, **changes):
    for updates in (*stops, END):
        train(data, folder, flags, updates, **changes)
    return weights(folder)


slow = pytest.mark.slow


@pytest.mark.parametrize(
    "way, stops",
    [
        # At the end of an epoch, and within the second.
        ("language_modeling", (EPOCH, EPOCH + 3)),
        ("carried", (EPOCH, EPOCH + 3)),
        *(pytest.param(way, (2, EPOCH - 1, EPOCH + 1, 2 * EPOCH, 2 * EPOCH + 1), marks=slow) for way in BATCHES),
    ],
)
def test_stops_change_nothing(data, straight, tmp_path, way, stops):
    flags = BATCHES[way]
    assert differing(stopped(data, tmp_path, stops, flags, **SILENT), straight(flags, **SILENT)) == []


def test_the_control_that_fairseq_alone_makes_other_batches(data, straight, tmp_path, monkeypatch):
    monkeypatch.setattr(FairseqTask, "get_batch_iterator", original(FairseqTask.get_batch_iterator))
    flags = BATCHES["language_modeling"]
    assert differing(stopped(data, tmp_path, (EPOCH + 3,), flags, **SILENT), straight(flags, **SILENT)) != []


@slow
def test_stops_behind_a_validation_change_nothing(data, straight, tmp_path):
    for flags in (LM, CARRIED):
        assert differing(stopped(data, tmp_path / flags, (2, EPOCH + 3), flags), straight(flags, **SILENT)) == []


@slow
def test_the_control_that_a_carried_state_cannot_be_left_out(data, straight, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(LeapLanguageModelingTask, "training_state", lambda self, model: None)
    assert differing(stopped(data, tmp_path / "end", (EPOCH,), CARRIED, **SILENT), straight(CARRIED, **SILENT)) == []
    assert "no carried state" not in caplog.text
    assert differing(stopped(data, tmp_path / "within", (2,), CARRIED, **SILENT), straight(CARRIED, **SILENT)) != []
    assert "the checkpoint has no carried state" in caplog.text


@slow
def test_other_streams_than_those_of_the_state_are_refused(data, tmp_path):
    train(data, tmp_path, CARRIED, 2, **SILENT)
    with pytest.raises(ValueError, match="read in 4 parallel streams, not 2: give a --batch-size that makes 4"):
        train(data, tmp_path, CARRIED, 4, **SILENT, dataset__batch_size=2, task__batch_size=2)


class Killed(BaseException):
    """Ends a training at once: nothing of fairseq catches it."""


def killing(function, call, before=lambda *args: None, counts=lambda *args: True):
    """The function, which is killed in its n-th call that counts, after `before`."""
    calls = iter(range(1, call))

    def counting(*args, **kwargs):
        if counts(*args) and next(calls, None) is None:
            before(*args)
            raise Killed
        return function(*args, **kwargs)

    return counting


def half(state, file, *args, **kwargs):
    file.write(b"PK" * 1000)


def half_copy(source, destination):
    with open(source, "rb") as file, open(destination, "wb") as copy:
        copy.write(file.read(1000))


def of_a_checkpoint(source, destination):
    return str(destination).endswith(".pt")


MOMENTS = {
    "while it is copied": lambda: (shutil, "copyfile", killing(shutil.copyfile, 2, half_copy)),
    "an update after the last save": lambda: (Trainer, "train_step", killing(Trainer.train_step, EPOCH + 3)),
    "while a checkpoint is written": lambda: (torch, "save", killing(torch.save, 2, half)),
    "before it gets its name": lambda: (os, "rename", killing(os.rename, 2)),
    "before the copy gets its name": lambda: (os, "replace", killing(os.replace, 2, counts=of_a_checkpoint)),
    "at the final save": lambda: (torch, "save", killing(torch.save, 5, half)),
}
"""A checkpoint is due after 3, 6, 9 and 12 updates, at the end of an epoch and of the training."""


@pytest.mark.parametrize(
    "moment", [name if n == 0 else pytest.param(name, marks=slow) for n, name in enumerate(MOMENTS)]
)
def test_a_kill_changes_nothing(data, straight, tmp_path, monkeypatch, moment):
    saving = {**SILENT, "checkpoint__save_interval_updates": 3}
    with monkeypatch.context() as patch:
        patch.setattr("fairseq.file_io.IOPathManager", None)
        patch.setattr(*MOMENTS[moment]())
        with pytest.raises(Killed):
            train(data, tmp_path, LM, END, **saving)
    begun = torch.load(tmp_path / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"]
    assert 0 < begun < END
    assert differing(weights(train(data, tmp_path, LM, END, **saving)), straight(**SILENT)) == []


LIMITS = {
    "--max-update is 7": (EPOCH + 2, {}),
    "--max-epoch is 2": (0, {"optimization__max_epoch": 2}),
    "--patience is 2": (
        0,
        {"checkpoint__patience": 2, "optimization__lr": [0.0], "lr_scheduler__lr": [0.0], "optimization__max_epoch": 9},
    ),
    "--stop-time-hours is 1e-09": (0, {"optimization__stop_time_hours": 1e-9}),
}


@pytest.mark.parametrize("limit", [name if n == 0 else pytest.param(name, marks=slow) for n, name in enumerate(LIMITS)])
def test_a_finished_training_stays_as_it_is(data, tmp_path, caplog, limit):
    caplog.set_level("INFO")
    updates, changes = LIMITS[limit]
    train(data, tmp_path, LM, updates, **changes)
    assert "nothing is left to train" not in caplog.text
    before = files(tmp_path)
    train(data, tmp_path, LM, updates, **changes)
    assert files(tmp_path) == before
    assert limit in next(line for line in caplog.text.splitlines() if "nothing is left to train" in line)


@slow
def test_the_control_that_fairseq_alone_trains_on(data, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_utils, "load_checkpoint", original(checkpoint_utils.load_checkpoint))
    for _ in range(2):
        train(data, tmp_path, LM, 3, **SILENT)
    assert torch.load(tmp_path / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == 4


@slow
def test_more_updates_than_were_finished_are_trained(data, straight, tmp_path):
    for _ in range(2):
        train(data, tmp_path, LM, 0, **SILENT, optimization__max_epoch=1)
    assert differing(weights(train(data, tmp_path, LM, END, **SILENT)), straight(**SILENT)) == []


@slow
def test_patience_is_counted_across_a_stop(data, tmp_path):
    updates, changes = LIMITS["--patience is 2"]
    train(data, tmp_path, LM, 2 * EPOCH, **changes)
    train(data, tmp_path, LM, updates, **changes)
    # The first validation is the best, and two are waited for.
    assert torch.load(tmp_path / "checkpoint_last.pt")["optimizer_history"][-1]["num_updates"] == 3 * EPOCH


@slow
@pytest.mark.parametrize("stops", [(EPOCH,), (2 * EPOCH + 1,)])
def test_a_plateau_is_noticed_across_a_stop(data, straight, tmp_path, stops):
    # Training for the highest loss sees nothing else.
    changes = {"checkpoint__maximize_best_checkpoint_metric": True}
    assert differing(stopped(data, tmp_path, stops, PLATEAU, **changes), straight(PLATEAU, **changes)) == []


EVERY_EPOCH = {**SILENT, "checkpoint__save_interval_updates": EPOCH}
NAMES = {
    "one": ({"checkpoint__keep_interval_updates": 1}, ["checkpoint_2_10.pt"]),
    "all": ({}, ["checkpoint_1_5.pt", "checkpoint_2_10.pt"]),
    # That of the epoch is the same.
    "epochs": (
        {"checkpoint__no_epoch_checkpoints": False, "checkpoint__save_interval": 2},
        ["checkpoint_1_5.pt", "checkpoint2.pt"],
    ),
}


@pytest.mark.parametrize("kept", ["one", pytest.param("all", marks=slow), pytest.param("epochs", marks=slow)])
def test_a_due_checkpoint_is_written_at_the_end_of_an_epoch(data, tmp_path, kept):
    changes, names = NAMES[kept]
    train(data, tmp_path, LM, 2 * EPOCH, **EVERY_EPOCH, **changes)
    assert set(files(tmp_path)) == {*names, "checkpoint_last.pt", "run.json"}
    assert differing(weights(tmp_path, names[-1]), weights(tmp_path)) == []


@slow
def test_the_control_that_fairseq_alone_leaves_it_out(data, tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_utils, "save_checkpoint", original(checkpoint_utils.save_checkpoint))
    train(data, tmp_path, LM, EPOCH, **EVERY_EPOCH)
    assert set(files(tmp_path)) == {"checkpoint_last.pt", "run.json"}


@slow
def test_curriculum_ends_and_does_so_for_a_resumed_training(data, straight, tmp_path, monkeypatch):
    changes = {**SILENT, "dataset__curriculum": 1}
    assert differing(stopped(data, tmp_path / "repaired", (EPOCH,), **changes), straight(**changes)) == []
    name = "_get_iterator_for_epoch"
    monkeypatch.setattr(EpochBatchIterator, name, original(getattr(EpochBatchIterator, name)))
    assert differing(weights(train(data, tmp_path / "fairseq", LM, END, **changes)), straight(**changes)) != []


HALF = {
    "bf16": {"common__bf16": True},
    "fp16": {"common__fp16": True, "common__fp16_init_scale": 4, "common__fp16_scale_window": 7},
}


@slow
@pytest.mark.parametrize("precision", HALF)
def test_half_precision_goes_on_from_what_it_updates(data, straight, tmp_path, monkeypatch, precision):
    changes = {**SILENT, **HALF[precision]}
    assert differing(stopped(data, tmp_path / "whole", (EPOCH + 3,), **changes), straight(**changes)) == []
    # The control.
    load = _FP16OptimizerMixin.load_state_dict
    monkeypatch.setattr(_FP16OptimizerMixin, "load_state_dict", original(load))
    assert differing(stopped(data, tmp_path / "fairseq", (EPOCH + 3,), **changes), straight(**changes)) != []
