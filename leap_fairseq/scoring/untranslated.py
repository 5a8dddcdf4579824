"""Speech behind the last word of its translation: a model of sentences stops at the end of the first one."""

import logging
from typing import List, Sequence

from leap_fairseq.scoring.instances import Instance

logger = logging.getLogger(__name__)

LEAST_MS, LEAST_SHARE = 10_000.0, 0.3
"""More than both of a recording must follow the last word for it to count: a pause at the end of a sentence, or a
policy that writes ahead of the speaker, leaves less."""


def untranslated_seconds(instances: Sequence[Instance]) -> float:
    """Seconds of speech behind the last word, of all recordings whose translation stopped long before their end."""
    return sum(_rests(instances)) / 1000


def warn_of_untranslated(instances: Sequence[Instance], name: object) -> None:
    """Warns of recordings whose translation stopped long before their end, and says what to do."""
    rests = _rests(instances)
    if rests:
        logger.warning(
            "%s: %.1f s of speech follow the last word of %d of %d recordings, more than %d s and %.0f %% of each: "
            "silence, or what was not translated. Translate recordings of several sentences with --long-form, and long "
            "sentences with a larger --max-len-b",
            *(name, sum(rests) / 1000, len(rests), len(instances), LEAST_MS / 1000, 100 * LEAST_SHARE),
        )


def _rests(instances: Sequence[Instance]) -> List[float]:
    lengths = [(instance.source_length, instance.delays[-1] if instance.delays else 0.0) for instance in instances]
    return [length - last for length, last in lengths if length - last > max(LEAST_MS, LEAST_SHARE * length)]
