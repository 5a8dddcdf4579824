"""Splits a stream of words onto reference sentences so that the word edit distance is minimal.

A translation of a long recording has sentences of its own, or none; scores of sentences need the parts that belong to
each reference sentence. Edit distance and parts come from one dynamic programme over all references in a row: between
two sentences stands a cut, a step through which every alignment must pass, wherever in the stream it likes.

Symbols: R words of all references, H words of the hypothesis, S sentences. A row of the table holds H + 1 costs, one
for each number of hypothesis words consumed; rows are words and cuts, R + S - 1 in all.

Source: Matusov, Leusch, Bender, Ney 2005, Evaluating Machine Translation Output with Automatic Sentence Segmentation
(the tool mwerSegmenter); the order in which ties are resolved is ours.
"""

import math
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

import numpy as np

EDIT, UNLIKE, UNFOUNDED = 2**40, 2**20, 1
"""Costs of an insertion, deletion or substitution; on top, of a substitution by an unlike word; of a cut that follows
no end of a sentence. Powers far apart compare in this order, exactly, for up to 2^20 words of both texts."""

SENTENCE_ENDS = tuple(".!?…。！？．｡؟۔।॥")
CLOSING = "\"'”’»«“)]}」』）】》"
"""Marks that may follow the end of a sentence within its last word."""


def resegment(words: Sequence[str], references: Sequence[Sequence[str]]) -> List[slice]:
    """Parts of a hypothesis, one for each reference sentence, with the least sum of word edit distances.

    Words are equal or not, case and punctuation included. Of all cuts with the least sum, those are taken that replace
    the fewest words by words that differ in more than case and punctuation (so that more words match); of these, those
    that cut most often behind a hypothesis word that ends a sentence; of these, the latest, so that an inserted word
    between two sentences goes to the earlier one: it then came late, not ahead of its speech.

    Takes a time of R * H (10,000 by 10,000 words: seconds) and a memory of sqrt(R) * H.

    Args:
        words: H words; or characters, or pieces, of both texts alike.
        references: S sentences of words; an empty one gets no words, unless all are empty and it is the first.

    Returns:
        S slices of `words` that follow each other from the first to the last word; an empty one where no word belongs
        to a sentence.

    Raises:
        ValueError: no reference sentence.
    """
    if not references:
        raise ValueError(f"no reference sentence for the {len(words)} words: the references must not be empty")
    # Any sentence takes an inserted word at the same cost: one without words need not take any.
    filled = [sentence for sentence in references if len(sentence)]
    ends = iter([*_Table(words, filled).cuts(), len(words)])
    stops, stop = [], 0 if filled else len(words)
    for sentence in references:
        stop = next(ends) if len(sentence) else stop
        stops.append(stop)
    return [slice(start, stop) for start, stop in zip([0, *stops], stops)]


class _Table:
    """The dynamic programme: its rows, and the way back through them.

    Only each sqrt(R)-th row is kept; the way back computes those between two of them again.
    """

    def __init__(self, words: Sequence[str], references: Sequence[Sequence[str]]):
        self.steps = _steps(references)
        same: Dict[str, int] = {}
        alike: Dict[str, int] = {}  # words without case and punctuation
        self.words = _numbers(words, same)
        self.forms = _numbers(map(_form, words), alike)
        reference_words = [word or "" for word in self.steps]
        self.step_words = _numbers(reference_words, same)
        self.step_forms = _numbers(map(_form, reference_words), alike)
        founded = [False] + [_ends_sentence(word) for word in words]
        self.cut_costs = np.where(founded, 0, UNFOUNDED).astype(np.int64)
        self.insertions = np.arange(len(words) + 1, dtype=np.int64) * EDIT

    def cuts(self) -> List[int]:
        """The number of hypothesis words before each of the S - 1 cuts."""
        stride = max(1, math.isqrt(len(self.steps)))
        kept = {0: self.insertions}
        row = kept[0]
        for number in range(len(self.steps)):
            row = self._next(row, number)
            if (number + 1) % stride == 0:
                kept[number + 1] = row
        cuts, column = [], len(self.words)
        for start in sorted(kept, reverse=True):
            rows = [kept.pop(start)]
            for number in range(start, min(start + stride, len(self.steps))):
                rows.append(self._next(rows[-1], number))
            band, column = self._way_back(rows, start, column)
            cuts.extend(band)
        return cuts[::-1]

    def _next(self, row: np.ndarray, number: int) -> np.ndarray:
        """The row behind a step, int64 [H + 1], from the row before it."""
        if self.steps[number] is None:
            best = row + self.cut_costs
        else:
            best = row + EDIT
            np.minimum(best[1:], row[:-1] + self._substitutions(number), out=best[1:])
        # Inserted words: the least of all columns to the left, one edit for each word between.
        return np.minimum.accumulate(best - self.insertions) + self.insertions

    def _substitutions(self, number: int) -> np.ndarray:
        """What each word of the hypothesis costs in the place of a reference word, int64 [H]."""
        unlike = EDIT + UNLIKE * (self.forms != self.step_forms[number]).astype(np.int64)
        return np.where(self.words == self.step_words[number], 0, unlike)

    def _way_back(self, rows: List[np.ndarray], start: int, column: int) -> Tuple[List[int], int]:
        """The cuts, last first, and the first column of the best way through some rows that ends at a column.

        Down before diagonal before along: of equally good ways the one with the most words before every cut.
        """
        cuts = []
        for number in reversed(range(start, start + len(rows) - 1)):
            above, row = rows[number - start], rows[number - start + 1]
            is_cut = self.steps[number] is None
            straight = above + (self.cut_costs if is_cut else EDIT)
            diagonal = None if is_cut else above[:-1] + self._substitutions(number)
            while row[column] != straight[column]:
                column -= 1
                if diagonal is not None and row[column + 1] == diagonal[column]:
                    break
            if is_cut:
                cuts.append(column)
        return cuts, column


def _steps(references: Sequence[Sequence[str]]) -> List[Optional[str]]:
    """The words of all sentences in a row, None for the cut between two."""
    steps: List[Optional[str]] = []
    for number, sentence in enumerate(references):
        steps.extend([None, *sentence] if number else sentence)
    return steps


def _numbers(words: Iterable[str], known: Dict[str, int]) -> np.ndarray:
    """int32 [N]; equal words have equal numbers."""
    return np.fromiter((known.setdefault(word, len(known)) for word in words), np.int32)


def _form(word: str) -> str:
    """A word without case and punctuation; punctuation alone stays what it is."""
    folded = word.casefold()
    return "".join(filter(str.isalnum, folded)) or folded


def _ends_sentence(word: str) -> bool:
    return word.rstrip(CLOSING).endswith(SENTENCE_ENDS)
