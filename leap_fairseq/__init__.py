"""LeaPformer for fairseq: linear attention with learned proportions (pass this folder to ``--user-dir``)."""

from leap_fairseq import repairs

# fairseq must be repaired before any module of it is used.
repairs.apply()

# fairseq registers nothing for a package that was imported before its --user-dir: these register themselves.
from leap_fairseq import criterions, models, tasks  # noqa: E402

__all__ = ["criterions", "models", "repairs", "tasks"]
