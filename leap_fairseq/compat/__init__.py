"""Repairs of fairseq 0.12.2 / ve-fairseq 0.12.3 on current torch, torchaudio and numpy, and nothing else.

Each repair is a function whose docstring says what breaks and since when; it tries whether that breaks on the running
stack, and leaves alone what does not. Importing this package imports fairseq and repairs nothing; ``models``, ``tasks``
and ``criterions`` apply the repairs before they register, and so before any data or checkpoint is read.
"""

from leap_fairseq.compat.light_import import light_import
from leap_fairseq.compat.root_logger import unchanged_root_logger

# Every import of fairseq in this package comes after this one.
try:
    with unchanged_root_logger(), light_import():
        import fairseq  # noqa: F401
except ModuleNotFoundError as error:
    raise ImportError(
        f"models, tasks and modules need fairseq ({error}): install ve-fairseq==0.12.3, which there is for Python 3.11 "
        "and 3.12; leap_fairseq.attention, layers, speech and scoring work without"
    ) from error

from leap_fairseq.compat.audio import repair_audio_reading  # noqa: E402
from leap_fairseq.compat.batching import repair_batch_by_size  # noqa: E402
from leap_fairseq.compat.checkpoint_types import allow_checkpoint_types  # noqa: E402
from leap_fairseq.compat.checkpoints import repair_checkpoint_copies, repair_checkpoint_reading  # noqa: E402
from leap_fairseq.compat.epoch_batches import repair_epoch_batches, repair_order_of_batches  # noqa: E402
from leap_fairseq.compat.generation import (  # noqa: E402
    repair_maximum_lengths,
    repair_repeated_ngrams,
    repair_short_prefixes,
)
from leap_fairseq.compat.half_precision import repair_bf16_option, repair_fp16_on_cpus  # noqa: E402
from leap_fairseq.compat.half_precision_state import repair_half_precision_state  # noqa: E402
from leap_fairseq.compat.numpy_names import restore_numpy_compat  # noqa: E402
from leap_fairseq.compat.piece_bytes import repair_piece_bytes  # noqa: E402
from leap_fairseq.compat.processes import repair_ddp_on_cpus  # noqa: E402
from leap_fairseq.compat.refusals import refuse_what_cannot_work  # noqa: E402
from leap_fairseq.compat.saving import repair_further_attempts  # noqa: E402
from leap_fairseq.compat.training_state import repair_plateaus, repair_training_state  # noqa: E402
from leap_fairseq.compat.weight_averages import repair_weight_averages  # noqa: E402

__all__ = ["apply"]


def apply() -> None:
    """Applies every repair that this stack needs. Calling it again, or reloading the package, changes nothing."""
    allow_checkpoint_types()
    restore_numpy_compat()
    repair_checkpoint_reading()
    repair_checkpoint_copies()
    repair_batch_by_size()
    repair_audio_reading()
    repair_bf16_option()
    repair_fp16_on_cpus()
    repair_short_prefixes()
    repair_repeated_ngrams()
    repair_maximum_lengths()
    repair_weight_averages()
    repair_ddp_on_cpus()
    refuse_what_cannot_work()
    repair_epoch_batches()
    repair_order_of_batches()
    repair_training_state()
    repair_plateaus()
    repair_half_precision_state()
    repair_further_attempts()
    repair_piece_bytes()
