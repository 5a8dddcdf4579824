"""Wikipedia text in the form of WikiText, from WikiExtractor's output and from text that is split already."""

import pytest

from leap_fairseq.files import DataError
from leap_fairseq.prepare.wikipedia import make_wikipedia_text, split_words, wikitext_lines

EXTRACTED = """<doc id="1" url="https://en.wikipedia.org/wiki?curid=1" title="Well-known &amp; old">
Well-known &amp; old

It cost 1,234.5 francs (in 1998).
A Romanian&#39;s "test".

</doc>
<doc id="2" url="https://en.wikipedia.org/wiki?curid=2" title="Second">
Second

Words.

</doc>
"""


def test_words_are_split_as_in_wikitext_and_nothing_is_lost():
    line = 'The well-known cost was 1,234.5 francs; a 2-1 win (Romania\'s) "so".'
    words = split_words(line)
    expected = 'The well @-@ known cost was 1 @,@ 234 @.@ 5 francs ; a 2 @-@ 1 win ( Romania \'s ) " so " .'
    assert words == expected
    assert words.replace("@", "").replace(" ", "") == line.replace(" ", "")


def test_articles_begin_with_their_title_once():
    lines = list(wikitext_lines(EXTRACTED.splitlines()))
    assert lines == [
        *("", "= Well @-@ known & old =", ""),
        *("It cost 1 @,@ 234 @.@ 5 francs ( in 1998 ) .", 'A Romanian \'s " test " .'),
        *("", "= Second =", "", "Words ."),
    ]


def test_a_text_that_is_split_already_stays_as_it_is():
    lines = [" = Title = ", "", " One @-@ two , three . "]
    assert list(wikitext_lines(lines)) == ["= Title =", "", "One @-@ two , three ."]


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "extracted.utf8").write_text(EXTRACTED, encoding="utf-8")
    (tmp_path / "split.txt").write_text(" = A = \n\n b c . \n", encoding="utf-8")
    (tmp_path / "test.csv").write_text('""\n" = T = \n"\n" x ""y"" \n"\n', encoding="utf-8")
    return tmp_path


def test_files_are_joined_and_counted(texts, hashes):
    def make(out):
        train = [texts / "extracted.utf8", texts / "split.txt"]
        return make_wikipedia_text(train, texts / "split.txt", texts / "test.csv", texts / out)

    counts = make("a")
    for split, count in counts.items():
        text = (texts / "a" / f"wiki.{split}.tokens").read_text(encoding="utf-8")
        assert count == len(text.split()) + text.count("\n")
    assert (texts / "a/wiki.test.tokens").read_text(encoding="utf-8") == '\n= T =\nx "y"\n'
    assert (texts / "a/wiki.train.tokens").read_text(encoding="utf-8").endswith("Words .\n= A =\n\nb c .\n")
    make("a")
    make("b")
    assert hashes(texts / "a") == hashes(texts / "b")


@pytest.mark.parametrize("wrong, message", [("missing", "is no file"), ("empty", "has no words"), ("latin", "UTF-8")])
def test_a_wrong_file_is_named_and_nothing_is_left(texts, wrong, message):
    path = texts / wrong
    if wrong != "missing":
        path.write_bytes(b"" if wrong == "empty" else b"caf\xe9 x\n")
    with pytest.raises(DataError, match=message):
        make_wikipedia_text([texts / "split.txt"], texts / "split.txt", path, texts / "out")
    assert not (texts / "out").exists()


def test_a_folder_of_something_else_is_not_replaced(texts):
    with pytest.raises(DataError, match="holds extracted.utf8, which is not of this corpus"):
        make_wikipedia_text([texts / "split.txt"], texts / "split.txt", texts / "test.csv", texts)
    assert (texts / "extracted.utf8").is_file()
