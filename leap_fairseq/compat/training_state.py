"""A training that is stopped and resumed goes on with all that it had, and one that has ended stays as it is.

What fairseq does not save is kept beside the place in the epoch: how often the validation has not improved, and what
the task carries from update to update.
"""

import argparse
import sys
import tempfile
from typing import Any, Callable, Dict

from fairseq import checkpoint_utils
from fairseq.dataclass.configs import CheckpointConfig
from fairseq.optim.lr_scheduler.reduce_lr_on_plateau import ReduceLROnPlateauLRSchedule

from leap_fairseq.compat.finished_training import end_if_finished
from leap_fairseq.compat.replacing import quiet, replace

TASK_STATE, EARLY_STOP = "task_state", "early_stop"
"""Names of what is saved beside fairseq's own place in the epoch."""

PLATEAU = ("num_bad_epochs", "cooldown_counter")


def repair_training_state() -> None:
    """Saves and restores all that a training goes on with; ends one that has ended; misses no due checkpoint.

    fairseq 0.12.2 leaves out a checkpoint of ``--save-interval-updates`` that falls on the end of an epoch, also where
    ``--no-epoch-checkpoints`` keeps no other. A resumed training begins to count anew for ``--patience``, and does one
    update more if it had reached its end (see :mod:`leap_fairseq.compat.finished_training`). The scheduler
    reduce_lr_on_plateau does not see the validation after which a training was stopped.

    A task may have ``training_state(model)``, called by every process, plain data or None, and
    ``resume_training_state(model, state)``; and ``begin_training(trainer)``, called by every process when all is loaded
    and something is left to train.
    """
    replace([checkpoint_utils], "save_checkpoint", _complete_and_when_due, symptom=_saves_less)
    replace([checkpoint_utils], "load_checkpoint", _completely)


def repair_plateaus() -> None:
    """Saves how many epochs without improvement reduce_lr_on_plateau has counted: fairseq 0.12.2 begins with none."""
    replace([ReduceLROnPlateauLRSchedule], "state_dict", _with_counts, symptom=_forgets_counts)
    replace([ReduceLROnPlateauLRSchedule], "load_state_dict", _taking_counts)


def _saves_less(save: Callable) -> bool:
    """Tries an update at which a checkpoint is due, and an epoch ends whose own is not kept."""
    saved: Dict[str, Any] = {}
    trainer = argparse.Namespace(
        **{"task": None, "checkpoint_suffix": "", "data_parallel_rank": 0, "get_model": lambda: None},
        **{"consolidate_optimizer": lambda: None, "should_save_checkpoint_on_current_rank": True},
        **{"get_num_updates": lambda: 2, "save_checkpoint": saved.__setitem__},
    )
    iterator = argparse.Namespace(epoch=1, end_of_epoch=lambda: True, state_dict=dict)
    with tempfile.TemporaryDirectory() as folder, quiet("fairseq.checkpoint_utils"):
        cfg = CheckpointConfig(save_dir=folder, save_interval_updates=2, no_epoch_checkpoints=True)
        cfg.no_last_checkpoints = True
        save(cfg, trainer, iterator, None)
    return not any(EARLY_STOP in extra_state["train_iterator"] for extra_state in saved.values())


def _complete_and_when_due(save: Callable) -> Callable:
    def save_checkpoint(cfg, trainer, epoch_itr, val_loss):
        ends = epoch_itr.end_of_epoch()
        every, updates = cfg.save_interval_updates, trainer.get_num_updates()
        due = every > 0 and updates > 0 and updates % every == 0
        kept_by_epoch = not cfg.no_epoch_checkpoints and epoch_itr.epoch % cfg.save_interval == 0
        rest: Dict[str, Any] = {EARLY_STOP: dict(_early_stop())}
        # The next epoch begins without.
        if not ends and hasattr(trainer.task, "training_state"):
            rest[TASK_STATE] = trainer.task.training_state(trainer.get_model())
        return save(cfg, trainer, _Moment(epoch_itr, ends and not (due and not kept_by_epoch), rest), val_loss)

    return save_checkpoint


class _Moment:
    """The iterator of an epoch, as fairseq sees it when it saves.

    Args:
        iterator: fairseq's.
        ends: whether to save as at the end of an epoch, by its number, and not as at an update.
        rest: what is saved beside the place in the epoch.
    """

    def __init__(self, iterator: Any, ends: bool, rest: Dict[str, Any]):
        self._iterator, self._ends, self._rest = iterator, ends, rest
        self.epoch = iterator.epoch

    def end_of_epoch(self) -> bool:
        return self._ends

    def state_dict(self) -> Dict[str, Any]:
        return {**self._iterator.state_dict(), **self._rest}


def _early_stop() -> Dict[str, Any]:
    """What fairseq remembers for --patience: attributes of a function of its command, wherever that was started."""
    for name in ("__main__", "fairseq_cli.train"):
        function = getattr(sys.modules.get(name), "should_stop_early", None)
        if function is not None:
            return vars(function)
    return {}


def _completely(load: Callable) -> Callable:
    def load_checkpoint(cfg, trainer, **kwargs):
        extra_state, epoch_itr = load(cfg, trainer, **kwargs)
        place = (extra_state or {}).get("train_iterator", {})
        early_stop = _early_stop()
        early_stop.clear()
        finished = False
        if epoch_itr.iterations_in_epoch > 0 and hasattr(trainer.task, "resume_training_state"):
            trainer.task.resume_training_state(trainer.get_model(), place.get(TASK_STATE))
        # A new optimizer begins another training.
        if trainer.get_num_updates() > 0:
            early_stop.update({} if cfg.reset_meters else place.get(EARLY_STOP, {}))
            if place["iterations_in_epoch"] == 0 < place["epoch"] - 1 and not cfg.reset_lr_scheduler:
                # fairseq saves at the end of an epoch, and takes this step when it has saved.
                trainer.lr_step(place["epoch"] - 1, extra_state.get("val_loss"))
            finished = end_if_finished(trainer, epoch_itr, early_stop.get("num_runs", 0))
        if not finished and hasattr(trainer.task, "begin_training"):
            trainer.task.begin_training(trainer)
        return extra_state, epoch_itr

    return load_checkpoint


def _forgets_counts(state_dict: Callable) -> bool:
    scheduler = argparse.Namespace(best=0, last_epoch=0, **dict.fromkeys(PLATEAU, 0))
    return not set(PLATEAU) <= state_dict(argparse.Namespace(lr_scheduler=scheduler)).keys()


def _with_counts(state_dict: Callable) -> Callable:
    def state_dict_with_counts(self):
        return {**state_dict(self), **{name: getattr(self.lr_scheduler, name) for name in PLATEAU}}

    return state_dict_with_counts


def _taking_counts(load_state_dict: Callable) -> Callable:
    def load_state_dict_with_counts(self, state_dict):
        load_state_dict(self, state_dict)
        for name in PLATEAU:
            # Not in a checkpoint from before.
            if name in state_dict:
                setattr(self.lr_scheduler, name, state_dict[name])

    return load_state_dict_with_counts
