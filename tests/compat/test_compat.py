"""Repairs are made where something breaks and only there, once, and before anything else of fairseq's is used."""

import argparse
import importlib
import inspect
import json
import os
import subprocess
import sys

import pytest
from fairseq import checkpoint_utils, options
from fairseq.data import data_utils
from fairseq.data.audio import audio_utils
from fairseq.data.iterators import EpochBatchIterator
from fairseq.file_io import PathManager
from fairseq.models.speech_to_text import hub_interface
from fairseq.optim.fp16_optimizer import FP16Optimizer
from fairseq.optim.lr_scheduler.reduce_lr_on_plateau import ReduceLROnPlateauLRSchedule
from fairseq.tasks import FairseqTask

from leap_fairseq import compat
from leap_fairseq.compat import (
    audio,
    batching,
    checkpoint_types,
    checkpoints,
    epoch_batches,
    half_precision,
    replacing,
    training_state,
)
from leap_fairseq.compat.replacing import original

compat.apply()

# A repair, where its function is, the trial that shows whether it breaks, and a function that does not.
REPAIRS = {
    "checkpoint reading": (
        checkpoints.repair_checkpoint_reading,
        (checkpoint_utils, "load_checkpoint_to_cpu"),
        checkpoints._leaves_the_file_unnamed,
        lambda path: (_ for _ in ()).throw(EOFError(f"{path} is empty")),
    ),
    "checkpoint copies": (
        checkpoints.repair_checkpoint_copies,
        (PathManager, "copy"),
        checkpoints._writes_in_place,
        lambda source, destination, overwrite: os.replace(source, destination),
    ),
    "batch_by_size": (
        batching.repair_batch_by_size,
        (data_utils, "batch_by_size"),
        batching._loses_samples,
        lambda indices, *args, **kwargs: [indices],
    ),
    "--bf16": (
        half_precision.repair_bf16_option,
        (options, "parse_args_and_arch"),
        half_precision._takes_bf16_for_a_tpu,
        lambda parser, given: argparse.Namespace(bf16=True, tpu=False),
    ),
    "batches of an epoch": (
        epoch_batches.repair_epoch_batches,
        (FairseqTask, "get_batch_iterator"),
        epoch_batches._depends_on_the_epoch_of_resuming,
        lambda task, dataset, epoch: argparse.Namespace(frozen_batches=()),
    ),
    "--curriculum": (
        epoch_batches.repair_order_of_batches,
        (EpochBatchIterator, "_get_iterator_for_epoch"),
        epoch_batches._stays_unshuffled,
        lambda iterator, epoch, shuffle: setattr(iterator.epoch_batch_sampler, "shuffle", shuffle),
    ),
    "--fix-batches-to-gpus": (
        epoch_batches.repair_order_of_batches,
        (EpochBatchIterator, "next_epoch_itr"),
        epoch_batches._deals_otherwise,
        lambda iterator, fix_batches_to_gpus: None,
    ),
    "training state": (
        training_state.repair_training_state,
        (checkpoint_utils, "save_checkpoint"),
        training_state._saves_less,
        lambda cfg, trainer, *place: trainer.save_checkpoint("", {"train_iterator": {training_state.EARLY_STOP: {}}}),
    ),
    "plateaus": (
        training_state.repair_plateaus,
        (ReduceLROnPlateauLRSchedule, "state_dict"),
        training_state._forgets_counts,
        lambda schedule: dict.fromkeys(training_state.PLATEAU),
    ),
}


def functions():
    return [
        *(getattr(*place) for _, place, _, _ in REPAIRS.values()),
        audio_utils.convert_waveform,
        audio_utils._get_torchaudio_fbank,
        hub_interface.convert_wav,
        FP16Optimizer.build_optimizer,
    ]


def test_applied_twice_is_applied_once():
    before = functions()
    compat.apply()
    for name in sorted(name for name in sys.modules if name.startswith("leap_fairseq.compat.")):
        importlib.reload(sys.modules[name])
    importlib.reload(compat).apply()
    assert functions() == before
    for function in before:
        assert original(original(function)) is original(function)


@pytest.mark.parametrize("name", REPAIRS)
def test_what_breaks_here_is_repaired(name):
    _, place, breaks, _ = REPAIRS[name]
    repaired = getattr(*place)
    if original(repaired) is repaired:
        assert not breaks(repaired)
        pytest.skip("nothing breaks on this stack")
    # The control: the function as fairseq wrote it.
    assert breaks(original(repaired)) and not breaks(repaired)


@pytest.mark.parametrize("name", REPAIRS)
def test_what_does_not_break_is_left_alone(name, monkeypatch):
    repair, place, _, sound = REPAIRS[name]
    monkeypatch.setattr(*place, sound)
    repair()
    assert getattr(*place) is sound


def calls_of(work):
    """How many functions it calls, of Python and of C."""
    count = 0

    def counted(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def test_all_trials_together_are_cheap():
    """Some 10 ms of every command that trains: fewer calls than fairseq makes for two of its parsers."""

    def trials():
        for _, place, breaks, _ in REPAIRS.values():
            breaks(original(getattr(*place)))
        checkpoint_types._refused()
        audio._lacks_sox_effects(None)
        half_precision._asks_for_cuda(None)

    trials()  # what is imported or compiled for the first time, is not theirs
    assert calls_of(trials) < 2 * calls_of(options.get_training_parser)


def test_importing_the_package_repairs_nothing_and_leaves_the_root_logger_alone():
    program = """
import json, logging
before = logging.root.level, list(logging.root.handlers)
from leap_fairseq import compat
from fairseq.data import data_utils
from leap_fairseq.compat.replacing import original
print(json.dumps([
    (logging.root.level, list(logging.root.handlers)) == before,
    original(data_utils.batch_by_size) is data_utils.batch_by_size,
]))
"""
    done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, check=True)
    assert json.loads(done.stdout) == [True, True]


def test_replacement_keeps_name_and_signature_of_the_original():
    assert inspect.signature(data_utils.batch_by_size) == inspect.signature(original(data_utils.batch_by_size))
    assert data_utils.batch_by_size.__name__ == "batch_by_size"


def test_replace_reaches_a_second_name():
    first, second = argparse.Namespace(f=len), argparse.Namespace(g=len)
    replacing.replace([first, (second, "g")], "f", lambda old: lambda x: old(x) + 1)
    replacing.replace([first, (second, "g")], "f", lambda old: lambda x: old(x) + 1)
    assert first.f("abc") == 4 and second.g is first.f
