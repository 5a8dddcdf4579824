"""fairseq's dictionary of words as a tokenizer: the same numbers for any text."""

import pytest
from fairseq.data import Dictionary

pytest.importorskip("transformers")

from transformers import AutoTokenizer  # noqa: E402

from leap_fairseq.hf import word_tokenizer  # noqa: E402


def words():
    dictionary = Dictionary()
    for word in ("The", "value", "of", "@-@", "=", "größer", "madeupword0000"):
        dictionary.add_symbol(word)
    return dictionary


TEXTS = (
    "The value of",
    "  The\tvalue\u00a0of  unknown words = = ",
    "größer größe The. @-@ <unk> a<unk>b </s> x<pad>",
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
