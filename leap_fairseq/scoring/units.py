"""What latency counts: words, characters, or the pieces of a SentencePiece model.

A unit takes the translation of a line of SimulEval's log apart into what its delays belong to, and counts and splits
references alike.
"""

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

from leap_fairseq.scoring.languages import UNITS
from leap_fairseq.speech.vocabulary import WORD_BOUNDARY

KEPT_SPACE = "\u00a0"
"""What our agent writes for a space where characters are counted: SimulEval takes the plain ones out of the text, and
BLEU takes this one for a space."""


class LatencyUnit:
    """Words; the other units differ from them.

    SimulEval counts an empty word between two spaces in a row of a reference; here it is none.
    """

    name = "word"

    def written(self, fields: Dict[str, Any]) -> List[str]:
        """What the delays of a line of the log belong to."""
        return fields["prediction"].split()

    def split(self, reference: str) -> List[str]:
        """The units of a reference, to be compared with what was written."""
        return reference.split()

    def length(self, reference: str) -> int:
        """Units of a reference as SimulEval counts them, at least 1."""
        return max(1, len(self.split(reference)))

    def join(self, units: Sequence[str]) -> str:
        """The text of some units that were written."""
        return " ".join(units)


class Characters(LatencyUnit):
    """Characters; spaces count in a reference, and in a translation where the log has kept them."""

    name = "char"

    def written(self, fields: Dict[str, Any]) -> List[str]:
        """The characters that the delays belong to; SimulEval counts no plain space."""
        return list(fields["prediction"].replace(" ", ""))

    def split(self, reference: str) -> List[str]:
        """The characters of a reference, with spaces as they are kept."""
        return list(KEPT_SPACE.join(reference.split()))

    def length(self, reference: str) -> int:
        """Characters of a reference as SimulEval counts them, inner spaces included, at least 1."""
        return max(1, len(reference.strip()))

    def join(self, units: Sequence[str]) -> str:
        """The text of some units that were written."""
        return "".join(units).replace(KEPT_SPACE, " ").strip()


class Pieces(LatencyUnit):
    """Pieces of a SentencePiece model.

    Args:
        model: its path; without one references cannot be counted, only what was written.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is something else.
    """

    name = "spm"

    def __init__(self, model: Optional[Union[str, Path]] = None):
        self._processor: Any = None
        if model is not None:
            import sentencepiece

            if not Path(model).is_file():
                raise FileNotFoundError(f"{model}: no such SentencePiece model; correct --spm-model")
            try:
                self._processor = sentencepiece.SentencePieceProcessor(model_file=str(model))
            except (OSError, RuntimeError) as error:
                raise ValueError(f"{model} is no SentencePiece model ({error}); correct --spm-model") from error

    def written(self, fields: Dict[str, Any]) -> List[str]:
        """The pieces that the delays belong to.

        Raises:
            ValueError: the line has no pieces, or those of another text.
        """
        pieces = fields.get("prediction_spm")
        if not isinstance(pieces, list) or not all(isinstance(piece, str) for piece in pieces):
            raise ValueError("prediction_spm is missing, so that the run was not made in pieces (--latency-unit)")
        if self.join(pieces) != fields["prediction"]:
            raise ValueError("prediction_spm are the pieces of another text than the prediction")
        return pieces

    def split(self, reference: str) -> List[str]:
        """The pieces of a reference.

        Raises:
            ValueError: no model was given.
        """
        if self._processor is None:
            raise ValueError("the unit spm needs the SentencePiece model that counts the references (--spm-model)")
        return self._processor.encode(reference, out_type=str)

    def join(self, units: Sequence[str]) -> str:
        """The text of some units that were written."""
        return "".join(units).replace(WORD_BOUNDARY, " ").strip()


def unit_named(name: str, spm_model: Optional[Union[str, Path]] = None) -> LatencyUnit:
    """The unit "word", "char" or "spm", the last with a SentencePiece model.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: an unknown unit, or a file that is no model.
    """
    if name not in UNITS:
        raise ValueError(f"latency unit {name!r} is not one of {', '.join(UNITS)} (--latency-unit)")
    return Pieces(spm_model) if name == "spm" else {"word": LatencyUnit, "char": Characters}[name]()
