"""Quality and latency of the translation of long recordings, each of which holds many sentences.

A recording is one line of the source list, its translation one stream of words with delays in one line of
instances.log. The stream is split onto the reference sentences (`resegmentation`); each part is then scored as if the
sentence had been a recording of its own, with its delays counted from the sentence's beginning:

    StreamLAAL = mean over sentences of LAAL(max(0, d_i - offset), duration, reference length)

As in the authors' tool a word that was written before its sentence began has the delay 0, words behind the first one
that was written after the end of its sentence do not count, and a sentence that got no word has no latency. Other than
there, the splitting is exact with the ties of `resegment`, and the characters of a reference are split without spaces
where the translation has none.

Source: Papi, Gaido, Negri, Bentivogli 2024, StreamAtt: Direct Streaming Speech-to-Text Translation with
Attention-based Audio History Selection; details: hlt-mt/FBK-fairseq, stream_laal.py, version 2.0.
"""

import logging
import math
from pathlib import Path
from typing import List, Optional, Sequence, Union

from leap_fairseq.scoring.instances import Instance, read_instances
from leap_fairseq.scoring.latency import length_adaptive_average_lagging
from leap_fairseq.scoring.long_references import ReferenceSentence, read_references
from leap_fairseq.scoring.quality import Row, quality
from leap_fairseq.scoring.resegmentation import resegment
from leap_fairseq.scoring.settings import Settings, settings_for
from leap_fairseq.scoring.units import KEPT_SPACE
from leap_fairseq.scoring.untranslated import untranslated_seconds, warn_of_untranslated

logger = logging.getLogger(__name__)

LONG_COLUMNS = (
    *("BLEU", "chrF", "StreamLAAL", "StreamLAAL_CA"),
    *("recordings", "sentences", "empty", "untranslated_s", "signature"),
)
"""The columns of a row, in order. Latencies in ms; _CA counts the time of computing too."""

MANY_EARLY = 0.1
"""Share of words before their sentence from which a warning says that the latency is too good to be true."""


def score_long_run(path: Union[str, Path], references: Union[str, Path], settings: Optional[Settings] = None) -> Row:
    """Scores one run on long recordings.

    Args:
        path: instances.log, or the folder that holds it; sentence i of the log is recording i of the references.
        references: the table of sentences, see `long_references`.
        settings: unit, which the stream is split by too, and tokenizer (default: as the folder says).

    Returns:
        A value for every name in `LONG_COLUMNS`. A latency is nan where no sentence got a word.

    Raises:
        OSError: a file cannot be read.
        ValueError: a broken log or table, recordings that do not match, or as for `Settings.check`.
    """
    settings = settings or settings_for(path)
    recordings, instances = read_references(references), read_instances(path, settings.unit)
    found, wanted = [instance.index for instance in instances], list(range(len(recordings)))
    if found != wanted:
        raise ValueError(
            f"{path} holds {_numbered(found)}, but {references} the sentences of {_numbered(wanted)}: finish the run; "
            "its source list must have one line per recording of the table"
        )
    settings.check(path, instances, [sentence.target for recording in recordings for sentence in recording])
    sentences: List[Instance] = []
    for instance, recording in zip(instances, recordings):
        _warn_of_times(instance, recording, path)
        sentences += split_recording(instance, recording)
    _warn_of_words(sentences, path)
    warn_of_untranslated(instances, path)
    row: Row = {
        **quality(sentences, settings.tokenizer),
        "StreamLAAL": stream_laal(sentences),
        "StreamLAAL_CA": stream_laal(sentences, computation_aware=True),
        "recordings": len(recordings),
        "sentences": len(sentences),
        "empty": sum(1 for sentence in sentences if not sentence.delays),
        "untranslated_s": untranslated_seconds(instances),
    }
    return {name: row[name] for name in LONG_COLUMNS}


def split_recording(instance: Instance, sentences: Sequence[ReferenceSentence]) -> List[Instance]:
    """The parts of a recording's translation that belong to its sentences, as if each had been translated alone.

    Args:
        instance: what was written of the recording.
        sentences: of the recording, in the order of time.

    Returns:
        For each sentence the words that belong to it, with `delays` and `elapsed` counted from its beginning, 0 for
        those before it; `source_length` is its duration. `elapsed` holds each word's own time of computing, see
        `stream_elapsed`.

    Raises:
        ValueError: the unit is spm, without a model.
    """
    words, unit = instance.written, instance.unit
    targets = [unit.split(sentence.target) for sentence in sentences]
    if KEPT_SPACE not in words:  # of characters, in a language without spaces
        targets = [[word for word in target if word != KEPT_SPACE] for target in targets]
    elapsed = stream_elapsed(instance.delays, instance.elapsed)
    parts = []
    for number, (part, sentence) in enumerate(zip(resegment(words, targets), sentences)):
        delays, times = (
            [max(0.0, time - sentence.offset) for time in times[part]] for times in (instance.delays, elapsed)
        )
        text = unit.join(words[part])
        parts.append(Instance(number, text, sentence.target, delays, times, sentence.duration, words[part], unit))
    return parts


def stream_elapsed(delays: Sequence[float], elapsed: Sequence[float]) -> List[float]:
    """When each word would have been written had the recording been heard, not read from a file; ms.

    SimulEval reads a file as fast as it is translated: its elapsed times add to a delay all the time that was spent
    computing since the recording began. In a recording of minutes that sum means nothing, for most of the computing
    was done while people spoke. What counts is the computing since the last words were written:

        c_i = (e_i - d_i) - (e_j - d_j),    j the last word that was written before those of one time with word i

    A translator that is slower than the speech would fall behind further and further; that is not in the number. Nor
    may the score be set beside LAAL_CA of short recordings, which adds up all the computing of a sentence.

    Args:
        delays: d_i of a whole recording, ms.
        elapsed: e_i as SimulEval logs them, ms, equal for words that were written together.

    Returns:
        d_i + c_i, ms.

    Source: stream_laal.py, SegmentLevelDelayElapsed (see the module); there the c_i of the later of several words
    comes out too small where the first of them was set to 0.
    """
    times: List[float] = []
    computed = cost = 0.0  # up to the batch before; in the batch
    for i, (delay, time) in enumerate(zip(delays, elapsed)):
        if i == 0 or time != elapsed[i - 1]:
            computed = elapsed[i - 1] - delays[i - 1] if i else 0.0
            cost = time - delay - computed
        times.append(delay + cost)
    return times


def stream_laal(sentences: Sequence[Instance], computation_aware: bool = False) -> float:
    """Mean LAAL over the sentences that got a word and have a duration, in ms; nan where there is none.

    Args:
        sentences: as `split_recording` gives them, of all recordings together.
        computation_aware: of `elapsed` in place of `delays`.

    Raises:
        ValueError: the unit is spm, without a model.
    """
    scores = [
        length_adaptive_average_lagging(
            sentence.elapsed if computation_aware else sentence.delays,
            *(sentence.source_length, sentence.reference_length),
        )
        for sentence in sentences
        if sentence.is_scorable
    ]
    return sum(scores) / len(scores) if scores else math.nan


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
    computed = instance.elapsed[-1] - instance.delays[-1] if instance.delays else 0.0
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
    early = sum(1 for delay in delays if delay == 0)
    if early > MANY_EARLY * len(delays):
        logger.warning(
            "%s: %.0f %% of the words were written before the sentence they were given to and count as without delay: "
            "the translation has little in common with the references, or its times are not those of the recordings",
            *(name, 100 * early / len(delays)),
        )
