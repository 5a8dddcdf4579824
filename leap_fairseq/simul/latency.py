"""Latency of simultaneous translation: AL, LAAL, AP and DAL of a sentence, and reading SimulEval's instances.log.

Symbols, for one sentence: d_i delay of target word i (source time read when it was written, ms, i = 1, 2, ...),
X source length (ms), Y reference length and H hypothesis length (words, or characters). Computation-aware scores take
the elapsed times, which add the time spent computing, in place of the delays.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, List, Optional, Sequence, Union

logger = logging.getLogger(__name__)

LATENCY_UNITS = ("word", "char")


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

    Args:
        delays: d_i in ms, at least one.
        source_length: X in ms, above 0.
        reference_length: ignored; there so that all four scores are called alike.

    Raises:
        ValueError: an argument outside its range.

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


LATENCY_SCORES: Dict[str, Callable[..., float]] = {
    "LAAL": length_adaptive_average_lagging,
    "AL": average_lagging,
    "AP": average_proportion,
    "DAL": differentiable_average_lagging,
}


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


@dataclass(frozen=True)
class Instance:
    """One translated sentence, as SimulEval logs it.

    Attributes:
        index: position in the test set.
        prediction: the hypothesis.
        reference: the reference translation, "" where none was given.
        delays: source time read when each word (or character) was written, ms.
        elapsed: the same plus the time spent computing, ms.
        source_length: ms.
    """

    index: int
    prediction: str
    reference: str
    delays: List[float]
    elapsed: List[float]
    source_length: float

    @property
    def is_scorable(self) -> bool:
        """Whether a latency is defined: something was written, and there was a source."""
        return len(self.delays) > 0 and self.source_length > 0

    def reference_length(self, unit: str = "word") -> int:
        """Length of the reference in words, or in characters with inner spaces (SimulEval's counts); at least 1.

        Raises:
            ValueError: `unit` is neither "word" nor "char".
        """
        if unit not in LATENCY_UNITS:
            raise ValueError(f"latency unit {unit!r} is not one of {', '.join(LATENCY_UNITS)} (--latency-unit)")
        return max(1, len(self.reference.split()) if unit == "word" else len(self.reference.strip()))

    def written(self) -> List[str]:
        """The words that `delays` belong to; the characters where SimulEval ran with characters as unit.

        Raises:
            ValueError: the prediction has another number of words, and of characters, than there are delays.
        """
        for pieces in (self.prediction.split(), list(self.prediction.replace(" ", ""))):
            if len(pieces) == len(self.delays):
                return pieces
        raise ValueError(
            f"sentence {self.index} has {len(self.delays)} delays for the prediction {self.prediction!r}: "
            "its words cannot be placed in time"
        )

    def latency(self, unit: str = "word", computation_aware: bool = False) -> Dict[str, float]:
        """All four scores by name; `computation_aware` takes `elapsed` in place of `delays`.

        Raises:
            ValueError: the sentence is not scorable, or `unit` is unknown.
        """
        times = self.elapsed if computation_aware else self.delays
        length = self.reference_length(unit)
        return {name: score(times, self.source_length, length) for name, score in LATENCY_SCORES.items()}


def read_instances(path: Union[str, Path]) -> List[Instance]:
    """Reads `instances.log` of SimulEval 1.1.4 (one JSON object a line), in the order of `index`.

    A last line that breaks off, as an interrupted run leaves it, is left out with a warning. Of a sentence that occurs
    twice the later line counts.

    Args:
        path: the file, or the folder that holds it (SimulEval's ``--output``).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another line is not such an object.
    """
    path = Path(path)
    path = path / "instances.log" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the --output folder of a simuleval run")
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    found: Dict[int, Instance] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            instance = _instance(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):  # every complete line ends in a newline, so only a torn one is last
                logger.warning("%s: line %d breaks off and is left out; the run was interrupted", path, number)
                break
            raise ValueError(f"{path}: line {number} is not a sentence of a simuleval log ({error})") from error
        if instance.index in found:
            logger.warning("%s: sentence %d occurs again in line %d, which counts", path, instance.index, number)
        found[instance.index] = instance
    return [found[index] for index in sorted(found)]


def _instance(fields: Dict) -> Instance:
    instance = Instance(
        index=int(fields["index"]),
        prediction=fields["prediction"],
        reference=fields.get("reference") or "",
        delays=[float(delay) for delay in fields["delays"]],
        elapsed=[float(time) for time in fields["elapsed"]],
        source_length=float(fields["source_length"]),
    )
    if len(instance.delays) != len(instance.elapsed):
        raise ValueError(f"{len(instance.delays)} delays but {len(instance.elapsed)} elapsed times")
    return instance
