"""Texts of word pieces for language models, by SentencePiece, and always lossless.

Words are cut as they are, without normalisation, and a character that has no piece is spelled in bytes. So no text is
unknown, the pieces give the text back, and perplexities per word compare whatever the vocabulary.
"""

import collections
import itertools
import logging
import os
import shutil
from pathlib import Path
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple, Union

import sentencepiece

from leap_fairseq.files import DataError, file_digest
from leap_fairseq.speech.vocabulary import NUM_SPECIAL, PIECES, WORD_BOUNDARY, train_model, write_dictionary

logger = logging.getLogger(__name__)

WORDS = "word"
"""The vocabulary that cuts no word."""

PIECE_TYPES = ("bpe", "unigram")
DEFAULT_SIZE = 8000
BYTES = 256

LINES = 2000
"""Encoded at a time."""


class Pieces(NamedTuple):
    """What a text is cut into.

    Attributes:
        vocab_type: of pieces to be trained, bpe or unigram; that of words where there is a model.
        vocab_size: how many are trained.
        model: path of a model that is there.
    """

    vocab_type: str
    vocab_size: int
    model: Optional[Path]

    def fingerprint(self) -> Dict[str, Any]:
        """What the pieces depend on beside the text, as plain data."""
        return {"sentencepiece_model": file_digest(self.model)} if self.model else {"pieces": [*self[:2]]}


def choose_pieces(
    vocab_type: str = WORDS, vocab_size: Optional[int] = None, model: Union[str, Path, None] = None
) -> Optional[Pieces]:
    """Checks options; returns None where words are not cut.

    Raises:
        DataError: An unknown type, a size below that of special symbols and bytes, no such file, or options that do
            not go together.
    """
    if vocab_type not in (WORDS, *PIECE_TYPES):
        raise DataError(f"--vocab-type is {vocab_type!r}, but must be {', '.join((WORDS, *PIECE_TYPES))}")
    if model is not None:
        if vocab_type != WORDS or vocab_size is not None:
            raise DataError("--sentencepiece-model has its pieces already: leave out --vocab-type and --vocab-size")
        read_pieces(model)
        return Pieces(vocab_type, 0, Path(model))
    if vocab_type == WORDS:
        if vocab_size is not None:
            raise DataError(f"--vocab-size is for pieces: add --vocab-type {' or '.join(PIECE_TYPES)}")
        return None
    size = DEFAULT_SIZE if vocab_size is None else vocab_size
    if size <= NUM_SPECIAL + BYTES:
        rule = f"but must be more than {NUM_SPECIAL} special symbols and {BYTES} bytes"
        raise DataError(f"--vocab-size is {size}, {rule}: give, for example, {DEFAULT_SIZE}")
    return Pieces(vocab_type, size, None)


def write_pieces(
    chosen: Pieces, texts: Dict[str, Path], build: Path, processes: int
) -> Tuple[Dict[str, Path], Dict[str, int], Path]:
    """Cuts the texts of a data set.

    Args:
        chosen: what into.
        texts: of each split, words between single spaces; of "train" the pieces are learned.
        build: folder for the model and the rest.
        processes: threads.

    Returns:
        The cut texts and the numbers of pieces, by split, and fairseq's dictionary of them.

    Raises:
        DataError: the pieces cannot be trained, or do not give the texts back.
    """
    path = build / PIECES
    if chosen.model:
        shutil.copyfile(chosen.model, path)
    else:
        path.write_bytes(train_pieces(texts["train"], chosen.vocab_size, chosen.vocab_type))
    pieces = read_pieces(path)
    cut = {split: text.with_suffix(".pieces") for split, text in texts.items()}
    numbers = {split: encode_text(pieces, text, cut[split], processes) for split, text in texts.items()}
    dictionary = build / "pieces.txt"
    write_dictionary(pieces, dictionary)
    return cut, numbers, dictionary


def train_pieces(text: Path, vocab_size: int, vocab_type: str) -> bytes:
    """Trains a model on a text of words between single spaces.

    Args:
        text: Its path.
        vocab_size: Number of pieces at most, special ones and bytes included.
        vocab_type: bpe or unigram.

    Returns:
        The bytes of the .model file.

    Raises:
        DataError: A size too small for the characters of the text.
    """
    counts: collections.Counter = collections.Counter()
    with open(text, encoding="utf-8", newline="\n") as lines:
        for line in lines:
            counts.update(_without_boundaries(line).split())
    # SentencePiece needs no more than how often each word is there.
    model = train_model(
        (f"{word}\t{count}" for word, count in counts.items()),
        *(vocab_size, vocab_type),
        input_format="tsv",
        normalization_rule_name="identity",
        byte_fallback=True,
        # The rest are rare enough to be spelled in bytes.
        character_coverage=0.9995,
        # A word of WikiText, which SentencePiece would take for its own symbol and leave out.
        unk_piece="<unknown>",
    )
    size = sentencepiece.SentencePieceProcessor(model_proto=model).get_piece_size()
    if size < vocab_size:
        logger.warning("the text allows only %d pieces, not %d (--vocab-size): trained with %d", size, vocab_size, size)
    return model


def read_pieces(path: Union[str, Path]) -> sentencepiece.SentencePieceProcessor:
    """Reads a model whose special symbols have fairseq's numbers.

    Raises:
        DataError: No such file, another one, or other numbers.
    """
    if not Path(path).is_file():
        raise DataError(f"{path} is no file: --sentencepiece-model takes a .model file of SentencePiece")
    try:
        found = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except RuntimeError as error:
        raise DataError(f"{path} is no model of SentencePiece: give the .model file of its training") from error
    numbers = [found.bos_id(), found.pad_id(), found.eos_id(), found.unk_id()]
    if numbers != list(range(NUM_SPECIAL)):
        raise DataError(
            f"{path} has other numbers than fairseq for <s>, <pad>, </s>, <unk> ({numbers}): train it here, by "
            "--vocab-type, or with --bos_id=0 --pad_id=1 --eos_id=2 --unk_id=3"
        )
    return found


def encode_text(pieces: sentencepiece.SentencePieceProcessor, text: Path, out: Path, processes: int = 1) -> int:
    """Writes a text in pieces, a line a line.

    Args:
        pieces: The model.
        text: Words between single spaces.
        out: Pieces between single spaces.
        processes: Threads; the result does not depend on them.

    Returns:
        How many pieces there are.

    Raises:
        DataError: The model does not give the text back.
    """
    count = changed = 0
    with open(text, encoding="utf-8", newline="\n") as source, open(out, "w", encoding="utf-8", newline="\n") as file:
        for lines in _batches(source):
            kept = [_without_boundaries(line) for line in lines]
            changed += sum(line != other for line, other in zip(lines, kept))
            encoded = pieces.encode(kept, out_type=str, num_threads=processes)
            for line, back in zip(kept, pieces.decode(encoded)):
                if line != back:
                    first = max(0, len(os.path.commonprefix([line, back])) - 10)
                    before, after = (text[first : first + 40] for text in (line, back))
                    raise DataError(
                        f"the SentencePiece model makes {after!r} of {before!r}: give one that keeps all text "
                        "(normalization_rule_name=identity, byte_fallback), or have it trained by --vocab-type"
                    )
            count += sum(map(len, encoded))
            file.writelines(" ".join(each) + "\n" for each in encoded)
    if changed:
        logger.warning("%d lines have %s, SentencePiece's space: it became _", changed, WORD_BOUNDARY)
    return count


def _without_boundaries(line: str) -> str:
    return line.replace(WORD_BOUNDARY, "_")


def _batches(lines: Iterator[str]) -> Iterator[List[str]]:
    while batch := [line.rstrip("\n") for line in itertools.islice(lines, LINES)]:
        yield batch
