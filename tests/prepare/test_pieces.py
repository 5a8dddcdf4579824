"""A text in pieces of SentencePiece: nothing is lost, the numbers are fairseq's, and what cannot be is refused."""

import random

import pytest
import sentencepiece
from fairseq.data import Dictionary, data_utils

from leap_fairseq.files import DataError
from leap_fairseq.prepare.pieces import PIECES
from leap_fairseq.prepare.wikitext import format_counts, prep_wikitext
from leap_fairseq.speech.vocabulary import train_model

SPLITS = {"train": 200, "valid": 20, "test": 30}
WORDS = ["the", "then", "these", "other", "others", "@-@", "<unk>", "</s>", "value", "values", "größer", ",", "="]
RARE = ["日本", "a\u0301", "\U0001f600", "\u2581x", "<0x41>", "Zq"]


def write_texts(folder):
    """Words, rare ones in valid and test alone; returns the lines of each split."""
    chance, lines = random.Random(3), {}
    folder.mkdir()
    for split, count in SPLITS.items():
        words = WORDS + RARE * (split != "train")
        lines[split] = [" ".join(chance.choices(words, k=chance.randrange(12))) for _ in range(count)]
        (folder / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines[split]), encoding="utf-8")
    return lines


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pieces") / "text"
    return folder, write_texts(folder)


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def prepared(request, text, tmp_path_factory):
    """The folder, and what was counted."""
    out = tmp_path_factory.mktemp(request.param)
    return out, prep_wikitext([text[0]], out=out, any_text=True, vocab_type=request.param, vocab_size=320)


def test_pieces_give_the_text_back_and_have_fairseqs_numbers(prepared, text):
    out, counts = prepared
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(out / PIECES))
    dictionary = Dictionary.load(str(out / "dict.txt"))
    assert dictionary.symbols[4:] == [pieces.id_to_piece(number) for number in range(4, pieces.get_piece_size())]
    assert len(dictionary) == pieces.get_piece_size() <= 320
    for split, lines in text[1].items():
        data = data_utils.load_indexed_dataset(str(out / split), dictionary)
        rows = [data[index].tolist() for index in range(len(data))]
        # U+2581 is SentencePiece's space.
        kept = [line.replace("\u2581", "_") for line in lines]
        assert [pieces.decode(row[:-1]) for row in rows] == kept
        assert [row[:-1] for row in rows] == pieces.encode(kept)
        assert {row[-1] for row in rows} == {dictionary.eos()}
        row = counts[split]
        assert (row.lines, row.words) == (len(lines), sum(len(line.split()) for line in lines))
        assert row.lines + row.pieces == sum(map(len, rows)) and row.unknown == 0
        begun = sum(dictionary[token].startswith("\u2581") for row in rows for token in row)
        assert begun == row.words < row.pieces
    table = format_counts(counts, any_text=True).splitlines()
    total = counts["test"].pieces + counts["test"].lines
    assert table[0].split()[-3:] == ["pieces", "a", "word"]
    assert table[3].split()[-2:] == [f"{total:,}", f"{total / counts['test'].tokens:.3f}"]


def test_frequent_words_are_one_piece_also_wikitexts_own(prepared):
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(prepared[0] / PIECES))
    cut = pieces.encode("the value <unk> 日", out_type=str)
    assert cut[:2] == ["\u2581the", "\u2581value"] and cut[-3:] == ["<0xE6>", "<0x97>", "<0xA5>"]
    assert "<0x3C>" not in cut


def test_a_model_that_is_there_cuts_another_text_and_any_form_is_the_same(prepared, text, tmp_path, hashes):
    out, counts = prepared
    model = out / PIECES
    again = prep_wikitext([text[0]], out=tmp_path / "again", any_text=True, sentencepiece_model=model, processes=2)
    assert again == counts
    visible = [{n: h for n, h in hashes(each).items() if n[0] != "."} for each in (out, tmp_path / "again")]
    assert visible[0] == visible[1] and PIECES in visible[0]
    alone = prep_wikitext(test=text[0] / "test.txt", out=tmp_path / "test", any_text=True, sentencepiece_model=model)
    assert alone == {"test": counts["test"]}
    assert (tmp_path / "test/test.bin").read_bytes() == (out / "test.bin").read_bytes()


def test_words_in_their_place_leave_no_model(text, tmp_path):
    options = {"any_text": True, "out": tmp_path}
    prep_wikitext([text[0]], vocab_type="bpe", vocab_size=300, **options)
    assert (tmp_path / PIECES).is_file()
    counts = prep_wikitext([text[0]], **options)
    assert not (tmp_path / PIECES).exists() and counts["train"].pieces == 0


def test_a_model_that_loses_text_or_counts_otherwise_is_refused(text, tmp_path):
    lines = text[1]["train"]
    normalising = tmp_path / "normalising.model"
    normalising.write_bytes(train_model(["\uff21 b", *lines], 60, "bpe"))
    (tmp_path / "train.txt").write_text("some \uff21\n", encoding="utf-8")
    options = {"any_text": True, "out": tmp_path / "out"}
    with pytest.raises(DataError, match="makes 'some A' of 'some \uff21': give one that keeps all text"):
        prep_wikitext([tmp_path / "train.txt"], sentencepiece_model=normalising, **options)
    other = tmp_path / "other.model"
    sentencepiece.SentencePieceTrainer.train(
        *(),
        **{"sentence_iterator": iter(lines), "model_writer": other.open("wb"), "vocab_size": 60, "minloglevel": 2},
        hard_vocab_limit=False,
    )
    (tmp_path / "none.model").write_text("none")
    for name, message in (
        ("other.model", r"has other numbers than fairseq.*--unk_id=3"),
        ("none.model", "is no model of SentencePiece"),
        ("missing.model", "is no file: --sentencepiece-model takes"),
    ):
        with pytest.raises(DataError, match=message):
            prep_wikitext([text[0]], sentencepiece_model=tmp_path / name, **options)
    assert not (tmp_path / "out" / "dict.txt").exists()


@pytest.mark.parametrize(
    "change, rule",
    [
        ({"vocab_type": "char"}, "--vocab-type is 'char', but must be word, bpe, unigram"),
        ({"vocab_size": 500}, "--vocab-size is for pieces: add --vocab-type bpe or unigram"),
        (
            {"vocab_type": "bpe", "vocab_size": 260},
            "--vocab-size is 260, but must be more than 4",
        ),
        ({"vocab_type": "bpe", "vocab_size": 262}, "cannot make 262 bpe pieces.*raise --vocab-size"),
        ({"vocab_type": "bpe", "threshold": 2}, "--nwords, --threshold and --srcdict are for words"),
        ({"vocab_type": "bpe", "sentencepiece_model": "x.model"}, "leave out --vocab-type and --vocab-size"),
    ],
)
def test_wrong_options_are_refused(text, tmp_path, change, rule):
    with pytest.raises(DataError, match=rule):
        prep_wikitext([text[0]], out=tmp_path / "data", any_text=True, **change)
