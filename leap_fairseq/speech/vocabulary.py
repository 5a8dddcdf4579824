"""SentencePiece models and the fairseq dictionaries that belong to them.

The special symbols have fairseq's numbers (<s> 0, <pad> 1, </s> 2, <unk> 3), so piece i of the model is word i of the
dictionary. Threads and order are fixed: the same texts give the same model, byte for byte.
"""

import io
import logging
from pathlib import Path
from typing import Any, Iterable, Sequence, Union

import sentencepiece

from leap_fairseq.files import DataError, whole_file

logger = logging.getLogger(__name__)

NEXT_SENTENCE = "<next>"
"""The token between two sentences of one stretch of speech: the one before it is over, and another follows."""

WORD_BOUNDARY = "\u2581"
"""SentencePiece's mark of the beginning of a word."""

PIECES = "sentencepiece.bpe.model"
"""Name of a model beside the data of a language model. fairseq looks for it by this name, whatever its type."""

VOCAB_TYPES = ("unigram", "char")
NUM_SPECIAL = 4
THREADS = 4
"""Fixed, not the number of cores: the sums of a unigram model depend on it in their last bits."""


def vocabulary_name(vocab_type: str, vocab_size: int, task: str) -> str:
    """File name without ending, as fairseq's MuST-C recipe chooses it: spm_unigram8000_st, spm_char_asr."""
    return f"spm_{vocab_type}{'' if vocab_type == 'char' else vocab_size}_{task}"


def train_vocabulary(
    texts: Iterable[str],
    prefix: Union[str, Path],
    vocab_size: int,
    vocab_type: str = "unigram",
    symbols: Sequence[str] = (),
) -> int:
    """Trains a SentencePiece model and writes PREFIX.model and PREFIX.txt (fairseq's dictionary).

    A size larger than the texts allow gives the largest possible one, and a warning.

    Args:
        texts: Sentences, one each.
        prefix: Path without ending.
        vocab_size: Number of pieces, the four special ones included.
        vocab_type: unigram or char.
        symbols: Pieces that are there whatever the texts, such as `NEXT_SENTENCE`; a text is cut around them.

    Returns:
        The number of pieces of the model, the special ones included.

    Raises:
        DataError: No text, an unknown type, or a size too small for the characters of the texts.
    """
    if vocab_type not in VOCAB_TYPES:
        choices = ", ".join(VOCAB_TYPES)
        raise DataError(f"vocabulary type is {vocab_type!r}, but must be one of {choices} (--vocab-type)")
    texts = [text for text in texts if text.strip()]
    if not texts:
        raise DataError("cannot train a vocabulary from no text: check the train split's text files")
    model = train_model(texts, vocab_size, vocab_type, user_defined_symbols=list(symbols))
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    size = processor.get_piece_size()
    # A character vocabulary has its natural size; there the number is only an upper limit.
    if size < vocab_size and vocab_type != "char":
        logger.warning("the texts allow only %d pieces, not %d (--vocab-size): trained with %d", size, vocab_size, size)
    with whole_file(f"{prefix}.model") as file:
        file.write(model)
    write_dictionary(processor, f"{prefix}.txt")
    return size


def write_dictionary(processor: sentencepiece.SentencePieceProcessor, path: Union[str, Path]) -> None:
    """Writes the pieces of a model as fairseq's dictionary, which gives them the same numbers."""
    with whole_file(path, text=True) as file:
        # fairseq's Dictionary adds the four special symbols itself; the counts are not used.
        numbers = range(NUM_SPECIAL, processor.get_piece_size())
        file.writelines(f"{processor.id_to_piece(number)} 1\n" for number in numbers)


def train_model(texts: Iterable[str], vocab_size: int, vocab_type: str, **options: Any) -> bytes:
    """Trains a SentencePiece model with fairseq's numbers of the special symbols.

    Args:
        texts: Sentences.
        vocab_size: Number of pieces at most, the four special ones included.
        vocab_type: Of SentencePiece.
        options: Of its trainer, in place of those here.

    Returns:
        The bytes of the .model file.

    Raises:
        DataError: A size too small for the characters of the texts.
    """
    options = {"character_coverage": 1.0, **options}
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type=vocab_type,
            vocab_size=vocab_size,
            hard_vocab_limit=False,  # larger than possible is cut, not refused
            num_threads=THREADS,
            shuffle_input_sentence=False,
            bos_id=0,
            pad_id=1,
            eos_id=2,
            unk_id=3,
            minloglevel=2,
            **options,
        )
    except RuntimeError as error:
        # SentencePiece's message ends with the numbers, after its own source line.
        reason = str(error).split("] ")[-1].strip()
        raise DataError(
            f"SentencePiece cannot make {vocab_size} {vocab_type} pieces: the size must be at least the number of"
            f" different characters + {NUM_SPECIAL}: raise --vocab-size ({reason})"
        ) from error
    return model.getvalue()
