"""Whole words from a stream of SentencePiece pieces: a word is complete when the next one begins."""

from pathlib import Path
from typing import List

import sentencepiece

WORD_BOUNDARY = "\u2581"


class StreamingDetokenizer:
    """Turns pieces into words as soon as they are complete.

    Pieces of one word are decoded together, so that bytes of one character, spread over several pieces, and lone
    boundaries come out right.

    Args:
        model: path of the SentencePiece model.

    Raises:
        FileNotFoundError: there is no such model.
    """

    def __init__(self, model: str):
        if not Path(model).is_file():
            raise FileNotFoundError(
                f"cannot read the SentencePiece model {model}: there is no such file; the data YAML names it under "
                "bpe_tokenizer"
            )
        self._processor = sentencepiece.SentencePieceProcessor(model_file=model)
        self._pieces: List[str] = []

    def push(self, piece: str) -> List[str]:
        """Takes the next piece.

        Args:
            piece: of the target vocabulary.

        Returns:
            The words that it completes.
        """
        complete = self.flush() if piece.startswith(WORD_BOUNDARY) else []
        self._pieces.append(piece)
        return complete

    def flush(self) -> List[str]:
        """The words of the pieces that are left; the end of a sentence."""
        pieces, self._pieces = self._pieces, []
        return self._processor.decode_pieces(pieces).split() if pieces else []
