"""Tasks registered with fairseq; importing this package registers them."""

from leap_fairseq.tasks.leap_language_modeling import LeapLanguageModelingTask

__all__ = ["LeapLanguageModelingTask"]
