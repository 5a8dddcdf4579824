"""Ways to split the translation of a recording onto its reference sentences (``--segmenter``).

edits       least word edit distance, see `resegmentation`: the default, and the only one that needs no package
omnisteval  OmniSTEval's SoftSegmenter: words are paired by the characters they share, lower-cased, after Moses'
            tokenizer where the language is known
mweralign   mweralign, the mwerSegmenter of simulstream: least edit distance of lower-cased words, with ties of its own

Latencies of one translation differ by some percent between them: see that figures that are compared have one in common.
"""

import functools
import importlib
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

from leap_fairseq.scoring.languages import base_language
from leap_fairseq.scoring.resegmentation import resegment
from leap_fairseq.scoring.signature import installed_version
from leap_fairseq.scoring.units import KEPT_SPACE, Characters, LatencyUnit

Cut = Callable[[Sequence[str], Sequence[Sequence[str]]], List[Sequence[int]]]
"""Words of a recording, and of each of its references, to the numbers of the words that belong to each reference."""


class Segmenter(NamedTuple):
    """A way to split.

    Attributes:
        name: that signatures tell.
        cut: see `Cut`.
    """

    name: str
    cut: Cut


def by_edits(words: Sequence[str], references: Sequence[Sequence[str]]) -> List[Sequence[int]]:
    """The default way."""
    return [range(part.start, part.stop) for part in resegment(words, references)]


EDITS = "edits"
BY_EDITS = Segmenter(EDITS, by_edits)

PACKAGES: Dict[str, str] = {"omnisteval": "omnisteval.alignment", "mweralign": "mweralign"}
"""The others, and the modules that they need."""

SEGMENTERS = (EDITS, *PACKAGES)


def segmenter_named(name: str, unit: LatencyUnit, language: Optional[str] = None) -> Segmenter:
    """The way to split of this name.

    Args:
        name: edits, omnisteval or mweralign.
        unit: of what is to be split.
        language: of the texts, where it is known; omnisteval tokenizes words with it.

    Raises:
        ImportError: its package is not installed.
        ValueError: there is none of this name.
    """
    if name == EDITS:
        return BY_EDITS
    if name not in PACKAGES:
        raise ValueError(f"segmenter {name!r} is not one of {', '.join(SEGMENTERS)} (--segmenter)")
    try:
        module = importlib.import_module(PACKAGES[name])
    except ImportError as error:
        remedy = f"pip install 'leap-fairseq[scoring]', or --segmenter {EDITS} ({error})"
        raise ImportError(f"--segmenter {name} needs the package {name}: {remedy}") from error
    version = installed_version(name)
    if name == "mweralign":
        return Segmenter(version, functools.partial(_filled, functools.partial(_by_mweralign, module)))
    language = base_language(language) if language and unit.name == "word" else None
    cut = functools.partial(_by_omnisteval, module, unit.name == Characters.name, language)
    return Segmenter(f"{version}-{language}" if language else version, functools.partial(_filled, cut))


def _filled(cut: Cut, words: Sequence[str], references: Sequence[Sequence[str]]) -> List[Sequence[int]]:
    """Keeps from a package what it cannot split: a recording without words, references without any."""
    filled = [number for number, sentence in enumerate(references) if len(sentence)]
    if not words or not filled:
        return by_edits(words, references)
    parts: List[Sequence[int]] = [()] * len(references)
    for number, part in zip(filled, cut(words, [references[number] for number in filled])):
        parts[number] = part
    return parts


def _by_omnisteval(
    alignment: Any, is_char: bool, language: Optional[str], words: Sequence[str], references: Sequence[Sequence[str]]
) -> List[Sequence[int]]:
    """As ``omnisteval longform --lang LANGUAGE``, in this process."""
    from omnisteval.tokenization import tokenize_words

    if is_char:  # there, spaces are no characters of a reference
        references = [[unit for unit in sentence if unit != KEPT_SPACE] for sentence in references]
    wanted = [
        alignment.Word(word.lower(), seq_id=number) for number, sentence in enumerate(references) for word in sentence
    ]
    # A word is cut into tokens that keep its times: the number of the word is found again as the time of its first.
    given = [alignment.Word(word, emission_cu=number) for number, word in enumerate(words)]
    tokens = [tokenize_words([texts], language)[0] for texts in (wanted, given)]
    aligned = alignment.process_alignment(*alignment.align_sequences(*tokens, is_char), is_char)
    parts: List[List[int]] = [[] for _ in references]
    for token in aligned:
        if token.main:
            parts[token.seq_id].append(token.emission_cu)
    return parts


def _by_mweralign(mweralign: Any, words: Sequence[str], references: Sequence[Sequence[str]]) -> List[Sequence[int]]:
    """As simulstream calls it."""
    text, *lines = (" ".join(units).replace(KEPT_SPACE, "_") for units in (words, *references))
    counts = [len(line.split()) for line in mweralign.align_texts("\n".join(lines), text).split("\n")]
    if len(counts) != len(references) or sum(counts) != len(words):
        raise ValueError(f"mweralign has split {len(words)} words into {counts}: choose another --segmenter")
    stops = [sum(counts[: number + 1]) for number in range(len(counts))]
    return [range(stop - count, stop) for stop, count in zip(stops, counts)]
