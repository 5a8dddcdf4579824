"""Quality and latency of a run, recomputed from its log, as one row of a table.

SimulEval's own ``--computation-aware`` overwrites the plain latencies, and its mean leaves empty hypotheses out
without a word; here both kinds of latency stand side by side, and empty hypotheses are counted.
"""

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Dict, Optional, Sequence, Union

from leap_fairseq.scoring.instances import Instance, Log
from leap_fairseq.scoring.latency import LATENCY_SCORES, mean
from leap_fairseq.scoring.quality import Row, quality
from leap_fairseq.scoring.settings import Settings, settings_for
from leap_fairseq.scoring.signature import signature
from leap_fairseq.scoring.untranslated import untranslated_seconds, warn_of_untranslated

logger = logging.getLogger(__name__)

COMPUTATION_AWARE = tuple(name for name in LATENCY_SCORES if name != "NumChunks")
"""Scores that the time of computing changes."""

COLUMNS = (
    "BLEU",
    "chrF",
    *LATENCY_SCORES,
    *(f"{name}_CA" for name in COMPUTATION_AWARE),
    "sentences",
    "empty",
    "untranslated_s",
    "signature",
)
"""The columns of a row, in order; of recognised speech WER and CER too, and COMET where a model is given. Latencies in
ms, AP and RTF shares, NumChunks a number; _CA counts the time of computing too. untranslated_s: seconds of speech
behind the last word, of recordings whose translation stopped long before their end."""


def score_run(
    path: Union[str, Path], settings: Optional[Settings] = None, references: Optional[Sequence[str]] = None
) -> Row:
    """Scores one run on sentences.

    Args:
        path: a log, or the folder that holds it.
        settings: unit, tokenizer and what is computed (default: as the folder says).
        references: of the sentences, in the order of the log (default: those in the log).

    Returns:
        A value for every name in `COLUMNS`. A latency is nan where all hypotheses are empty, or have no such times.

    Raises:
        FileNotFoundError: no such file.
        ImportError: jiwer or unbabel-comet is needed and missing.
        ValueError: no sentence, a broken log, one without references, or that does not fit the unit, an unknown
            tokenizer, or as for `Settings.check` and `comet_score`.
    """
    settings = settings or settings_for(path)
    log = settings.read(path)
    return score_sentences(log if references is None else with_references(log, references), settings)


def score_sentences(log: Log, settings: Settings) -> Row:
    """Scores a log of sentences that has been read; returns and raises what `score_run` does."""
    path, instances = log.path, log.instances
    lacking = sum(1 for instance in instances if instance.reference is None)
    if lacking:
        remedy = "give them (--references, or --reference-text)"
        raise ValueError(f"{path}: {lacking} of {len(instances)} lines have no reference: {remedy}")
    settings.check(path, instances, [instance.reference for instance in instances])
    if not instances:
        raise ValueError(f"{path}: holds no sentence; did the simuleval run finish one?")
    scores = quality(instances, settings)
    row: Row = {
        **{name: score for name, score in scores.items() if name != "signature"},
        **_mean_latency(instances, log.format.adds_up),
        "sentences": len(instances),
        "empty": sum(1 for instance in instances if not instance.prediction.strip()),
        "untranslated_s": untranslated_seconds(instances),
        "signature": f"{scores['signature']} {signature('latency', unit=settings.unit.name)}",
    }
    if row["empty"]:
        logger.warning(
            "%s: %d of %d hypotheses are empty: BLEU and chrF count them as they are, no latency counts them",
            *(path, row["empty"], len(instances)),
        )
    if all(math.isnan(instance.source_length) for instance in instances):
        logger.warning(
            "%s: no line has a source_length, and without one there is no latency: give the segments of the test set "
            "(--references), which have durations",
            path,
        )
    _warn_if_degenerate(instances, path)
    warn_of_untranslated(instances, path)
    return row


def with_references(log: Log, references: Sequence[str]) -> Log:
    """A log with these references, one a line of it; a ValueError where their numbers differ."""
    if len(references) != len(log.instances):
        raise ValueError(
            f"{log.path} holds {len(log.instances)} sentences, but there are {len(references)} references "
            "(--references, --reference-text)"
        )
    pairs = zip(log.instances, references)
    return log._replace(instances=[replace(instance, reference=text) for instance, text in pairs])


def with_transcripts(log: Log, transcripts: Sequence[str]) -> Log:
    """A log with these transcripts of the speech, one a line of it; a ValueError where their numbers differ."""
    if len(transcripts) != len(log.instances):
        count = f"{len(log.instances)} sentences, but there are {len(transcripts)} transcripts (--source-text)"
        raise ValueError(f"{log.path} holds {count}")
    pairs = zip(log.instances, transcripts)
    return log._replace(instances=[replace(instance, transcript=text) for instance, text in pairs])


def _mean_latency(instances: Sequence[Instance], adds_up: bool) -> Dict[str, float]:
    """Mean over the sentences that have a latency, plain and computation-aware; nan where none has."""
    scorable = [instance for instance in instances if instance.is_scorable]
    plain = [instance.latency() for instance in scorable]
    aware = [instance.latency(True, adds_up) for instance in scorable if instance.elapsed]
    means = {name: mean(score[name] for score in plain) for name in LATENCY_SCORES}
    means.update({f"{name}_CA": mean(score[name] for score in aware) for name in COMPUTATION_AWARE})
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
