"""fairseq's decoder of SentencePiece: bytes are characters again."""

import pytest
from fairseq.data.encoders.sentencepiece_bpe import SentencepieceBPE

import leap_fairseq.models  # noqa: F401  (applies the repairs)
from leap_fairseq.compat.replacing import original

PIECES = {
    "\u2581The \u2581val ue": "The value",
    "\u2581gr <0xC3> <0xB6> <0xC3> <0x9F> er \u2581x": "größer x",
    "\u2581 <0xF0> <0x9F> <0x98> <0x80>": "\U0001f600",
    # What a model writes is not always a character.
    "\u2581a <0xC3> \u2581b": "a\ufffd b",
    "\u2581a <unk> b": "a<unk>b",
}


@pytest.mark.parametrize("pieces", PIECES)
def test_text_of_pieces(pieces):
    assert SentencepieceBPE.decode(None, pieces) == PIECES[pieces]


def test_the_control_that_fairseq_writes_names():
    decode = original(SentencepieceBPE.decode)
    assert decode is not SentencepieceBPE.decode
    assert decode(None, "\u2581gr <0xC3> <0xB6>") == "gr<0xC3><0xB6>"
