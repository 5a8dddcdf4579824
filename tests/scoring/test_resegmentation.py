"""Splitting a stream onto reference sentences: the least edit distance of all cuts, the order of ties, its memory."""

import itertools
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leap_fairseq.scoring import resegmentation
from leap_fairseq.scoring.resegmentation import resegment

WORDS = st.sampled_from(["a", "A", "b.", "b", "c", "(C?)"])


def like(first, second):
    return "".join(filter(str.isalnum, first.lower())) == "".join(filter(str.isalnum, second.lower()))


def distance(words, reference):
    """(edits, substitutions by unlike words) of the best alignment: the table of the textbook, cell by cell."""
    row = [(i, 0) for i in range(len(words) + 1)]
    for target in reference:
        above, row = row, [(row[0][0] + 1, 0)]
        for i, word in enumerate(words):
            edits, unlike = above[i]
            pair = (edits, unlike) if word == target else (edits + 1, unlike + (not like(word, target)))
            row.append(min(pair, (above[i + 1][0] + 1, above[i + 1][1]), (row[i][0] + 1, row[i][1])))
    return row[-1]


def edits(words, references, parts):
    return sum(distance(words[part], reference)[0] for part, reference in zip(parts, references))


def all_cuts(words, references):
    for cuts in itertools.combinations_with_replacement(range(len(words) + 1), len(references) - 1):
        yield [slice(start, stop) for start, stop in zip((0, *cuts), (*cuts, len(words)))]


def rank(words, references, parts):
    """The documented order of cuts, best first; the latest cuts last of all."""
    parts_distances = [distance(words[part], reference) for part, reference in zip(parts, references)]
    cuts = [part.stop for part in parts[:-1]]
    unfounded = sum(1 for cut in cuts if not (cut and words[cut - 1].rstrip(")").endswith((".", "?"))))
    return (*(sum(column) for column in zip(*parts_distances)), unfounded, [-cut for cut in cuts])


def check_minimal(words, references):
    parts = resegment(words, references)
    assert len(parts) == len(references)
    assert [parts[0].start, *(part.stop for part in parts)] == [*(part.start for part in parts), len(words)]
    best = min(edits(words, references, other) for other in all_cuts(words, references))
    assert edits(words, references, parts) == best
    return parts


def split(text, *references):
    words = text.split()
    return [" ".join(words[part]) for part in resegment(words, [reference.split() for reference in references])]


@settings(max_examples=150, deadline=None)
@given(words=st.lists(WORDS, max_size=7), references=st.lists(st.lists(WORDS, max_size=4), min_size=1, max_size=4))
def test_no_cuts_are_better(words, references):
    """Empty hypotheses, empty sentences, and more sentences than words among them."""
    parts = check_minimal(words, references)
    if any(references):
        assert all(reference or part.start == part.stop for part, reference in zip(parts, references))


@settings(max_examples=150, deadline=None)
@given(
    words=st.lists(WORDS, max_size=6),
    references=st.lists(st.lists(WORDS, min_size=1, max_size=3), min_size=1, max_size=4),
)
def test_ties_are_resolved_in_the_documented_order(words, references):
    best = min(all_cuts(words, references), key=lambda parts: rank(words, references, parts))
    assert resegment(words, references) == best


@pytest.mark.parametrize("words, sentences, seed", [(150, 20, 0), (90, 1, 1), (1, 40, 2), (160, 80, 3)])
def test_many_words(words, sentences, seed):
    """The way back crosses many bands of rows; with free cuts the least sum is the distance to all references."""
    draw = random.Random(seed)
    references = [[draw.choice("abcdefgh") for _ in range(draw.randint(0, 6))] for _ in range(sentences)]
    hypothesis = [draw.choice("abcdefgh") for _ in range(words)]
    parts = resegment(hypothesis, references)
    assert edits(hypothesis, references, parts) == distance(hypothesis, list(itertools.chain(*references)))[0]


def test_edges():
    assert resegment([], [["a"], [], ["b"]]) == [slice(0, 0)] * 3
    assert resegment(["x", "y"], [["a"]]) == [slice(0, 2)]
    assert split("x a", "", "a", "") == ["", "x a", ""]
    assert split("x. a", "", "a") == ["", "x. a"]
    assert split("x y", "", "") == ["x y", ""]
    with pytest.raises(ValueError, match="no reference sentence for the 1 words"):
        resegment(["a"], [])


def test_ties():
    # A word that neither sentence has goes to the earlier one, but not behind the end of a sentence.
    assert split("a b x c d", "a b", "c d") == ["a b x", "c d"]
    assert split("a b. x c d", "a b.", "c d") == ["a b.", "x c d"]
    assert split("a b. x. y c d", "a b.", "c d") == ["a b. x.", "y c d"]
    assert split('a "b." x c', "a b", "c") == ['a "b."', "x c"]
    # A word in the place of two goes to the one that it is like.
    assert split("a Other, d", "a b c", "other d") == ["a", "Other, d"]
    assert split("a Other, d", "a b other", "c d") == ["a Other,", "d"]
    # As many edits, but more words that match.
    assert split("x a b", "a", "b c") == ["x a", "b"]


def test_characters():
    references = ["你好。", "再见。"]
    assert resegment(list("你们好。见"), references) == [slice(0, 4), slice(4, 5)]
    assert resegment(list("你好。都再见"), references) == [slice(0, 3), slice(3, 6)]


def test_memory_grows_with_the_root_of_the_reference():
    draw = random.Random(0)
    references = [[str(draw.randrange(500)) for _ in range(20)] for _ in range(75)]
    hypothesis = [word for sentence in references for word in sentence if draw.random() < 0.9]
    tracemalloc.start()
    parts = resegment(hypothesis, references)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * len(hypothesis) * 1500 / 8  # an eighth of the whole table
    assert sum(part.stop - part.start > 0 for part in parts) == 75


class TestControls:
    def greedy(self, words, references):
        """Each sentence in turn takes the words that suit it best, whatever is left for the next."""
        parts, start = [], 0
        for reference in references[:-1]:
            stops = range(start, len(words) + 1)
            stop = min(stops, key=lambda stop: distance(words[start:stop], reference)[0])
            parts.append(slice(start, stop))
            start = stop
        return [*parts, slice(start, len(words))]

    def test_greedy_cuts_are_worse(self):
        for text, least, *sentences in (
            ("x y c d a b", 2, "a b", "c d a b"),
            ("a b c x y z a b c d", 3, "x y z a", "b c d"),
        ):
            words, references = text.split(), [sentence.split() for sentence in sentences]
            assert edits(words, references, check_minimal(words, references)) == least
            assert edits(words, references, self.greedy(words, references)) > least

    def test_dear_cuts_are_noticed(self, monkeypatch):
        monkeypatch.setattr(resegmentation, "UNFOUNDED", 3 * resegmentation.EDIT)
        with pytest.raises(AssertionError):
            check_minimal("a b. c d".split(), [["a"], ["b.", "c", "d"]])

    def test_ties_without_ends_of_sentences_are_noticed(self, monkeypatch):
        monkeypatch.setattr(resegmentation, "SENTENCE_ENDS", ("nothing",))
        with pytest.raises(AssertionError):
            test_ties()

    def test_rows_that_are_lost_between_two_bands_are_noticed(self, monkeypatch):
        way_back = resegmentation._Table._way_back
        monkeypatch.setattr(
            resegmentation._Table,
            "_way_back",
            lambda self, rows, start, column: (way_back(self, rows, start, column)[0], column),
        )
        with pytest.raises(AssertionError):
            test_many_words(150, 20, 0)
