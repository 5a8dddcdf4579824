"""What a language decides of scoring: the unit of latency, and sacrebleu's tokenizer. And which those of lists are."""

import json
import re
from pathlib import Path
from typing import Iterable, NamedTuple, Optional, Union

from leap_fairseq.files import DataError, whole_file


class Languages(NamedTuple):
    """Languages of speech and references; None where nobody has said it."""

    src_lang: Optional[str] = None
    tgt_lang: Optional[str] = None


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


def write_languages(lists: Union[str, Path], languages: Languages) -> None:
    """Notes the languages of lists beside them, in LISTS.languages.json."""
    with whole_file(_note_of(lists), text=True) as file:
        file.write(json.dumps(languages._asdict()) + "\n")


def read_languages(lists: Union[str, Path]) -> Languages:
    """The languages of lists, where they were noted.

    Args:
        lists: Their path, without an ending.

    Raises:
        DataError: The note is damaged.
    """
    path = _note_of(lists)
    if not path.is_file():
        return Languages()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        languages = Languages(**found)
        if not all(isinstance(language, str) for language in languages):
            raise ValueError("a language is missing")
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} is damaged ({error}): make the lists again (leap-fairseq prepare lists)") from error
    return languages


def _note_of(lists: Union[str, Path]) -> Path:
    return Path(f"{lists}.languages.json")
