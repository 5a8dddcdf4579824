"""A training that has reached its end does nothing when it is started again."""

import logging
from typing import Any, Iterator

logger = logging.getLogger(__name__)


def end_if_finished(trainer: Any, epoch_itr: Any, runs_without_improvement: int = 0) -> bool:
    """Lets fairseq's loop end before its first epoch, if there is nothing left to train, and says why.

    fairseq 0.12.2 asks for ``--max-update``, ``--stop-time-hours`` and ``--patience`` only after an update: started
    again, a finished training does one more, and writes its last checkpoint anew.

    Args:
        trainer: fairseq's, with the checkpoint in it.
        epoch_itr: of the epoch that comes next.
        runs_without_improvement: validations in a row, as ``--patience`` counts them.

    Returns:
        Whether there is nothing left.
    """
    reason = next(_reasons(trainer, epoch_itr, runs_without_improvement), None)
    if reason is not None:
        logger.info("nothing is left to train, and no file is changed: %s", reason)
        # The loop goes on while the next epoch is not above this; 0 would be no limit.
        trainer.cfg.optimization.max_epoch = -1
    return reason is not None


def _reasons(trainer: Any, epoch_itr: Any, runs_without_improvement: int) -> Iterator[str]:
    limits, patience = trainer.cfg.optimization, trainer.cfg.checkpoint.patience
    updates, epochs = trainer.get_num_updates(), epoch_itr.next_epoch_idx - 1
    # The time at which the checkpoint was written: it is the same for all processes.
    hours = trainer._previous_training_time / 3600
    if 0 < limits.max_update <= updates:
        yield f"{updates} updates were made, and --max-update is {limits.max_update}"
    if 0 < limits.max_epoch <= epochs:
        yield f"{epochs} epochs were made, and --max-epoch is {limits.max_epoch}"
    if 0 < limits.stop_time_hours < hours:
        yield f"it has trained for {hours:.2f} hours, and --stop-time-hours is {limits.stop_time_hours}"
    if 0 < patience <= runs_without_improvement:
        yield f"{runs_without_improvement} validations have brought no improvement, and --patience is {patience}"
