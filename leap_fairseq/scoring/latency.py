"""Latency of simultaneous translation: LAAL, AL, AP, DAL, ATD and simple times of a sentence.

Symbols, for one sentence: d_i delay of target word i (source time read when it was written, ms, i = 1, 2, ...),
X source length (ms), Y reference length and H hypothesis length (words, characters or pieces). Computation-aware scores
take the elapsed times, which add the time spent computing, in place of the delays.
"""

import itertools
import math
from typing import Callable, Dict, Iterable, List, Optional, Sequence

SOURCE_TOKEN_MS = 300
"""ATD's length of a word of speech. Source: Kano et al. 2022, section 3."""


def average_lagging(delays: Sequence[float], source_length: float, reference_length: int) -> float:
    """How far the writer lags behind one who spreads the reference evenly over the source, in ms.

    AL = 1/tau * sum_{i=1..tau} (d_i - (i - 1) * X / Y),    tau = first i with d_i >= X, else H

    Negative where a hypothesis is longer than the reference: LAAL mends that.

    Args:
        delays: d_i in ms, non-decreasing, at least one.
        source_length: X in ms, above 0.
        reference_length: Y, at least 1.

    Raises:
        ValueError: an argument outside its range.

    Source: Ma et al. 2019, STACL, section 4.2; in source time instead of source words: Ma et al. 2020, SimulMT to
    SimulST.
    """
    _check(delays, source_length, reference_length)
    return _lagging(delays, source_length, source_length / reference_length)


def length_adaptive_average_lagging(delays: Sequence[float], source_length: float, reference_length: int) -> float:
    """Average lagging that does not reward a hypothesis for being longer than the reference, in ms.

    LAAL = 1/tau * sum_{i=1..tau} (d_i - (i - 1) * X / max(Y, H))

    Args and Raises: as `average_lagging`.

    Source: Papi et al. 2022, Over-Generation Cannot Be Rewarded: Length-Adaptive Average Lagging.
    """
    _check(delays, source_length, reference_length)
    return _lagging(delays, source_length, source_length / max(reference_length, len(delays)))


def average_proportion(delays: Sequence[float], source_length: float, reference_length: int) -> float:
    """Mean share of the source that was read before a word was written; 1 is offline translation.

    AP = 1 / (X * Y) * sum_i d_i

    Y is the reference's length, as in SimulEval: above 1 is possible for a hypothesis longer than the reference.

    Args and Raises: as `average_lagging`.

    Source: Cho & Esipova 2016, Can neural machine translation do simultaneous translation?
    """
    _check(delays, source_length, reference_length)
    return sum(delays) / (source_length * reference_length)


def differentiable_average_lagging(
    delays: Sequence[float], source_length: float, reference_length: Optional[int] = None
) -> float:
    """Average lagging in which each word takes its time X / H to be spoken, in ms.

    DAL = 1/H * sum_{i=1..H} (g_i - (i - 1) * X / H),    g_1 = d_1,    g_i = max(d_i, g_{i-1} + X / H)

    Args and Raises: as `average_lagging`; the reference's length is ignored, so that all scores are called alike.

    Source: Cherry & Foster 2019, Thinking Slow about Latency Evaluation for Simultaneous Machine Translation.
    """
    _check(delays, source_length, 1)
    pace = source_length / len(delays)
    total = free_at = 0.0
    for i, delay in enumerate(delays):
        spoken_from = delay if i == 0 else max(delay, free_at)
        free_at = spoken_from + pace
        total += spoken_from - i * pace
    return total / len(delays)


def average_token_delay(
    delays: Sequence[float],
    source_length: float,
    reference_length: Optional[int] = None,
    elapsed: Optional[Sequence[float]] = None,
    adds_up: bool = True,
) -> float:
    """Mean time between the end of a piece of the source and the end of the target word that corresponds to it, in ms.

    ATD = 1/H * sum_t (T(y_t) - T(x_a(t))),    a(t) = min(t - max(0, H_c - S_c), S_c + s_c)

    What was written at one delay is a chunk c, and so is the speech that was read before it; the latter is cut into
    tokens of 300 ms, the last one shorter. H_c and S_c count the target and source tokens of the chunks before c, s_c
    the source tokens of c itself. T is the end of a token; text takes no time to be written, so that T(y_t) = d_t. The
    computation-aware score adds what each word took to compute, c_t, to its delay or the word before it:

        T(y_t) = max(d_t, T(y_t-1)) + c_t,    c_t = (e_t - d_t) - (e_t-1 - d_t-1)

    Args:
        delays: d_i in ms, non-decreasing, at least one.
        source_length: X in ms, above 0.
        reference_length: ignored.
        elapsed: e_i in ms, for the computation-aware score.
        adds_up: e_i counts all computing before the word, as above; else it is when the word came, and T(y_t) = e_t.

    Raises:
        ValueError: an argument outside its range.

    Source: Kano, Sudoh, Nakamura 2022, Average Token Delay: A Latency Metric for Simultaneous Translation; with
    computing: SimulEval 1.1.4, ATDScorer.
    """
    _check(delays, source_length, 1)
    times = delays if elapsed is None else _times_out(delays, elapsed) if adds_up else elapsed
    ends, total, written, last = [0.0], 0.0, 0, 0.0
    for delay, chunk in itertools.groupby(delays):
        surplus = max(0, written - (len(ends) - 1))
        whole, rest = divmod(delay - last, SOURCE_TOKEN_MS)
        for length in [SOURCE_TOKEN_MS] * int(whole) + ([rest] if rest else []):
            ends.append(ends[-1] + length)
        for _ in chunk:
            written += 1
            total += times[written - 1] - ends[min(written - surplus, len(ends) - 1)]
        last = delay
    return total / written


def start_offset(delays: Sequence[float], source_length: float, reference_length: Optional[int] = None) -> float:
    """The first delay, ms; arguments and errors as of `differentiable_average_lagging`."""
    _check(delays, source_length, 1)
    return delays[0]


def end_offset(delays: Sequence[float], source_length: float, reference_length: Optional[int] = None) -> float:
    """How long after the end of the source the last word came, ms; below 0: before it. Arguments as of the first."""
    _check(delays, source_length, 1)
    return delays[-1] - source_length


def number_of_chunks(delays: Sequence[float], source_length: float, reference_length: Optional[int] = None) -> float:
    """What was written, counted in words (or characters, or pieces): to SimulEval, each is a chunk of its own."""
    _check(delays, source_length, 1)
    return float(len(delays))


def real_time_factor(delays: Sequence[float], source_length: float, reference_length: Optional[int] = None) -> float:
    """The last delay as a share of the source; of elapsed times, above 1 where the writer is slower than the speech."""
    _check(delays, source_length, 1)
    return delays[-1] / source_length


LATENCY_SCORES: Dict[str, Callable[..., float]] = {
    "LAAL": length_adaptive_average_lagging,
    "AL": average_lagging,
    "AP": average_proportion,
    "DAL": differentiable_average_lagging,
    "ATD": average_token_delay,
    "StartOffset": start_offset,
    "EndOffset": end_offset,
    "NumChunks": number_of_chunks,
    "RTF": real_time_factor,
}
"""By their names in SimulEval, as it defines them."""


def latencies(
    delays: Sequence[float],
    source_length: float,
    reference_length: int,
    elapsed: Optional[Sequence[float]] = None,
    adds_up: bool = True,
) -> Dict[str, float]:
    """All scores of a sentence by name.

    Args and Raises: as `average_lagging`; `elapsed` is taken in place of the delays, for the computation-aware scores;
    `adds_up` as `average_token_delay`.
    """
    lengths = (source_length, reference_length)
    scores = {name: score(elapsed or delays, *lengths) for name, score in LATENCY_SCORES.items()}
    # What was read before a word stays what it was, however long the computing took.
    scores["ATD"] = average_token_delay(delays, *lengths, elapsed, adds_up)
    return scores


def mean(values: Iterable[float]) -> float:
    """The mean; nan of nothing."""
    values = list(values)
    return sum(values) / len(values) if values else math.nan


def _times_out(delays: Sequence[float], elapsed: Sequence[float]) -> List[float]:
    """T(y_i) of `average_token_delay` with the time of computing, ms."""
    times, last, computed = [], 0.0, 0.0
    for delay, time in zip(delays, elapsed):
        last = max(delay, last) + (time - delay) - computed
        computed = time - delay
        times.append(last)
    return times


def _lagging(delays: Sequence[float], source_length: float, pace: float) -> float:
    total = 0.0
    for i, delay in enumerate(delays):
        total += delay - i * pace
        if delay >= source_length:
            break
    return total / (i + 1)


def _check(delays: Sequence[float], source_length: float, reference_length: int) -> None:
    if len(delays) == 0:
        raise ValueError("no delays: an empty hypothesis has no latency; count it apart")
    if not source_length > 0:
        raise ValueError(f"source_length is {source_length} ms, but must be above 0")
    if reference_length < 1:
        raise ValueError(f"reference_length is {reference_length}, but must be at least 1")
