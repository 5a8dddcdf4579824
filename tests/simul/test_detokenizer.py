"""Whole words from pieces, however the pieces fall."""

import pytest
import sentencepiece

from leap_fairseq.simul import StreamingDetokenizer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    prefix = tmp_path_factory.mktemp("spm") / "bytes"
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["ein Haus am Fluss", "das alte Haus", "ein alter Fluss"] * 20),
        model_prefix=str(prefix),
        vocab_size=300,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return f"{prefix}.model"


def stream(model, pieces):
    """What each push gives, and what is left."""
    detokenizer = StreamingDetokenizer(model)
    return [detokenizer.push(piece) for piece in pieces] + [detokenizer.flush()]


def test_a_word_is_complete_when_the_next_begins(model):
    pieces = sentencepiece.SentencePieceProcessor(model_file=model).encode("ein alter Fluss", out_type=str)
    begins = [i for i, piece in enumerate(pieces) if piece.startswith("▁")]
    assert len(begins) == 3 < len(pieces)
    results = stream(model, pieces)
    assert [results[begins[1]], results[begins[2]], results[-1]] == [["ein"], ["alter"], ["Fluss"]]
    assert sum(map(len, results)) == 3


def test_bytes_and_lone_boundaries(model):
    euro = ["▁", "<0xE2>", "<0x82>", "<0xAC>"]
    assert stream(model, [*euro, "▁", "▁", *euro]) == [[], [], [], [], ["€"], [], [], [], [], [], ["€"]]


def test_first_piece_without_boundary_and_nothing_left(model):
    assert stream(model, ["s", "▁", "e"]) == [[], ["s"], [], ["e"]]
    assert stream(model, []) == [[]]


@pytest.mark.parametrize("text", ["ein Haus am Fluss", "das alte Haus", "Ümläut €5 ein"])
def test_joined_words_are_the_text(model, text):
    pieces = sentencepiece.SentencePieceProcessor(model_file=model).encode(text, out_type=str)
    assert " ".join(sum(stream(model, pieces), [])) == text


def test_missing_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="cannot read the SentencePiece model .*bpe_tokenizer"):
        StreamingDetokenizer(str(tmp_path / "none.model"))
