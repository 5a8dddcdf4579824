"""What a language decides of scoring: the unit of latency, and sacrebleu's tokenizer."""

import re
from typing import Iterable

UNITS = ("word", "char", "spm")
"""What latency counts: words, characters, or SentencePiece's pieces."""

TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}
"""sacrebleu's tokenizer for languages whose words 13a cannot find."""

CHARACTER_LANGUAGES = ("zh", "ja")
"""Written without spaces: a word is as long as a sentence, so that latency counts characters."""

UNSPACED = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff]")
"""Thai, Lao, Tibetan, Burmese, Khmer, Japanese syllables, Chinese characters."""


def tokenizer_for(language: str) -> str:
    """sacrebleu's tokenizer for a language such as de or zh-CN."""
    return TOKENIZERS.get(base_language(language), "13a")


def unit_for(language: str) -> str:
    """The unit of latency for a language: "char" or "word"."""
    return "char" if base_language(language) in CHARACTER_LANGUAGES else "word"


def is_unspaced(texts: Iterable[str]) -> bool:
    """Whether most letters of some texts are of a script that sets no spaces between words."""
    letters = [character for text in texts for character in text if character.isalpha()]
    return 2 * sum(1 for letter in letters if UNSPACED.match(letter)) > len(letters)


def base_language(language: str) -> str:
    """A language without its region: zh of zh-CN."""
    return language.lower().replace("_", "-").split("-")[0]
