"""What a language decides of scoring: the unit of latency, and sacrebleu's tokenizer."""

UNITS = ("word", "char", "spm")
"""What latency counts: words, characters, or SentencePiece's pieces."""

TOKENIZERS = {"zh": "zh", "ja": "ja-mecab", "ko": "ko-mecab"}
"""sacrebleu's tokenizer for languages whose words 13a cannot find."""

CHARACTER_LANGUAGES = ("zh", "ja")
"""Written without spaces: a word is as long as a sentence, so that latency counts characters."""


def tokenizer_for(language: str) -> str:
    """sacrebleu's tokenizer for a language such as de or zh-CN."""
    return TOKENIZERS.get(_base(language), "13a")


def unit_for(language: str) -> str:
    """The unit of latency for a language: "char" or "word"."""
    return "char" if _base(language) in CHARACTER_LANGUAGES else "word"


def _base(language: str) -> str:
    return language.lower().replace("_", "-").split("-")[0]
