"""Quality and latency of a SimulEval run, recomputed from its instances.log, as one row of a table.

SimulEval's own ``--computation-aware`` overwrites the plain latencies, and its mean leaves empty hypotheses out
without a word; here both kinds of latency stand side by side, and empty hypotheses are counted.
"""

import logging
import math
from pathlib import Path
from typing import Dict, Optional, Sequence, Union

from leap_fairseq.scoring.instances import Instance, read_instances
from leap_fairseq.scoring.latency import LATENCY_SCORES
from leap_fairseq.scoring.quality import Row, quality
from leap_fairseq.scoring.settings import Settings, settings_for
from leap_fairseq.scoring.untranslated import untranslated_seconds, warn_of_untranslated

logger = logging.getLogger(__name__)

COLUMNS = (
    "BLEU",
    "chrF",
    *LATENCY_SCORES,
    *(f"{name}_CA" for name in LATENCY_SCORES),
    "sentences",
    "empty",
    "untranslated_s",
    "signature",
)
"""The columns of a row, in order. Latencies in ms, AP a share; _CA counts the time of computing too. untranslated_s:
seconds of speech behind the last word, of recordings whose translation stopped long before their end."""


def score_run(path: Union[str, Path], settings: Optional[Settings] = None) -> Row:
    """Scores one run.

    Args:
        path: instances.log, or the folder that holds it.
        settings: unit and tokenizer (default: as the folder says).

    Returns:
        A value for every name in `COLUMNS`. A latency is nan where all hypotheses are empty.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no sentence, a broken log, one that does not fit the unit, an unknown tokenizer, or as for
            `Settings.check`.
    """
    settings = settings or settings_for(path)
    instances = read_instances(path, settings.unit)
    settings.check(path, instances, [instance.reference for instance in instances])
    if not instances:
        raise ValueError(f"{path}: holds no sentence; did the simuleval run finish one?")
    row: Row = {
        **quality(instances, settings.tokenizer),
        **_mean_latency(instances),
        "sentences": len(instances),
        "empty": sum(1 for instance in instances if not instance.prediction.strip()),
        "untranslated_s": untranslated_seconds(instances),
    }
    if row["empty"]:
        logger.warning(
            "%s: %d of %d hypotheses are empty: BLEU and chrF count them as they are, no latency counts them",
            *(path, row["empty"], len(instances)),
        )
    _warn_if_degenerate(instances, path)
    warn_of_untranslated(instances, path)
    return {name: row[name] for name in COLUMNS}


def _mean_latency(instances: Sequence[Instance]) -> Dict[str, float]:
    """Mean over the sentences that have a latency, plain and computation-aware; nan where none has."""
    scorable = [instance for instance in instances if instance.is_scorable]
    means: Dict[str, float] = {}
    for suffix, computation_aware in (("", False), ("_CA", True)):
        scores = [instance.latency(computation_aware) for instance in scorable]
        for name in LATENCY_SCORES:
            values = [score[name] for score in scores]
            means[name + suffix] = sum(values) / len(values) if values else math.nan
    return means


def _warn_if_degenerate(instances: Sequence[Instance], name: object) -> None:
    """Warns where most words came after the end of the source: such a policy translates offline, whatever its AL."""
    late = [delay >= instance.source_length for instance in instances for delay in instance.delays]
    if sum(late) > 0.5 * len(late):
        logger.warning(
            "%s: %.0f %% of the words were written after the end of the source; this run is closer to offline than to "
            "simultaneous translation. A smaller --test-waitk-lagging writes earlier",
            *(name, 100 * sum(late) / len(late)),
        )
