"""fairseq-eval-lm on a toy text: every target once, the same number as a brute force, and no number for nothing."""

import functools
import logging
import math
import re
from argparse import Namespace

import pytest
import torch
from fairseq.data import indexed_dataset
from fairseq.tasks.language_modeling import LanguageModelingTask
from fairseq_cli.eval_lm import eval_lm
from tiny_models import make_dictionary, make_lm, spread_proportions

from leap_fairseq.tasks import leap_language_modeling
from leap_fairseq.tasks.carried_text import WholeText
from leap_fairseq.tasks.consecutive_blocks import blocks_in_context
from leap_fairseq.tasks.leap_language_modeling import LeapLanguageModelingTask

EOS = 2
BLOCK = 16


@pytest.fixture(scope="module")
def model():
    return spread_proportions(make_lm("--decoder-layers", "2", "--dropout", "0"))


def text(count=200, seed=0):
    """A row of tokens in lines of 1 to 30."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, 20, (count,), generator=generator)
    tokens[torch.randint(0, count, (count // 12,), generator=generator)] = EOS
    tokens[-1] = EOS
    return tokens


def write(folder, lines):
    builder = indexed_dataset.make_builder(str(folder / "test.bin"), impl="mmap", vocab_size=20)
    for line in lines:
        builder.add_item(line)
    builder.finalize(str(folder / "test.idx"))
    return folder


def lines_of(tokens):
    ends = (tokens == EOS).nonzero().flatten().tolist()
    return [tokens[a:b] for a, b in zip([0] + [end + 1 for end in ends], [end + 1 for end in ends])]


def make_task(folder, task=LeapLanguageModelingTask, block=BLOCK, window=0, mode="none", carry=False):
    """The task as fairseq-eval-lm sets it up, the window subtracted."""
    args = Namespace(
        data=str(folder),
        tokens_per_sample=block - window,
        sample_break_mode=mode,
        carry_state=carry,
        **dict.fromkeys(["dataset_impl", "plasma_path"]),
        **dict.fromkeys(["pad_to_fixed_length", "pad_to_fixed_bsz", "add_bos_token", "use_plasma_view"], False),
        **{"seed": 1, "shorten_method": "none", "shorten_data_split_list": ""},
    )
    built = task(args, make_dictionary())
    built.load_dataset("test")
    return built


def evaluate(model, task, window=0, batch_size=1, **options):
    """What fairseq-eval-lm computes: perplexity and the number of targets."""
    options = {"max_positions": model.max_positions(), "num_workers": 0, **options}
    batches = task.eval_lm_dataloader(task.dataset("test"), batch_size=batch_size, context_window=window, **options)
    # fairseq fills up shards with batches of nothing.
    batches = [batch for batch in batches if batch]
    perplexity = eval_lm([model], task.source_dictionary, batches)["perplexity"]
    return float(perplexity), sum(int(batch["target"].ne(1).sum()) for batch in batches)


def brute_force(model, tokens, window):
    """The perplexity of a text of which each block sees the last tokens before it."""
    inputs = torch.cat((torch.tensor([EOS]), tokens[:-1]))
    total = 0.0
    for first in range(0, len(tokens), BLOCK - window):
        last = min(first + BLOCK - window, len(tokens))
        start = max(first - window, 0)
        scores = model(inputs[None, start:last])[0].log_softmax(-1)[0, first - start :]
        total += float(scores.gather(1, tokens[first:last, None]).sum())
    return math.exp(-total / len(tokens))


@pytest.fixture(scope="module")
def wanted(model):
    """A function: :func:`brute_force` of the text, by the window."""
    return functools.cache(lambda window: brute_force(model, text(), window))


@pytest.mark.parametrize("window", [0, 8, 15])
@pytest.mark.parametrize("batch_size", [1, 2, 7])
@torch.no_grad()
def test_each_target_is_scored_once_whatever_the_window_and_the_batch(model, wanted, tmp_path, window, batch_size):
    task = make_task(write(tmp_path, lines_of(text())), window=window)
    perplexity, count = evaluate(model, task, window, batch_size)
    assert count == 200
    assert perplexity == pytest.approx(wanted(window), rel=1e-4)
    assert perplexity != pytest.approx(wanted(4), rel=1e-4)


def nats(model, task, **options):
    """The negative log-likelihood of what is scored, and the number of targets."""
    perplexity, count = evaluate(model, task, **options)
    return math.log(perplexity) * count, count


@pytest.mark.parametrize("window, batch_size, shards", [(0, 2, 3), (8, 1, 2), (8, 3, 3), (15, 7, 4), (15, 1, 20)])
@torch.no_grad()
def test_shards_are_the_whole_text(model, wanted, tmp_path, window, batch_size, shards):
    folder = write(tmp_path, lines_of(text()))
    options = {"window": window, "batch_size": batch_size, "num_shards": shards}
    parts = [nats(model, make_task(folder, window=window), shard_id=shard, **options) for shard in range(shards)]
    assert sum(count for _, count in parts) == 200
    whole = math.exp(sum(part for part, _ in parts) / 200)
    assert whole == pytest.approx(wanted(window), rel=1e-5)


@torch.no_grad()
def test_the_control_that_a_shard_without_its_context_is_another_text(model, wanted, tmp_path, monkeypatch):
    task = make_task(write(tmp_path, lines_of(text())), window=8)

    def forgetting(*given):
        blocks = blocks_in_context(*given)
        blocks.prev_tokens = blocks.prev_tokens[:0]
        return blocks

    monkeypatch.setattr(leap_language_modeling, "blocks_in_context", forgetting)
    parts = [nats(model, task, window=8, num_shards=2, shard_id=shard) for shard in (0, 1)]
    assert math.exp(sum(part for part, _ in parts) / 200) != pytest.approx(wanted(8), rel=1e-5)


@pytest.mark.parametrize("mode, block", [("none", 16), ("complete", 64), ("complete_doc", 64), ("eos", 64)])
@torch.no_grad()
def test_each_target_is_scored_once_in_every_block_mode(model, tmp_path, mode, block):
    folder = write(tmp_path, lines_of(text()))
    for batch_size in (1, 3):
        _, count = evaluate(model, make_task(folder, mode=mode, block=block), batch_size=batch_size)
        # An empty line is the end of a document, which only "complete_doc" leaves out.
        empty = sum(len(line) == 1 for line in lines_of(text())) if mode == "complete_doc" else 0
        assert count == 200 - empty


@torch.no_grad()
def test_the_same_line_twice_has_the_same_word_scores_twice(model, tmp_path, caplog):
    line = torch.tensor([5, 9, 4, 7, EOS])
    task = make_task(write(tmp_path, [line, torch.tensor([6, 8, EOS]), line]), mode="eos")
    batches = task.eval_lm_dataloader(task.dataset("test"), batch_size=3, max_positions=64, num_workers=0)
    with caplog.at_level(logging.INFO):
        eval_lm([model], task.source_dictionary, batches, output_word_probs=True)
    scores = dict(record.message.split(" ", 1) for record in caplog.records if "\t" in record.message)
    words = {line: re.findall(r"(\S+) \[(.*?)\]", text) for line, text in scores.items()}
    assert [word for word, _ in words["0"]] == [word for word, _ in words["2"]] and len(words["0"]) == 5
    values = {line: [float(score) for _, score in pairs] for line, pairs in words.items()}
    assert values["0"] == pytest.approx(values["2"], abs=1e-5) and values["0"] != values["1"]


@torch.no_grad()
def test_a_carried_state_scores_each_target_once_in_any_batch(model, tmp_path):
    folder = write(tmp_path, lines_of(text()))
    task = make_task(folder, carry=True)
    assert [evaluate(model, task, batch_size=size)[1] for size in (1, 2, 7)] == [200] * 3


@pytest.mark.parametrize("window", [16, 17])
def test_a_window_as_long_as_the_block_is_refused(tmp_path, window):
    with pytest.raises(ValueError, match=f"--context-window is {BLOCK - window}, but must be 1 or more"):
        make_task(write(tmp_path, lines_of(text())), window=window)


@pytest.mark.parametrize(
    "options, given, message",
    [
        ({"block": 65}, {}, "a block of 65 tokens is longer than the 64 positions"),
        ({"block": 80, "window": 40}, {"window": 40}, "a block of 80 tokens is longer than the 64 positions"),
        ({"window": 8}, {"window": 8, "num_shards": 26, "shard_id": 25}, "has 25 blocks, which 26 shards cannot"),
        ({}, {"window": -1}, "--context-window is -1"),
    ],
)
def test_what_would_be_a_wrong_number_is_an_error(model, tmp_path, options, given, message):
    task = make_task(write(tmp_path, lines_of(text())), **options)
    with pytest.raises(ValueError, match=message):
        evaluate(model, task, **given)


@pytest.mark.parametrize("carry", [False, True])
def test_an_empty_text_has_no_perplexity(model, tmp_path, carry):
    task = make_task(write(tmp_path, lines_of(text(20))), carry=carry)
    task.datasets["test"] = WholeText(torch.empty(0))
    with pytest.raises(ValueError, match="no token to be scored"):
        evaluate(model, task)


def test_a_long_line_is_not_left_out_in_silence(model, tmp_path):
    task = make_task(write(tmp_path, [torch.full((70,), 5), torch.tensor([5, EOS])]), mode="eos")
    with pytest.raises(ValueError, match="a block of 70 tokens"):
        evaluate(model, task)


def test_the_cost_of_a_window_is_said_and_a_cheaper_one_named(model, tmp_path, caplog):
    task = make_task(write(tmp_path, lines_of(text())), window=15)
    with caplog.at_level(logging.INFO):
        evaluate(model, task, window=15)
    assert "--context-window 15: each token is computed 16.0 times" in caplog.text
    assert "a window of 8 would compute it 2.0 times; a window of 4 would compute it 1.3 times" in caplog.text


def test_the_context_counts_in_the_size_of_a_batch(model, tmp_path):
    task = make_task(write(tmp_path, lines_of(text())), window=15)
    batches = task.eval_lm_dataloader(task.dataset("test"), max_tokens=64, context_window=15, num_workers=0)
    assert max(batch["net_input"]["src_tokens"].numel() for batch in batches) == 64


def test_the_control_that_fairseq_alone_scores_nothing(model, tmp_path):
    task = make_task(write(tmp_path, lines_of(text())), LanguageModelingTask, block=65)
    batches = list(task.eval_lm_dataloader(task.dataset("test"), max_positions=64, num_workers=0))
    assert sum(int(batch["target"].ne(1).sum()) for batch in batches) < 200


@pytest.mark.parametrize("task, said", [(LanguageModelingTask, True), (LeapLanguageModelingTask, False)])
def test_fairseqs_own_task_is_said_to_miss_that(model, tmp_path, caplog, task, said):
    built = make_task(write(tmp_path, lines_of(text())), task)
    with caplog.at_level(logging.INFO):
        type(model).build_model(model.decoder.args, built)
    assert ("use --task leap_language_modeling" in caplog.text) == said
