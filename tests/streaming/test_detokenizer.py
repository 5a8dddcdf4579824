"""Whole words from pieces, however the pieces fall."""

import pytest
import sentencepiece

from leap_fairseq.streaming import StreamingDetokenizer


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


def stream(model, pieces, unit="word"):
    """What each push gives, and what is left."""
    detokenizer = StreamingDetokenizer(model, unit)
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


EURO = ["\u2581", "<0xE2>", "<0x82>", "<0xAC>"]


def test_a_character_is_complete_with_its_last_byte(model):
    assert stream(model, [*EURO, "e", "\u2581", "\u2581", *EURO[1:]], "char") == [
        *([], [], [], ["\u20ac"], ["e"], [], []),
        *([], [], [" \u20ac"], []),
    ]


def test_a_piece_is_written_at_once_and_bytes_as_their_character(model):
    assert stream(model, [*EURO, "e", "\u2581a"], "spm") == [["\u2581"], [], [], ["\u20ac"], ["e"], ["\u2581a"], []]


@pytest.mark.parametrize("unit", ["word", "char", "spm"])
def test_bytes_that_are_no_character_do_not_wait_for_ever(model, unit):
    written = sum(stream(model, ["\u2581", "<0xE2>", "\u2581", "e"], unit), [])
    assert "".join(written).replace("\u2581", "").replace(" ", "") == "\ufffde"


@pytest.mark.parametrize("unit", ["word", "char", "spm"])
@pytest.mark.parametrize("text", ["ein alter Fluss", "\u4f60\u597d\u5417 das", "\u00dcml\u00e4ut \u20ac5 ein"])
def test_units_joined_are_the_text_as_simuleval_joins_them(model, unit, text):
    pieces = sentencepiece.SentencePieceProcessor(model_file=model).encode(text, out_type=str)
    units = sum(stream(model, pieces, unit), [])
    joined = {"word": " ".join, "char": "".join, "spm": lambda us: "".join(us).replace("\u2581", " ").strip()}[unit]
    assert joined(units) == text
    assert all(len(unit.split()) == 1 for unit in units)  # SimulEval splits at spaces


def test_unknown_unit_is_named(model):
    with pytest.raises(ValueError, match="'letter' is not one of word, char, spm"):
        StreamingDetokenizer(model, "letter")
