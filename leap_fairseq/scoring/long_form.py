"""Quality and latency of the translation of long recordings, each of which holds many sentences.

A recording's translation is one stream of words with delays. The stream is split onto the reference sentences
(`segmenters`); each part is then scored as if the sentence had been a recording of its own, with its delays counted
from the sentence's beginning (`long_latency`).

As in the authors' tool of StreamLAAL, words behind the first one that was written after the end of its sentence do not
count, and a sentence that got no word has no latency. Other than there, the splitting is exact with the ties of
`resegment`, and the characters of a reference are split without spaces where the translation has none.

Source: Papi, Gaido, Negri, Bentivogli 2024, StreamAtt: Direct Streaming Speech-to-Text Translation with
Attention-based Audio History Selection; details: hlt-mt/FBK-fairseq, stream_laal.py, version 2.0.
"""

import itertools
import logging
import math
from pathlib import Path, PurePath
from typing import Dict, List, Optional, Sequence, Union

from leap_fairseq.scoring.instances import Instance, Log, Part
from leap_fairseq.scoring.long_latency import LONG_SCORES, long_latencies, stream_elapsed, stream_laal
from leap_fairseq.scoring.long_references import ReferenceSentence, read_references
from leap_fairseq.scoring.quality import Row, quality
from leap_fairseq.scoring.segmenters import BY_EDITS, EDITS, Cut, segmenter_named
from leap_fairseq.scoring.settings import Settings, settings_for
from leap_fairseq.scoring.signature import signature
from leap_fairseq.scoring.units import KEPT_SPACE
from leap_fairseq.scoring.untranslated import untranslated_seconds, warn_of_untranslated

logger = logging.getLogger(__name__)

Recordings = Sequence[Sequence[ReferenceSentence]]
"""The sentences of each recording, in the order of time."""

LONG_COLUMNS = (
    *("BLEU", "chrF", "StreamLAAL", "StreamLAAL_CA"),
    *LONG_SCORES,
    *(f"{name}_CA" for name in LONG_SCORES),
    *("recordings", "sentences", "empty", "untranslated_s", "signature"),
)
"""The columns of a row, in order; of recognised speech WER and CER too, and COMET where a model is given. Latencies in
ms; _CA counts the time of computing too."""

MANY_EARLY = 0.1
"""Share of words before their sentence from which a warning says that the latency is too good to be true."""


def score_long_run(
    path: Union[str, Path],
    references: Union[str, Path, Recordings],
    settings: Optional[Settings] = None,
    segmenter: str = EDITS,
) -> Row:
    """Scores one run on long recordings.

    Args:
        path: a log, or the folder that holds it. Its lines belong to the recordings that they name; where
            the names are others, line i to recording i.
        references: the sentences of each recording, or their file, see `long_references`.
        settings: unit, which the stream is split by too, and tokenizer (default: as the folder says).
        segmenter: how the stream is split, see `segmenters`.

    Returns:
        A value for every name in `LONG_COLUMNS`. A latency is nan where no sentence got a word.

    Raises:
        ImportError: the package of the segmenter, or of another score, is missing.
        OSError: a file cannot be read.
        ValueError: a broken log or table, recordings that do not match, or as for `Settings.check` and
            `comet_score`.
    """
    settings = settings or settings_for(path)
    if not isinstance(references, (str, Path)):
        return score_talks(settings.read(path), references, settings, segmenter)
    recordings = read_references(references)
    return score_talks(settings.read(path), recordings, settings, segmenter, references)


def score_talks(
    log: Log,
    recordings: Recordings,
    settings: Settings,
    segmenter: str = EDITS,
    name: object = "the table of references",
) -> Row:
    """Scores a log that has been read; `name` is what messages call the table. Else as `score_long_run`."""
    by, cut = segmenter_named(segmenter, settings.unit, settings.language)
    path = log.path
    instances = in_order(log, recordings, path, name)
    settings.check(path, log.instances, [sentence.target for recording in recordings for sentence in recording])
    parts: List[Part] = []
    for instance, recording in zip(instances, recordings):
        _warn_of_times(instance, recording, path)
        parts += split_recording(instance, recording, cut, log.format.adds_up)
    warn_of_untranslated(instances, path)
    return _row(parts, path, settings, by, len(recordings), untranslated_seconds(instances))


def score_cut_run(log: Log, settings: Settings) -> Row:
    """Scores a log of parts that were split onto their references before, as OmniSTEval writes it.

    Returns and raises what `score_long_run` does.
    """
    settings.check(log.path, log.instances, [part.reference for part in log.instances])
    recordings = {part.recording for part in log.instances}
    return _row(log.instances, log.path, settings, "as-in-the-log", len(recordings), math.nan)


def split_recording(
    instance: Instance, sentences: Sequence[ReferenceSentence], cut: Cut = BY_EDITS.cut, adds_up: bool = True
) -> List[Part]:
    """The parts of a recording's translation that belong to its sentences, as if each had been translated alone.

    Args:
        instance: what was written of the recording.
        sentences: of the recording, in the order of time.
        cut: splits the words.
        adds_up: `elapsed` counts all computing since the recording began, see `stream_elapsed`.

    Returns:
        For each sentence the words that belong to it, with times counted from its beginning; `source_length` is its
        duration. `elapsed` holds each word's own time of computing.

    Raises:
        ValueError: the unit is spm, without a model.
    """
    words, unit = instance.written, instance.unit
    times: Dict[str, List[float]] = {"delays": instance.delays, "elapsed": instance.elapsed}
    times["in_order"] = times["elapsed"]
    if adds_up:
        times["elapsed"] = stream_elapsed(instance.delays, instance.elapsed)
        times["in_order"] = list(itertools.accumulate(times["elapsed"], max))
    end = max((sentence.offset + sentence.duration for sentence in sentences), default=0.0)
    parts = []
    for number, (numbers, sentence) in enumerate(zip(numbers_of_words(instance, sentences, cut), sentences)):
        written = [words[i] for i in numbers]
        since = {name: [given[i] - sentence.offset for i in numbers if given] for name, given in times.items()}
        part = dict(prediction=unit.join(written), reference=sentence.target, source_length=sentence.duration, **since)
        part["transcript"] = sentence.source or None
        parts.append(Part(number, **part, written=written, unit=unit, rest=end - sentence.offset))
    return parts


def numbers_of_words(
    instance: Instance, sentences: Sequence[ReferenceSentence], cut: Cut = BY_EDITS.cut
) -> List[Sequence[int]]:
    """Of each sentence, the numbers of the words that belong to it, from 0; else as `split_recording`."""
    targets = [instance.unit.split(sentence.target) for sentence in sentences]
    if KEPT_SPACE not in instance.written:  # of characters, in a language without spaces
        targets = [[word for word in target if word != KEPT_SPACE] for target in targets]
    return cut(instance.written, targets)


def _row(
    parts: List[Part], path: object, settings: Settings, segmenter: str, recordings: int, untranslated: float
) -> Row:
    _warn_of_words(parts, path)
    scores = quality(parts, settings)
    latency = signature("StreamLAAL,Long", unit=settings.unit.name, segmenter=segmenter)
    return {
        **{name: score for name, score in scores.items() if name != "signature"},
        "StreamLAAL": stream_laal(parts),
        "StreamLAAL_CA": stream_laal(parts, computation_aware=True),
        **long_latencies(parts),
        **{f"{name}_CA": score for name, score in long_latencies(parts, computation_aware=True).items()},
        "recordings": recordings,
        "sentences": len(parts),
        "empty": sum(1 for part in parts if not part.delays),
        "untranslated_s": untranslated,
        "signature": f"{scores['signature']} {latency}",
    }


def in_order(log: Log, recordings: Recordings, path: object, references: object) -> List[Instance]:
    """What was written of each recording of a table: by its name, else by its number.

    Args:
        log: of recordings.
        recordings: of the table.
        path: what a message calls the log.
        references: what it calls the table.

    Raises:
        ValueError: they are of other recordings.
    """
    names = [PurePath(recording[0].audio).stem for recording in recordings]
    by_name = {PurePath(instance.recording).stem: instance for instance in log.instances}
    if len(by_name) == len(log.instances) and sorted(by_name) == sorted(names):
        return [by_name[name] for name in names]
    found, wanted = [instance.index for instance in log.instances], list(range(len(recordings)))
    if found != wanted:
        raise ValueError(
            f"{path} holds {_numbered(found)}, but {references} the sentences of {_numbered(wanted)}: finish the run; "
            "its source list must have one line per recording of the table"
        )
    if not log.format.is_numbered:
        raise ValueError(
            f"{path} ({log.format.name}) holds the recordings {', '.join(sorted(by_name)):.100}, but {references} "
            f"the sentences of {', '.join(sorted(names)):.100}: their names must agree, but for folder and ending"
        )
    return log.instances


def _numbered(indices: Sequence[int]) -> str:
    return f"{len(indices)} recordings" + (f" (numbers {indices[0]} to {indices[-1]})" if indices else "")


def _warn_of_times(instance: Instance, sentences: Sequence[ReferenceSentence], name: object) -> None:
    """Warns where the table is of another recording, or the translator slower than the speech."""
    last = sentences[-1].offset
    if last >= instance.source_length:
        logger.warning(
            "%s: recording %d is %.0f ms long, but a sentence of %s begins at %.0f ms: is the source list in the order "
            "of the table?",
            *(name, instance.index, instance.source_length, sentences[-1].audio, last),
        )
    computed = instance.elapsed[-1] - instance.delays[-1] if instance.elapsed else 0.0
    if computed > instance.source_length:
        logger.warning(
            "%s: recording %d took %.0f ms of computing for %.0f ms of speech: a live translation would fall behind, "
            "which StreamLAAL_CA does not show",
            *(name, instance.index, computed, instance.source_length),
        )


def _warn_of_words(sentences: Sequence[Instance], name: object) -> None:
    """Warns of sentences without words, and of many words before their sentences."""
    empty = sum(1 for sentence in sentences if not sentence.delays)
    if empty:
        logger.warning(
            "%s: %d of %d sentences got no word: BLEU and chrF count them as they are, no latency counts them",
            *(name, empty, len(sentences)),
        )
    delays = [delay for sentence in sentences for delay in sentence.delays]
    early = sum(1 for delay in delays if delay <= 0)
    if early > MANY_EARLY * len(delays):
        logger.warning(
            "%s: %.0f %% of the words were written before the sentence they were given to and count as without delay: "
            "the translation has little in common with the references, or its times are not those of the recordings",
            *(name, 100 * early / len(delays)),
        )
