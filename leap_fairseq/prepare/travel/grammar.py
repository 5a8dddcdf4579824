"""Draws English travel phrases together with their German translations from the tables of templates and words.

Both sentences are made from the same choices, so the translation is a function of what was drawn.
"""

import itertools
import re
from collections import defaultdict
from typing import Dict, Iterator, List, NamedTuple, Tuple

from leap_fairseq.files import DataError
from leap_fairseq.prepare.choices import Choices
from leap_fairseq.prepare.synthetic_corpus import Pair
from leap_fairseq.prepare.travel import tables

MIN_WORDS, MAX_WORDS = 6, 14
"""Of an English sentence: about 2 to 4.5 s of speech."""

GIVE_UP = 5000
"""So many sentences in a row that were all known already mean that the grammar has hardly any other."""

ARTICLES = {
    "der": dict(subject="der", the="den", a="einen", am="am", beim="beim", vom="vom", zum="zum"),
    "die": dict(subject="die", the="die", a="eine", am="an der", beim="bei der", vom="von der", zum="zur"),
    "das": dict(subject="das", the="das", a="ein", am="am", beim="beim", vom="vom", zum="zum"),
}
"""What stands before a German noun: in the nominative, in the accusative, and drawn together with prepositions."""


class Word(str):
    """A word or phrase of one language; its further forms are its attributes."""


WordPair = Tuple[Word, Word]
"""English and German."""


class Template(NamedTuple):
    """An entry of the table.

    Attributes:
        draws: The lists to draw from, in order, with the name of the word before a `=` where it has another one.
        variants: Entries of its own, each as often as its weight says.
        sentence: English and German; empty where there are variants.
    """

    draws: List[str]
    variants: List["Template"]
    sentence: List[str]


def read_templates(text: str) -> Template:
    """Reads a table in the notation of `tables.TEMPLATES`; its entries become the variants of one template."""
    path = [Template([], [], [])]
    for line in text.strip("\n").split("\n"):
        weight, _, draws = line.strip().partition(":")
        if not weight.isdigit():
            path[-1].sentence.append(line.strip())
            continue
        depth = (len(line) - len(line.lstrip())) // 4
        del path[depth + 1 :]
        entry = Template(draws.split(), [], [])
        path[-1].variants.extend([entry] * int(weight))
        path.append(entry)
    return path[0]


def read_words(text: str) -> Dict[str, List[WordPair]]:
    """Reads lists in the notation of `tables.WORDS`."""
    lists: Dict[str, List[WordPair]] = {}
    for line in filter(None, re.sub(r"\n +", " ", text).split("\n")):
        head, _, items = line.partition(":")
        name, *forms = head.split()
        lists[name] = [pair for item in items.split("|") for pair in _read_item(item.strip(), forms, lists)]
    return lists


def _read_item(item: str, forms: List[str], lists: Dict[str, List[WordPair]]) -> List[WordPair]:
    names = list(dict.fromkeys(re.findall(r"{(\w+)}", item)))
    if names and item == f"{{{names[0]}}}":
        return lists[names[0]]
    pairs = []
    for words in itertools.product(*(lists[name] for name in names)):
        pair, *others = (_read_pair(text, dict(zip(names, words))) for text in item.split(";"))
        for form, other in zip(forms, others, strict=True):
            for word, other_word in zip(pair, other):
                setattr(word, form, other_word)
        pairs.append(pair)
    return pairs


def _read_pair(text: str, inserted: Dict[str, WordPair]) -> WordPair:
    english, sign, german = (part.strip() for part in text.partition("="))
    texts = [english, german if sign else english]
    for name, words in inserted.items():
        texts = [text.replace(f"{{{name}}}", word) for text, word in zip(texts, words)]
    article, _, noun = texts[1].partition(" ")
    if article not in ARTICLES:
        return Word(texts[0]), Word(texts[1])
    english, german = Word(texts[0]), Word(noun)
    english.subject = english.the = f"the {english}"
    english.a = f"{'an' if english[0] in 'aeiou' else 'a'} {english}"
    for form, before in ARTICLES[article].items():
        setattr(german, form, f"{before} {noun}")
    german.ending = ARTICLES[article]["a"].removeprefix("ein")
    return english, german


TEMPLATES = read_templates(tables.TEMPLATES)
WORDS = read_words(tables.WORDS)


def derive(template: Template, choices: Choices) -> Pair:
    """Draws what a template, or one of its variants, needs, and fills its sentences."""
    words: Tuple[Dict[str, Word], ...] = ({}, {})
    used: Dict[str, List[WordPair]] = defaultdict(list)
    while True:
        for draw in template.draws:
            name, _, source = draw.partition("=")
            source = (source or name).format_map(words[0])
            pair = choices.pick([pair for pair in WORDS[source] if pair not in used[source]])
            used[source].append(pair)
            words[0][name], words[1][name] = pair
        if template.sentence:
            return tuple(map(_filled, template.sentence, words))
        template = choices.pick(template.variants)


def _filled(text: str, words: Dict[str, Word]) -> str:
    # Twice, for words that have forms of others in them. A word may be empty: the spaces around it become one, or none.
    filled = " ".join(text[:-1].format_map(words).format_map(words).split())
    return filled[0].upper() + filled[1:] + text[-1]


def sentences(seed: int) -> Iterator[Pair]:
    """An endless stream of English-German pairs, no English sentence twice, each of 6 to 14 English words.

    Args:
        seed: The same seed gives the same stream.

    Raises:
        DataError: The grammar has hardly any sentence left that was not given yet.
    """
    choices, known = Choices(seed), {}
    misses = 0
    while misses < GIVE_UP:
        english, german = derive(TEMPLATES, choices)
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
