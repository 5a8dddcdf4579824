"""Text from a stream of SentencePiece pieces, in the units that latency is counted in.

A word is complete when the next one begins, a character when its last byte is there, a piece at once. What comes out
first never changes: joined, the units are the text of all pieces together.
"""

import re
from pathlib import Path
from typing import List

import sentencepiece

from leap_fairseq.scoring.languages import UNITS
from leap_fairseq.speech.vocabulary import WORD_BOUNDARY

BYTE = re.compile(r"<0x([0-9A-F]{2})>")
"""A piece of a model with byte fallback: one byte of a character that has no piece."""

INCOMPLETE = "\ufffd"
"""What SentencePiece writes for bytes that are no character (yet)."""


class StreamingDetokenizer:
    """Turns pieces into words, characters or pieces as soon as they are known.

    Pieces of one word are decoded together, so that bytes of one character, spread over several pieces, and lone
    boundaries come out right.

    Args:
        model: path of the SentencePiece model.
        unit: "word"; "char" for languages written without spaces, whose only word would be the sentence, a space that
            there is stands before its character; or "spm", the pieces themselves with their boundary marks.

    Raises:
        FileNotFoundError: there is no such model.
        ValueError: an unknown unit.
    """

    def __init__(self, model: str, unit: str = "word"):
        if unit not in UNITS:
            raise ValueError(f"unit {unit!r} is not one of {', '.join(UNITS)} (--eval-latency-unit)")
        if not Path(model).is_file():
            raise FileNotFoundError(
                f"cannot read the SentencePiece model {model}: there is no such file; the data YAML names it under "
                "bpe_tokenizer"
            )
        self.unit = unit
        self._processor = sentencepiece.SentencePieceProcessor(model_file=model)
        self._pieces: List[str] = []
        self._written = ""
        self._has_begun = self._space = False  # a word of the sentence; a space stands before the next character

    def push(self, piece: str) -> List[str]:
        """Takes the next piece.

        Args:
            piece: of the target vocabulary.

        Returns:
            The units that it completes.
        """
        is_byte = BYTE.fullmatch(piece) is not None
        begins = piece.startswith(WORD_BOUNDARY) if self.unit != "spm" else not is_byte
        complete = self._complete() if begins else []
        self._space = self._has_begun if begins else self._space
        if self.unit == "spm" and not is_byte:
            return [*complete, piece]
        self._pieces.append(piece)
        text = "" if self.unit == "word" else self._text()
        return complete if text.endswith(INCOMPLETE) else complete + self._new(text)

    def flush(self) -> List[str]:
        """The units of the pieces that are left; the end of a sentence."""
        complete = self._complete()
        self._has_begun = self._space = False
        return complete

    def _complete(self) -> List[str]:
        complete = self._new(self._text())
        self._pieces, self._written = [], ""
        return complete

    def _text(self) -> str:
        return self._processor.decode_pieces(self._pieces) if self._pieces else ""

    def _new(self, text: str) -> List[str]:
        """The units of a text of all open pieces that have not been written yet."""
        if self.unit == "word":
            return text.split()
        new, self._written = text[len(self._written) :], text
        units = []
        for character in new:
            if character.isspace():
                self._space = self._has_begun
            else:
                units.append(" " * self._space + character)
                self._has_begun, self._space = self.unit == "char", False
        return units
