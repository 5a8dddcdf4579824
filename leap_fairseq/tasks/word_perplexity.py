"""Perplexity per word of a model whose tokens are pieces of words: ``fairseq-eval-lm --post-process sentencepiece``.

The probability of a word is the product of those of its pieces, so that the perplexity per word is that of the same sum
over fewer units. Words are counted in the tokens that are scored; an end of line counts as one, as it does for words.
"""

import functools
import logging
import sys
from typing import Any, Callable, Dict, Iterable, Iterator, Optional

import torch
from fairseq import utils
from fairseq.data import Dictionary
from torch import Tensor

from leap_fairseq.compat.replacing import replace
from leap_fairseq.speech.vocabulary import WORD_BOUNDARY

logger = logging.getLogger(__name__)

SENTENCEPIECE, SUBWORD_NMT = "sentencepiece", ("subword_nmt", "@@ ")
CONTINUED = "@@"


def standing_for_words(dictionary: Dictionary, post_process: str) -> Tensor:
    """Which tokens are counted for a word: of each word one.

    Args:
        dictionary: of V pieces.
        post_process: "sentencepiece", whose words begin with a boundary; "subword_nmt" or "@@ ", whose words end with a
            piece that is not continued.

    Returns:
        bool [V].

    Raises:
        ValueError: another name, or a dictionary of other tokens.
    """
    if post_process == SENTENCEPIECE:
        counted = [symbol.startswith(WORD_BOUNDARY) for symbol in dictionary.symbols]
        found, mark = any(counted), WORD_BOUNDARY
        # A character that has no piece stands within a word, or behind a boundary of its own.
        counted[dictionary.eos()] = True
    elif post_process in SUBWORD_NMT:
        counted = [not symbol.endswith(CONTINUED) for symbol in dictionary.symbols]
        found, mark = not all(counted), CONTINUED
    else:
        names = ", ".join((SENTENCEPIECE, *map(repr, SUBWORD_NMT)))
        raise ValueError(f"--post-process {post_process} must be one of {names}")
    if not found:
        raise ValueError(
            f"--post-process {post_process} is for a dictionary of pieces, and none of this one has the mark {mark}: "
            "leave it out for words"
        )
    return torch.tensor(counted)


class Counter:
    """Counts what is scored.

    Args:
        dictionary, post_process: as for :func:`standing_for_words`.

    Attributes:
        tokens, words: how many were counted.
        joined: tokens that fairseq itself joins to the next one of their row.
    """

    def __init__(self, dictionary: Dictionary, post_process: str):
        self._counted = standing_for_words(dictionary, post_process)
        self.tokens = self.words = self.joined = 0

    def count(self, tokens: Tensor) -> None:
        """Adds a row of tokens, int64 [T], without padding."""
        counted = self._counted[tokens.cpu()]
        self.tokens += counted.numel()
        self.words += int(counted.sum())
        self.joined += int((~counted[:-1]).sum())

    def watching(self, samples: Iterable[Dict[str, Any]], pad: int) -> Iterator[Dict[str, Any]]:
        """The samples, whose targets are counted as they go by."""
        for sample in samples:
            if "net_input" in sample:
                starts = sample.get("start_indices", [0] * len(sample["target"]))
                for row, start in zip(sample["target"], starts):
                    self.count(utils.strip_pad(row[start:], pad))
            yield sample


def per_word(bits: float, tokens: int, words: int) -> Dict[str, float]:
    """The figures per word, from those per token.

    Args:
        bits: loss (base 2) per token.
        tokens, words: how many.

    Raises:
        ValueError: no word.
    """
    if not words:
        raise ValueError(
            "the text has no word that is complete: give another --gen-subset, or leave --post-process out"
        )
    loss = bits * tokens / words
    logger.info("Per token: loss (base 2) %.4f, perplexity %.2f, %s tokens", bits, 2**bits, f"{tokens:,}")
    logger.info("Per word, which follows: %s words and ends of lines", f"{words:,}")
    return {"loss": loss, "perplexity": 2**loss}


def score_words() -> None:
    """Has the fairseq-eval-lm that runs in this process give figures per word, if asked by --post-process.

    fairseq 0.12.2 knows no pieces of SentencePiece, joins none for "subword_nmt" (``--remove-bpe``), and for "@@ "
    counts words twice that a block divides.
    """
    for name in ("fairseq_cli.eval_lm", "__main__"):
        module = sys.modules.get(name)
        if hasattr(module, "eval_lm") and hasattr(module, "WordStat"):
            replace([module], "eval_lm", _by_word)


def _by_word(eval_lm: Callable) -> Callable:
    @functools.wraps(eval_lm)
    def evaluate(models, source_dictionary, batch_iterator, post_process: Optional[str] = None, **options):
        # By their names, as fairseq itself calls it: it may have been replaced before.
        options.update(models=models, source_dictionary=source_dictionary)
        if post_process is None:
            return eval_lm(batch_iterator=batch_iterator, **options)
        counter = Counter(source_dictionary, post_process)
        samples = counter.watching(batch_iterator, source_dictionary.pad())
        asked = [name for name in ("output_word_probs", "output_word_stats") if options.get(name)]
        if asked and post_process == SENTENCEPIECE:
            flag = f"--{asked[0].replace('_', '-')}"
            raise ValueError(f"{flag} does not go with --post-process {SENTENCEPIECE}: leave one of them out")
        # fairseq lists words by joining pieces itself, for this one name.
        found = eval_lm(batch_iterator=samples, post_process=SUBWORD_NMT[1] if asked else None, **options)
        bits = found["loss"] * (counter.tokens - counter.joined * bool(asked)) / max(1, counter.tokens)
        return per_word(float(bits), counter.tokens, counter.words)

    return evaluate
