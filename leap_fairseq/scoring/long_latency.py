"""Latency within the translation of a long recording, of the parts that belong to its reference sentences.

Times count from the beginning of the sentence. Two families differ in what they make of them:

    StreamLAAL   LAAL(max(0, d_i), duration, reference length): a word before its sentence has the delay 0
    LongX        X(d_i, duration, reference length): such a word has a negative delay; X is LAAL, AL, AP, DAL or YAAL

A sentence that got no word has no latency; means are over the others.

Source: StreamLAAL: hlt-mt/FBK-fairseq, stream_laal.py, version 2.0; Long: OmniSTEval 0.1.10, scoring.py, to which the
tests are equal.
"""

import itertools
import math
from typing import Dict, List, Sequence

from leap_fairseq.scoring.instances import Part
from leap_fairseq.scoring.latency import (
    average_lagging,
    average_proportion,
    differentiable_average_lagging,
    length_adaptive_average_lagging,
    mean,
)
from leap_fairseq.scoring.units import Characters

LONG_SCORES = ("LongYAAL", "LongLAAL", "LongAL", "LongAP", "LongDAL")


def stream_laal(parts: Sequence[Part], computation_aware: bool = False) -> float:
    """Mean StreamLAAL over the sentences that got a word and have a duration, in ms; nan where there is none.

    Args:
        parts: of all recordings together.
        computation_aware: of `elapsed` in place of `delays`.

    Raises:
        ValueError: the unit is spm, without a model.
    """
    times = [(part, part.elapsed if computation_aware else part.delays) for part in parts if part.is_scorable]
    return mean(
        length_adaptive_average_lagging([max(0.0, time) for time in found], part.source_length, part.reference_length)
        for part, found in times
        if found
    )


def long_latencies(parts: Sequence[Part], computation_aware: bool = False) -> Dict[str, float]:
    """The mean of each of `LONG_SCORES`, in ms, LongAP a share; nan where no sentence has one.

    Args:
        parts: of all recordings together.
        computation_aware: of `in_order` in place of `delays`, as OmniSTEval with --fix_simuleval_emission_ca.

    Raises:
        ValueError: the unit is spm, without a model.
    """
    times = [(part, part.in_order if computation_aware else part.delays) for part in parts if part.is_scorable]
    scores = [_scores(part, found) for part, found in times if found]
    return {name: mean(score[name] for score in scores if name in score) for name in LONG_SCORES}


def _scores(part: Part, times: Sequence[float]) -> Dict[str, float]:
    # There, the spaces of a reference are no characters.
    text = part.reference.replace(" ", "") if part.unit.name == Characters.name else part.reference
    lengths = part.source_length, part.unit.length(text)
    scores = {
        "LongLAAL": length_adaptive_average_lagging(times, *lengths),
        "LongAL": average_lagging(times, *lengths),
        "LongAP": average_proportion(times, *lengths),
        "LongDAL": differentiable_average_lagging(times, *lengths),
    }
    yaal = yet_another_average_lagging(times, *lengths, part.rest)
    return scores if math.isnan(yaal) else {"LongYAAL": yaal, **scores}


def yet_another_average_lagging(
    times: Sequence[float], duration: float, reference_length: int, rest: float = math.inf
) -> float:
    """LAAL that goes on behind the end of its sentence, as long as the recording lasts, ms; nan: all came later.

    LongYAAL = 1/tau * sum_{i=1..tau} (d_i - (i - 1) * X / max(Y, H)),    tau = the last i with d_i < rest

    Args:
        times: d_i in ms, at least one.
        duration: X of the sentence, ms, above 0.
        reference_length: Y, at least 1; H is the number of times.
        rest: from the beginning of the sentence to the end of the recording's last one, ms.

    Source: Polák et al. 2025, Better Late Than Never: Evaluation of Latency Metrics for Simultaneous Speech-to-Text
    Translation.
    """
    pace = duration / max(reference_length, len(times))
    lags = [time - i * pace for i, time in enumerate(itertools.takewhile(lambda time: time < rest, times))]
    return mean(lags)


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
