"""What a stream knows of its tokens: one that can be written next, one that was written, and the words they make."""

import math
from dataclasses import dataclass
from typing import NamedTuple, Optional

from leap_fairseq.streaming.sentence import Sentence


@dataclass(frozen=True)
class Word:
    """A word of the translation, or a character or piece where that is the unit of the detokenizer.

    Attributes:
        text: what was written.
        delay: audio that had been received when the word was written, in ms.
        sentence: number of its sentence from 0, in long form.
    """

    text: str
    delay: float
    sentence: int = 0


@dataclass(frozen=True)
class Step:
    """One written token, for inspection.

    Attributes:
        token: its index in the dictionary.
        frames: encoder frames of its sentence that had been read.
        delay: audio that had been received, in ms.
    """

    token: int
    frames: int
    delay: float


class NextToken(NamedTuple):
    """A token that can be written.

    Attributes:
        sentence: that it belongs to.
        frames: encoder frames that it may see; None for all, where the speech has ended.
        max_len: tokens of the sentence, at most.
        draft: whether the policy decides on it when it is known.
        attended: whether it must be known what its cross-attention reads.
    """

    sentence: Sentence
    frames: Optional[int]
    max_len: int
    draft: bool
    attended: bool


def check_max_len(max_len_a: float, max_len_b: int) -> None:
    """Refuses a bound of ``a * T + b`` tokens by which no sentence has one.

    Raises:
        ValueError: one of both is below 0, or both are 0.
    """
    if not (0 <= max_len_a < math.inf and max_len_b >= 0 and max(max_len_a, max_len_b) > 0):
        given = f"--max-len-a {max_len_a:g} and --max-len-b {max_len_b} give a sentence its most tokens"
        raise ValueError(f"{given}: both must be 0 or more, and one of them more")
