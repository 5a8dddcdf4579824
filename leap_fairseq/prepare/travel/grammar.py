"""A small grammar of travel phrases that yields English sentences together with their German translations.

Every rule makes both sentences from the same choices, so the translation is a function of the derivation. German puts
the time before the place, infinitives, participles and separated prefixes last, and the unit before the ten: a
translator that waits knows more, and one that has heard the whole sentence has nothing left to guess.
"""

from typing import Callable, Dict, Iterator, List

from leap_fairseq.prepare.choices import Choices

from leap_fairseq.files import DataError
from leap_fairseq.prepare.travel import plans, town, transport
from leap_fairseq.prepare.travel.lexicon import Pair

MIN_WORDS, MAX_WORDS = 6, 14
"""Of an English sentence: about 2 to 4.5 s of speech."""

GIVE_UP = 5000
"""So many sentences in a row that were all known already mean that the grammar has hardly any other."""

RULES: Dict[Callable[[Choices], Pair], int] = {
    plans.wish: 6,
    plans.visit: 3,
    plans.visit_not: 4,
    plans.where_can: 4,
    plans.past: 6,
    plans.past_not: 2,
    plans.because: 3,
    transport.depart: 5,
    transport.arrive: 4,
    transport.arrive_on_date: 4,
    transport.late: 3,
    transport.if_late: 3,
    transport.when_question: 4,
    transport.that_clause: 3,
    town.price: 3,
    town.price_question: 1,
    town.booked: 2,
    town.wake: 2,
    town.room_key: 1,
    town.order: 2,
    town.bring: 2,
    town.table: 3,
    town.near: 2,
    town.turn: 3,
    town.way: 2,
    town.opening_hours: 4,
}
"""The rules and how often each is used, relative to the others."""


def sentences(seed: int) -> Iterator[Pair]:
    """An endless stream of English-German pairs, no English sentence twice, each of 6 to 14 English words.

    Args:
        seed: The same seed gives the same stream.

    Raises:
        DataError: The grammar has hardly any sentence left that was not given yet.
    """
    choices, known = Choices(seed), {}
    wheel = [rule for rule, weight in RULES.items() for _ in range(weight)]
    misses = 0
    while misses < GIVE_UP:
        english, german = choices.pick(wheel)(choices)
        if english in known:
            if known[english] != german:
                raise AssertionError(f"the grammar translates {english!r} in two ways: {known[english]!r}, {german!r}")
            misses += 1
            continue
        known[english] = german
        if MIN_WORDS <= len(english.split()) <= MAX_WORDS:
            misses = 0
            yield english, german
    raise DataError(f"the grammar is exhausted after {len(known)} sentences: ask for fewer (--sentences-train)")


def distinct_sentences(count: int, seed: int) -> List[Pair]:
    """The first `count` pairs of `sentences`."""
    stream = sentences(seed)
    return [next(stream) for _ in range(count)]
