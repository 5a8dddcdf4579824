"""fairseq-eval-lm --post-process: the perplexity per word is that of the same probabilities over the words."""

import math

import pytest
import torch
from fairseq.data import Dictionary
from fairseq_cli import eval_lm
from tiny_models import make_lm

from leap_fairseq.compat.replacing import original
from leap_fairseq.tasks.word_perplexity import Counter, score_words, standing_for_words

EOS, PAD = 2, 1
NUMBERS = range(16)
PIECES = {
    "sentencepiece": [f"\u2581w{n}" if n % 2 else f"w{n}" for n in NUMBERS],
    "subword_nmt": [f"w{n}" if n % 2 else f"w{n}@@" for n in NUMBERS],
    "words": [f"w{n}" for n in NUMBERS],
}
# Symbols 4, 6, ... stand within a word, or are continued; 5, 7, ... begin or end one.
ROWS = [[5, 4, 6, 5, 9, 8], [4, 7, 2, 11, 4, 4], [4, 5, 2]]
WORDS = 8
"""Begun in the rows, or ended in them."""


def dictionary(kind):
    words = Dictionary()
    for symbol in PIECES[kind]:
        words.add_symbol(symbol)
    return words


def samples(starts=(0, 0, 0)):
    target = torch.full((3, 6), PAD)
    for row, tokens in zip(target, ROWS):
        row[: len(tokens)] = torch.tensor(tokens)
    source = torch.cat((torch.full((3, 1), EOS), target[:, :-1]), 1)
    net_input = {"src_tokens": source, "src_lengths": torch.tensor([6, 6, 3])}
    sample = {"id": torch.arange(3), "net_input": net_input, "target": target, "ntokens": 15}
    return [{}, {**sample, "start_indices": list(starts)}]


@pytest.fixture(scope="module", params=["sentencepiece", "subword_nmt"])
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def model(kind):
    return make_lm("--decoder-layers", "1", dictionary=dictionary(kind))


@torch.no_grad()
def bits(model):
    """Of all tokens of the rows."""
    (_, sample) = samples()
    scores = model.get_normalized_probs(model(**sample["net_input"]), log_probs=True)
    scores = scores.gather(2, sample["target"].unsqueeze(2)).squeeze(2)
    return -float(scores[sample["target"].ne(PAD)].double().sum()) / math.log(2)


@pytest.mark.parametrize("listed", [{}, {"output_word_stats": True}])
def test_per_word(kind, model, listed, caplog):
    score_words()
    score_words()
    if listed and kind == "sentencepiece":
        with pytest.raises(ValueError, match="--output-word-stats does not go with --post-process sentencepiece"):
            eval_lm.eval_lm([model], dictionary(kind), samples(), post_process=kind, **listed)
        return
    with caplog.at_level("INFO"):
        found = eval_lm.eval_lm([model], dictionary(kind), samples(), post_process=kind, **listed)
    assert found["loss"] == pytest.approx(bits(model) / WORDS, rel=1e-5)
    assert found["perplexity"] == pytest.approx(2 ** (bits(model) / WORDS), rel=1e-4)
    assert f"Per token: loss (base 2) {bits(model) / 15:.4f}" in caplog.text and "15 tokens" in caplog.text
    assert f"{WORDS} words and ends of lines" in caplog.text
    # Without it, all is fairseq's.
    assert float(eval_lm.eval_lm([model], dictionary(kind), samples())["loss"]) == pytest.approx(bits(model) / 15)


def test_the_control_that_fairseq_knows_no_pieces_and_counts_divided_words_twice(kind, model):
    score_words()
    theirs = original(eval_lm.eval_lm)
    assert theirs is not eval_lm.eval_lm
    if kind == "sentencepiece":
        with pytest.raises(NotImplementedError):
            theirs([model], dictionary(kind), samples(), post_process=kind)
    else:
        # It joins none by this name, and two of the rows end within a word.
        for name, count in ((kind, 15), ("@@ ", WORDS + 2)):
            loss = float(theirs([model], dictionary(kind), samples(), post_process=name)["loss"])
            assert loss == pytest.approx(bits(model) / count, rel=1e-5)


def test_what_is_context_alone_is_not_counted(kind):
    counter = Counter(dictionary(kind), kind)
    assert len(list(counter.watching(samples((3, 0, 2)), PAD))) == 2
    assert (counter.tokens, counter.words) == (10, {"sentencepiece": 6, "subword_nmt": 6}[kind])


def test_what_has_no_pieces_is_refused(kind):
    with pytest.raises(ValueError, match=f"--post-process {kind} is for a dictionary of pieces"):
        standing_for_words(dictionary("words"), kind)
    with pytest.raises(ValueError, match="--post-process letter must be one of sentencepiece, 'subword_nmt'"):
        standing_for_words(dictionary(kind), "letter")
