"""SimulEval's instances.log: what was written of each sentence, and when.

One JSON object a line, as SimulEval 1.1.4 writes it.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

from leap_fairseq.scoring.languages import UNITS
from leap_fairseq.scoring.latency import latencies

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Instance:
    """One translated sentence, as SimulEval logs it.

    Attributes:
        index: position in the test set.
        prediction: the hypothesis.
        reference: the reference translation, "" where none was given.
        delays: source time read when each word (or character, or piece) was written, ms.
        elapsed: the same plus the time spent computing, ms.
        source_length: ms.
        pieces: what the delays belong to, where the unit was the piece.
    """

    index: int
    prediction: str
    reference: str
    delays: List[float]
    elapsed: List[float]
    source_length: float
    pieces: Optional[List[str]] = None

    @property
    def is_scorable(self) -> bool:
        """Whether a latency is defined: something was written, and there was a source."""
        return len(self.delays) > 0 and self.source_length > 0

    def reference_length(self, unit: str = "word", pieces: Optional[Any] = None) -> int:
        """Length of the reference as SimulEval counts it, at least 1.

        Args:
            unit: "word"; "char", inner spaces included; or "spm".
            pieces: for "spm", the SentencePieceProcessor that counts.

        Raises:
            ValueError: an unknown unit, or no processor for "spm".
        """
        if unit not in UNITS:
            raise ValueError(f"latency unit {unit!r} is not one of {', '.join(UNITS)} (--latency-unit)")
        if unit == "spm":
            if pieces is None:
                raise ValueError("the unit spm needs the SentencePiece model that counts the reference (--spm-model)")
            return max(1, len(pieces.encode(self.reference)))
        return max(1, len(self.reference.split()) if unit == "word" else len(self.reference.strip()))

    def written(self) -> List[str]:
        """The words that `delays` belong to; the characters or pieces where those were SimulEval's unit.

        Raises:
            ValueError: the prediction has another number of words, and of characters, than there are delays.
        """
        for units in (self.pieces or [], self.prediction.split(), list(self.prediction.replace(" ", ""))):
            if len(units) == len(self.delays):
                return units
        raise ValueError(
            f"sentence {self.index} has {len(self.delays)} delays for the prediction {self.prediction!r}: "
            "its words cannot be placed in time"
        )

    def latency(
        self, unit: str = "word", computation_aware: bool = False, pieces: Optional[Any] = None
    ) -> Dict[str, float]:
        """All scores by name, of `elapsed` in place of `delays` where they are to be computation-aware.

        Raises:
            ValueError: the sentence is not scorable, or as for `reference_length`.
        """
        length = self.reference_length(unit, pieces)
        return latencies(self.delays, self.source_length, length, self.elapsed if computation_aware else None)


def read_log(path: Path) -> List[Dict[str, Any]]:
    """Reads the objects of an instances.log, in the order of its lines; of a sentence twice, the later.

    A last line that breaks off, as an interrupted run leaves it, is left out with a warning.

    Raises:
        ValueError: another line is not a sentence.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    found: Dict[int, Dict[str, Any]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            index = _instance(fields).index
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):  # every complete line ends in a newline, so only a torn one is last
                logger.warning("%s: line %d breaks off and is left out; the run was interrupted", path, number)
                break
            raise ValueError(f"{path}: line {number} is not a sentence of a simuleval log ({error})") from error
        if index in found:
            logger.warning("%s: sentence %d occurs again in line %d, which counts", path, index, number)
        found[index] = fields
    return list(found.values())


def read_instances(path: Union[str, Path]) -> List[Instance]:
    """Reads a log, in the order of `index`; see `read_log`.

    Args:
        path: the file, or the folder that holds it (SimulEval's ``--output``).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line but the last is not a sentence.
    """
    path = Path(path)
    path = path / "instances.log" if path.is_dir() else path
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the --output folder of a simuleval run")
    return sorted(map(_instance, read_log(path)), key=lambda instance: instance.index)


def piece_model(path: Optional[Union[str, Path]]) -> Optional[Any]:
    """The SentencePieceProcessor that counts references in pieces; None without a path."""
    if path is None:
        return None
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def _instance(fields: Dict) -> Instance:
    instance = Instance(
        index=int(fields["index"]),
        prediction=fields["prediction"],
        reference=fields.get("reference") or "",
        delays=[float(delay) for delay in fields["delays"]],
        elapsed=[float(time) for time in fields["elapsed"]],
        source_length=float(fields["source_length"]),
        pieces=fields.get("prediction_spm"),
    )
    if len(instance.delays) != len(instance.elapsed):
        raise ValueError(f"{len(instance.delays)} delays but {len(instance.elapsed)} elapsed times")
    return instance
