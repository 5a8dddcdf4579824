"""Tasks registered with fairseq; importing this package registers them, and the criterions they are trained by."""

from leap_fairseq import compat

compat.apply()

# fairseq imports the tasks and models of a user-dir, not its criterions.
from leap_fairseq.criterions import SequenceClassificationCriterion  # noqa: F401
from leap_fairseq.tasks.leap_language_modeling import LeapLanguageModelingTask
from leap_fairseq.tasks.leap_speech_to_text import LeapSpeechToTextTask
from leap_fairseq.tasks.long_range_arena import LongRangeArenaTask

__all__ = ["LeapLanguageModelingTask", "LeapSpeechToTextTask", "LongRangeArenaTask"]
