"""Tasks registered with fairseq; importing this package registers them."""

from leap_fairseq import compat

compat.apply()

from leap_fairseq.tasks.leap_language_modeling import LeapLanguageModelingTask
from leap_fairseq.tasks.long_range_arena import LongRangeArenaTask

__all__ = ["LeapLanguageModelingTask", "LongRangeArenaTask"]
