"""A SentencePiece model of our preparation as a fast tokenizer of transformers: the same pieces of any text.

Source:
    Kudo, Richardson, SentencePiece, EMNLP 2018; transformers' converters of such models.
"""

from pathlib import Path
from typing import List, Tuple, Union

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, Unigram
from transformers import PreTrainedTokenizerFast

from leap_fairseq.hf.tokenizer import END, PAD, UNKNOWN, finished

BOUNDARY = "\u2581"
SPECIAL = ("<s>", PAD, END, UNKNOWN)
"""By fairseq's numbers."""

UNIGRAM, BPE_MODEL = 1, 2
NORMAL, UNUSED, USER_DEFINED = 1, 5, 4
"""Numbers of SentencePiece's format."""

SPELLED = Regex(r"<(?=s>|pad>|unk>|0x[0-9A-F]{2}>)|</(?=s>)")
"""In a text, the name of a symbol or a byte is letters like others; it is divided, so that it is not taken for it."""


def piece_tokenizer(path: Union[str, Path]) -> PreTrainedTokenizerFast:
    """A tokenizer with the pieces of a model, numbered as in fairseq's dictionary.

    Args:
        path: of a model that ``leap-fairseq prepare`` has trained for a language model.

    Returns:
        A tokenizer that puts ``</s>`` before a text and pads on the left; it decodes to the text.

    Raises:
        ValueError: a model with something that is not carried over, which is named.
        ImportError: protobuf is missing.
    """
    try:
        from sentencepiece.sentencepiece_model_pb2 import ModelProto
    except ImportError as error:
        raise ImportError("to export a model of pieces needs protobuf: pip install 'leap-fairseq[hf]'") from error
    proto = ModelProto()
    proto.ParseFromString(Path(path).read_bytes())
    _check(proto, path)
    pieces = [*SPECIAL, *(piece.piece for piece in proto.pieces[len(SPECIAL) :])]
    scores = [piece.score for piece in proto.pieces]
    spaces = [pre_tokenizers.Metaspace(replacement=BOUNDARY, prepend_scheme="always")]
    if proto.trainer_spec.model_type == BPE_MODEL:
        normal = [piece.type == NORMAL for piece in proto.pieces]
        numbers = {piece: number for number, piece in enumerate(pieces)}
        merges = _merges([(piece, score) for piece, score, learned in zip(pieces, scores, normal) if learned])
        model = BPE(numbers, merges, unk_token=UNKNOWN, fuse_unk=True, byte_fallback=True)
    else:
        model = Unigram(list(zip(pieces, scores)), SPECIAL.index(UNKNOWN), byte_fallback=True)
        spaces.append(pre_tokenizers.Split(SPELLED, "merged_with_previous"))
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Replace(Regex(" +"), " "), normalizers.Replace(Regex(r"\A | \z"), "")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(spaces)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(BOUNDARY, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return finished(tokenizer)


def _merges(learned: List[Tuple[str, float]]) -> List[Tuple[str, str]]:
    """All pairs of pieces that make a piece, the best piece first; SentencePiece keeps scores alone."""
    rank = {piece: number for number, (piece, _) in enumerate(learned)}
    found = []
    for piece, score in learned:
        pairs = ((piece[:cut], piece[cut:]) for cut in range(1, len(piece)))
        both = [pair for pair in pairs if pair[0] in rank and pair[1] in rank]
        found += [(-score, rank[first], rank[second], (first, second)) for first, second in both]
    return [pair for *_, pair in sorted(found)]


def _check(proto, path: Union[str, Path]) -> None:
    trainer, normalizer = proto.trainer_spec, proto.normalizer_spec
    whole = all(BOUNDARY not in piece.piece[1:] or set(piece.piece) == {BOUNDARY} for piece in proto.pieces)
    reasons = {
        f"is of type {trainer.model_type}, not unigram or bpe": trainer.model_type not in (UNIGRAM, BPE_MODEL),
        "normalises texts": bool(normalizer.precompiled_charsmap or normalizer.normalization_rule_tsv),
        "spells no bytes": not trainer.byte_fallback,
        "treats spaces in another way": not (
            whole
            and normalizer.add_dummy_prefix
            and normalizer.remove_extra_whitespaces
            and normalizer.escape_whitespaces
            and not trainer.treat_whitespace_as_suffix
        ),
        "has symbols of its user": any(piece.type in (USER_DEFINED, UNUSED) for piece in proto.pieces),
    }
    for reason, holds in reasons.items():
        if holds:
            raise ValueError(
                f"{path} {reason}, which is not exported to transformers: prepare the text by `leap-fairseq prepare "
                "wikitext --vocab-type bpe` (or unigram), and train on it"
            )
