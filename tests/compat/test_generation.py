"""Generation of a language model: prompts of a batch are continued as each alone, and n-grams do not repeat."""

from argparse import Namespace

import pytest
import torch
from fairseq.ngram_repeat_block import NGramRepeatBlock
from fairseq.sequence_generator import SequenceGenerator
from tiny_models import make_dictionary, make_lm, spread_proportions
from tolerances import assert_same

from leap_fairseq.compat import generation
from leap_fairseq.compat.replacing import original
from leap_fairseq.tasks.leap_language_modeling import LeapLanguageModelingTask

EOS = 2
PROMPTS = [[], [4, 5, 6], [7, 8, 9, 4, 5, 7, 8], [4, 5, 4, 5, 4]]
REPLACED = [
    *((SequenceGenerator, name) for name in ("_prefix_tokens", "__init__", "is_finished", "_generate")),
    (NGramRepeatBlock, "forward"),
]
OPTIONS = {
    "plain": {},
    "a minimum": {"min_len": 5},
    "no word twice": {"no_repeat_ngram_size": 1},
    "no bigram twice": {"no_repeat_ngram_size": 2},
    "no trigram twice": {"no_repeat_ngram_size": 3},
    "length penalty": {"lenpen": 0.3},
    "unknown words": {"unkpen": 2.0},
    "temperature": {"temperature": 0.5},
    "a maximum of the prompt": {"max_len_a": 1, "max_len_b": 2},
    "a maximum below the prompt": {"max_len_a": 0.5, "max_len_b": 2},
    "the length of the prompt": {"match_source_len": True},
    "diverse siblings": {"diversity_rate": 0.5},
    "scores that are sums": {"unnormalized": True},
    "diverse groups": {"diverse_beam_groups": 3},
}
ALWAYS = ("plain", "a minimum", "no bigram twice", "a maximum of the prompt", "the length of the prompt")
CASES = [(name, 3) for name in ALWAYS] + [
    pytest.param(name, beam, marks=pytest.mark.slow)
    for beam in (1, 3)
    for name in OPTIONS
    if (name in ALWAYS) == (beam == 1)
]


@pytest.fixture(scope="module")
def model():
    model = spread_proportions(make_lm("--decoder-layers", "1", "--dropout", "0"))
    # Surer than at its beginning, and fonder of </s>.
    model.decoder.embed_tokens.weight.data.mul_(3)
    return model


@pytest.fixture
def as_fairseq_wrote_it(monkeypatch):
    for owner, name in REPLACED:
        monkeypatch.setattr(owner, name, original(getattr(owner, name)))


def continuations(model, prompts, **options):
    """Tokens and scores of the hypotheses of each prompt, which they begin with."""
    task = LeapLanguageModelingTask(Namespace(data="", add_bos_token=False), make_dictionary())
    lines = [torch.tensor([*prompt, EOS]) for prompt in prompts]
    dataset = task.build_dataset_for_inference(lines, [len(line) for line in lines])
    batch = {"net_input": dataset.collater([dataset[i] for i in range(len(dataset))])["net_input"]}
    generator = task.build_generator([model], Namespace(**{"max_len_b": 10, **options}))
    found = task.inference_step(generator, [model], batch)
    return [([h["tokens"].tolist() for h in of], torch.stack([h["score"] for h in of])) for of in found]


def assert_batch_equals_alone(model, **options):
    for prompt, (tokens, scores) in zip(PROMPTS, continuations(model, PROMPTS, **options)):
        ((tokens_alone, scores_alone),) = continuations(model, [prompt], **options)
        assert tokens == tokens_alone, prompt
        assert_same(scores, scores_alone, what="score")
        limit = int(options.get("max_len_a", 0) * (len(prompt) + 1) + options.get("max_len_b", 10))
        assert all(written[: min(len(prompt), limit)] == prompt[:limit] for written in tokens)


@pytest.mark.parametrize("name, beam", CASES)
def test_a_batch_equals_each_prompt_alone(model, name, beam):
    assert_batch_equals_alone(model, beam=beam, **OPTIONS[name])


@pytest.mark.parametrize("name", ["plain", "a minimum", "a maximum of the prompt", "the length of the prompt"])
def test_the_control_that_fairseqs_own_batch_differs(model, name, as_fairseq_wrote_it):
    with pytest.raises(AssertionError):
        assert_batch_equals_alone(model, beam=3, **OPTIONS[name])


def repeats(tokens, prompt, size):
    """Whether what is written behind a prompt ends an n-gram that was there before."""
    ngrams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size)]
    return any(ngrams[i] in ngrams[:i] for i in range(max(len(prompt) - size + 1, 0), len(ngrams)))


@pytest.mark.parametrize("size", [1, 2, 3])
def test_no_ngram_repeats(model, size):
    options = {"beam": 3, "max_len_b": 12, "min_len": 9}
    free = continuations(model, PROMPTS, **options)
    bound = continuations(model, PROMPTS, no_repeat_ngram_size=size, **options)
    # The control: without the option they do.
    assert any(repeats(t, prompt, size) for prompt, (tokens, _) in zip(PROMPTS, free) for t in tokens)
    assert not any(repeats(t, prompt, size) for prompt, (tokens, _) in zip(PROMPTS, bound) for t in tokens)


def test_the_control_that_fairseqs_own_ngrams_repeat(model, as_fairseq_wrote_it):
    found = continuations(model, PROMPTS[1:2], beam=1, min_len=9, no_repeat_ngram_size=2)
    assert repeats(found[0][0][0], PROMPTS[1], 2)


def test_a_minimum_above_the_maximum_of_a_prompt_is_refused(model):
    with pytest.raises(ValueError, match="--min-len 5 is more than the 3 tokens .*--max-len-a 1 .*source of 1: give"):
        continuations(model, PROMPTS, beam=1, min_len=5, max_len_a=1, max_len_b=2)


def test_what_was_written_for_equal_prompts_stays_as_it_was(model, as_fairseq_wrote_it, monkeypatch):
    before = continuations(model, PROMPTS[1:2], beam=3, min_len=4)
    monkeypatch.undo()
    after = continuations(model, PROMPTS[1:2], beam=3, min_len=4)
    assert before[0][0] == after[0][0] and torch.equal(before[0][1], after[0][1])


def test_repairs_are_made_where_something_breaks(monkeypatch):
    pairs = [
        (generation.repair_short_prefixes, generation._frees_a_short_prefix, SequenceGenerator, "_prefix_tokens"),
        (generation.repair_repeated_ngrams, generation._lets_a_word_repeat, NGramRepeatBlock, "forward"),
    ]
    for repair, breaks, owner, name in pairs:
        repaired = getattr(owner, name)
        assert breaks(original(repaired)) and not breaks(repaired)
        monkeypatch.setattr(owner, name, lambda *args, sound=repaired: sound(*args))
        sound = getattr(owner, name)
        repair()
        assert getattr(owner, name) is sound
    assert not generation._exceeds_its_own(None)


def test_the_trial_sees_what_exceeds_its_maximum(as_fairseq_wrote_it):
    assert generation._exceeds_its_own(None)
