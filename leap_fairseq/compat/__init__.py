"""Repairs of fairseq 0.12.2 / ve-fairseq 0.12.3 on current torch and numpy.

One file a kind; each repair is a function whose docstring says what breaks and since when. Importing `leap_fairseq`
(fairseq does so for ``--user-dir``) applies them all, before any data or checkpoint is read.
"""

from leap_fairseq.compat.root_logger import unchanged_root_logger

# Every import of fairseq in this package comes after this one.
with unchanged_root_logger():
    import fairseq  # noqa: F401

from leap_fairseq.compat.audio import repair_audio_reading  # noqa: E402
from leap_fairseq.compat.batching import repair_batch_by_size  # noqa: E402
from leap_fairseq.compat.checkpoints import repair_checkpoint_copies, repair_checkpoint_reading  # noqa: E402
from leap_fairseq.compat.data_config import repair_data_config_paths  # noqa: E402
from leap_fairseq.compat.evaluation import repair_language_model_evaluation  # noqa: E402
from leap_fairseq.compat.half_precision import repair_half_precision  # noqa: E402
from leap_fairseq.compat.resuming import repair_resuming  # noqa: E402
from leap_fairseq.compat.stack import allow_checkpoint_types, restore_numpy_compat  # noqa: E402

__all__ = ["apply"]


def apply() -> None:
    """Applies every repair that this stack needs. Calling it again, or reloading the package, changes nothing."""
    allow_checkpoint_types()
    restore_numpy_compat()
    repair_checkpoint_reading()
    repair_checkpoint_copies()
    repair_batch_by_size()
    repair_audio_reading()
    repair_data_config_paths()
    repair_language_model_evaluation()
    repair_resuming()
    repair_half_precision()
