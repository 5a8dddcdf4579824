"""Texts that SentencePiece spells in bytes, for fairseq's decoder of pieces."""

import re

from fairseq.data.encoders.sentencepiece_bpe import SentencepieceBPE

from leap_fairseq.compat.replacing import replace

BYTES = re.compile(r"<0x[0-9A-F]{2}>(?: ?<0x[0-9A-F]{2}>)*")
"""A character without a piece, in a model with byte fallback."""


def repair_piece_bytes() -> None:
    """Writes the characters that bytes stand for.

    fairseq 0.12.2 writes the names of the bytes, <0xC3><0xB6> for an o with two dots.
    """
    replace([SentencepieceBPE], "decode", _with_characters, symptom=_leaves_bytes)


def _leaves_bytes(decode) -> bool:
    return "<0x" in decode(None, "\u2581a <0xC3> <0xB6>")


def _with_characters(decode):
    def joined(self, x: str) -> str:
        return decode(self, BYTES.sub(_character, x))

    return joined


def _character(match: re.Match) -> str:
    found = bytes(int(name[3:5], 16) for name in re.findall("<0x..>", match[0]))
    # A model may write what is no character.
    return found.decode("utf-8", errors="replace")
