"""fairseq's dictionary of words, or a SentencePiece model, as a tokenizer: the same numbers for any text."""

import random

import pytest
import sentencepiece
from fairseq.data import Dictionary

pytest.importorskip("transformers")

from transformers import AutoTokenizer  # noqa: E402

from leap_fairseq.hf import piece_tokenizer, word_tokenizer  # noqa: E402
from leap_fairseq.prepare.pieces import train_pieces  # noqa: E402
from leap_fairseq.speech.vocabulary import train_model  # noqa: E402


def words():
    dictionary = Dictionary()
    for word in ("The", "value", "of", "@-@", "=", "größer", "madeupword0000"):
        dictionary.add_symbol(word)
    return dictionary


TEXTS = (
    "The value of",
    "  The\tvalue\u00a0of  unknown words = = ",
    "größer größe The. @-@ <unk> a<unk>b </s> x<pad> (<unk>), </s></s> @-@</s> <pad>",
    "",
)


@pytest.mark.parametrize("text", TEXTS)
def test_numbers_are_fairseqs(tmp_path, text):
    dictionary = words()
    tokenizer = word_tokenizer(dictionary.symbols)
    expected = [dictionary.eos(), *dictionary.encode_line(text, append_eos=False, add_if_not_exist=False).tolist()]
    tokenizer.save_pretrained(tmp_path)
    for each in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert each(text)["input_ids"] == expected
        assert len(each) == len(dictionary)


def test_batches_are_padded_on_the_left_and_texts_come_back():
    tokenizer = word_tokenizer(words().symbols)
    batch = tokenizer(["The value of", "The"], padding=True)
    assert batch["attention_mask"] == [[1, 1, 1, 1], [0, 0, 1, 1]]
    decoded = tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
    assert decoded == ["The value of", "The"]


@pytest.mark.parametrize("symbols", [["</s>", "<pad>", "<unk>", "a", "a"], ["a", "b"]])
def test_what_is_no_dictionary_is_refused(symbols):
    with pytest.raises(ValueError, match="each symbol once, </s>, <pad> and <unk>"):
        word_tokenizer(symbols)


LETTERS = "aab e  ctho nöß日<>@-.,'\u00a0\ts\U0001f600=="
SPECIAL = (
    *("", "  ", " a", "</s> <unk>a <pad> <s>x<unk> <0x41><0xC3>", "aaaaaaaaaaaaa", "=======", "\u200b x\u0301"),
    *("a \n b", "\n a  \n\n  b \r\n"),
)


def sentence(chance, longest):
    return "".join(chance.choices(LETTERS, k=chance.randrange(longest)))


@pytest.fixture(scope="module", params=["bpe", "unigram"])
def model(request, tmp_path_factory):
    """The path of a model with some hundred pieces of several letters."""
    folder = tmp_path_factory.mktemp(request.param)
    chance = random.Random(1)
    words = [sentence(chance, 9).replace(" ", "") for _ in range(300)] + ["the", "then", "<unk>"]
    lines = [" ".join(chance.choices(words, k=20)) for _ in range(200)]
    (folder / "text").write_text("\n".join(lines), encoding="utf-8")
    (folder / "a.model").write_bytes(train_pieces(folder / "text", 500, request.param))
    return folder / "a.model"


def test_pieces_are_those_of_sentencepiece_and_texts_come_back(model, tmp_path):
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    tokenizer = piece_tokenizer(model)
    tokenizer.save_pretrained(tmp_path)
    loaded, chance = AutoTokenizer.from_pretrained(tmp_path), random.Random(2)
    texts = [*SPECIAL, *(sentence(chance, 60) for _ in range(1000))]
    lengths = []
    for text in texts:
        numbers = loaded(text)["input_ids"]
        assert numbers == [2, *pieces.encode(text)] == tokenizer(text)["input_ids"], text
        kept = pieces.decode(pieces.encode(text))
        assert loaded.decode(numbers, skip_special_tokens=True) == kept and kept.split() == text.split()
        lengths.append(len(numbers))
    # Letters alone would be more.
    assert sum(lengths) < sum(len(text.encode()) for text in texts) * 0.8
    batch = loaded(["the", "then the"], padding=True)
    assert batch["input_ids"][0][0] == loaded.pad_token_id == 1 and batch["attention_mask"][0][0] == 0
    assert len(loaded) == pieces.get_piece_size() and loaded.unk_token_id == 3


WHOLE = {"normalization_rule_name": "identity", "byte_fallback": True, "unk_piece": "<unknown>"}


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"normalization_rule_name": "nmt_nfkc"}, "normalises texts"),
        ({"byte_fallback": False}, "spells no bytes"),
        ({"add_dummy_prefix": False}, "treats spaces in another way"),
        ({"split_by_whitespace": False}, "treats spaces in another way"),
        ({"user_defined_symbols": ["<next>"]}, "has symbols of its user"),
    ],
)
def test_what_is_not_carried_over_is_refused(tmp_path, change, reason):
    path = tmp_path / "a.model"
    path.write_bytes(train_model(["the then the then"] * 20, 290, "bpe", **{**WHOLE, **change}))
    with pytest.raises(ValueError, match=f"{reason}, which is not exported.*--vocab-type bpe"):
        piece_tokenizer(path)


def test_a_model_of_another_type_is_refused(tmp_path):
    path = tmp_path / "a.model"
    path.write_bytes(train_model(["the then"] * 20, 290, "char", **WHOLE))
    with pytest.raises(ValueError, match="is of type 4, not unigram or bpe"):
        piece_tokenizer(path)
