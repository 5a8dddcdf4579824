"""scripts/lm: train, resume, evaluate, compare, convert, as a user runs them."""

import json
import re

import pytest
import torch
from brought_data import as_official
from eval_lm import evaluation, score
from preloading import PLUGIN, ROOT

TRAIN, EVAL = ROOT / "scripts/lm/train.sh", ROOT / "scripts/lm/eval.sh"
# The recipe with a model that trains in seconds.
SMALL = (
    "--arch leap_transformer_lm_tiny --decoder-layers 2 --criterion cross_entropy --dropout 0 --tokens-per-sample 64 "
    "--max-tokens 512 --update-freq 2 --warmup-updates 2 --warmup-init-lr 0.01 --optimizer adam --lr 0.01 "
    "--log-interval 1 --num-workers 0"
).split()


def losses(output):
    """The training loss at each update."""
    return {int(n): float(x) for x, n in re.findall(r"loss=([\d.]+).*num_updates=(\d+)", output)}


@pytest.fixture(scope="module")
def straight(bash, lm_data, tmp_path_factory):
    """Six updates without a break, as every user starts them: the folder and the log."""
    folder = tmp_path_factory.mktemp("straight")
    return folder, bash(TRAIN, lm_data, folder, *SMALL, "--max-update", 6, anew=True)


def test_six_updates_are_three_and_three(bash, lm_data, straight, tmp_path):
    first = bash(TRAIN, lm_data, tmp_path, *SMALL, "--max-update", 3)
    then = bash(TRAIN, lm_data, tmp_path, *SMALL, "--max-update", 6)
    assert {**losses(first), **losses(then)} == losses(straight[1]) and list(losses(then)) == [4, 5, 6]
    resumed, whole = (torch.load(folder / "checkpoint_last.pt") for folder in (tmp_path, straight[0]))
    assert resumed["extra_state"]["val_loss"] == pytest.approx(whole["extra_state"]["val_loss"], abs=1e-6)
    for name, weight in whole["model"].items():
        assert torch.equal(resumed["model"][name], weight), name
    before = (tmp_path / "checkpoint_last.pt").stat().st_mtime_ns
    again = bash(TRAIN, lm_data, tmp_path, *SMALL, "--max-update", 6)
    assert "nothing is left to train, and no file is changed: 6 updates were made" in again and not losses(again)
    assert (tmp_path / "checkpoint_last.pt").stat().st_mtime_ns == before


def test_a_folder_of_another_configuration_is_refused_and_stays(bash, lm_data, straight):
    before = (straight[0] / "checkpoint_last.pt").read_bytes()
    for option, value, was in (("--decoder-self-attention", "relu", "leap"), ("--normalizer-floor", "1e-6", "0.1")):
        output = bash(TRAIN, lm_data, straight[0], *SMALL, "--max-update", 8, option, value, code=None)
        assert f"was trained with {option} {was}, not {float(value) if '-6' in value else value}" in output
        assert "give another --save-dir" in output.strip().splitlines()[-1]
    assert (straight[0] / "checkpoint_last.pt").read_bytes() == before


def test_two_processes_train_as_one(bash, lm_data, straight, tmp_path):
    options = [*SMALL[: SMALL.index("--update-freq")], "--update-freq", 1, *SMALL[SMALL.index("--warmup-updates") :]]
    output = bash(TRAIN, lm_data, tmp_path, *options, "--max-update", 3, PROCESSES="2")
    for update, loss in losses(output).items():
        assert loss == pytest.approx(losses(straight[1])[update], abs=2e-3)
    then = bash(TRAIN, lm_data, tmp_path, *options, "--max-update", 4, PROCESSES="2")
    assert losses(then)[4] == pytest.approx(losses(straight[1])[4], abs=2e-3)
    sessions = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["sessions"]
    assert [(one["processes"], one["updates"]) for one in sessions] == [(2, 3), (2, 4)]


def test_no_data_is_named_and_no_argument_shows_the_usage(bash, tmp_path):
    assert f"{tmp_path} has no dict.txt" in bash(TRAIN, tmp_path, tmp_path / "save", code=1)
    assert f"{tmp_path} has no dict.txt" in bash(EVAL, tmp_path, tmp_path / "x.pt", code=1)
    assert "bash scripts/lm/train.sh DATA SAVE_DIR" in bash(TRAIN, code=2)
    assert "bash scripts/lm/eval.sh DATA CHECKPOINT" in bash(EVAL, code=2)


def test_evaluation(bash, lm_data, lm_text, straight):
    checkpoint = straight[0] / "checkpoint_best.pt"
    tokens = sum(len(line.split()) + 1 for line in (lm_text / "test.txt").open(encoding="utf-8"))
    blocks = score(bash(EVAL, lm_data, checkpoint, "--tokens-per-sample", 64))
    windowed = bash(EVAL, lm_data, checkpoint, "--tokens-per-sample", 64, "--context-window", 48)
    assert "each token is computed 4.0 times (a window of 32 would compute it 2.0 times" in windowed
    carried = score(bash(EVAL, lm_data, checkpoint, "--tokens-per-sample", 64, "--carry-state"))
    assert blocks[1] == score(windowed)[1] == carried[1] == tokens
    assert len({blocks[0], score(windowed)[0], carried[0]}) == 3


def joined(parts):
    """What eval.sh has joined in a folder of parts: the perplexity, unrounded, and the number of tokens."""
    found = json.loads((parts / "joined.json").read_text(encoding="utf-8"))
    return found["perplexity"], found["tokens"]


@pytest.mark.parametrize(
    "mode, numbers", [("", "123"), ("--context-window 48", "12"), ("--carry-state --batch-size 6", "13")]
)
def test_any_number_of_processes_has_the_same_perplexity(bash, lm_data, straight, tmp_path, mode, numbers):
    command = (EVAL, lm_data, straight[0] / "checkpoint_best.pt", "--tokens-per-sample", 64, *mode.split())
    alone = score(bash(*command))
    for processes in numbers:
        parts = tmp_path / processes
        assert score(bash(*command, PROCESSES=processes, PARTS=str(parts))) == alone
        assert joined(parts) == (pytest.approx(joined(tmp_path / "1")[0], rel=1e-6), alone[1])


def test_parts_of_two_machines_join(bash, lm_data, straight, tmp_path):
    command = (EVAL, lm_data, straight[0] / "checkpoint_best.pt", "--tokens-per-sample", 64)
    where = {"NODES": "2", "PROCESSES": "1", "PARTS": str(tmp_path)}
    first = bash(*command, **where, NODE="1")
    assert "1 of 2 parts are in" in first and "have to score 0" in first and "Perplexity" not in first
    before = (tmp_path / "1-of-2/score.json").stat().st_mtime_ns
    assert score(bash(*command, **where, NODE="0")) == score(bash(*command))
    assert score(bash(*command, **where, NODE="1")) == score(bash(*command))
    assert (tmp_path / "1-of-2/score.json").stat().st_mtime_ns == before
    # Of another evaluation, parts are made anew, and not joined with these.
    other = bash(EVAL, lm_data, straight[0] / "checkpoint_best.pt", "--tokens-per-sample", 32, **where, NODE="0")
    assert "1 of 2 parts are in" in other and "have to score 1" in other


@pytest.mark.exhaustive
def test_perplexity_per_word_of_any_number_of_processes(bash, run_forked, lm_text, tmp_path):
    data = tmp_path / "data"
    pieces = ("--any-text", "--vocab-type", "bpe", "--vocab-size", 600)
    run_forked(ROOT / "data_prep/prep_wikitext.py", lm_text, *pieces, "--out", data)
    bash(TRAIN, data, tmp_path / "lm", *SMALL, "--max-update", 2)
    lines = (lm_text / "test.txt").read_text(encoding="utf-8").splitlines()
    words = sum(len(line.split()) + 1 for line in lines)
    command = (EVAL, data, tmp_path / "lm/checkpoint_best.pt", "--tokens-per-sample", 64)
    for mode in ("", "--context-window 48", "--carry-state --batch-size 2"):
        found = []
        for variables in ({}, {"PROCESSES": "2", "PARTS": str(tmp_path / mode)}):
            output = bash(*command, *mode.split(), "--post-process", "sentencepiece", **variables)
            per_token = re.search(r"Per token: loss \(base 2\) (\S+), perplexity (\S+), (\S+) tokens", output).groups()
            assert f"Per word, which follows: {words:,} words and ends of lines" in output
            found.append((score(output), per_token))
        # One process adds up in float32.
        assert found[0][0] == (pytest.approx(found[1][0][0], rel=1e-5), found[1][0][1])
        assert found[0][1][2] == found[1][1][2]
        (perplexity, tokens), (bits, _, count) = found[0]
        assert int(count.replace(",", "")) == tokens > words
        assert perplexity == pytest.approx(2 ** (float(bits) * tokens / words), rel=1e-3)


@pytest.mark.parametrize(
    "options, variables, message",
    [
        (("--carry-state",), {}, "2 processes cannot share 1 of them: leave PROCESSES out"),
        (("--output-word-probs",), {}, "--output-word-probs is for one process"),
        ((), {"PROCESSES": "two"}, "PROCESSES is two, but must be a whole number from 1 on"),
        ((), {"NODES": "2"}, "give PARTS"),
        (("--gen-subset", "none"), {}, "none.bin"),
    ],
)
def test_what_processes_cannot_share_is_an_error(bash, lm_data, straight, options, variables, message):
    command = (EVAL, lm_data, straight[0] / "checkpoint_best.pt", "--tokens-per-sample", 64, *options)
    output = bash(*command, **{"PROCESSES": "2", **variables}, code=1)
    assert message in output.strip().splitlines()[-1] and "Perplexity" not in output


@pytest.mark.parametrize(
    "options, message",
    [
        (("--tokens-per-sample", 64, "--context-window", 64), "choose a smaller one"),
        ((), "a block of 512 tokens is longer than the 64 positions of the model"),
    ],
)
def test_what_would_be_a_wrong_perplexity_is_an_error(bash, lm_data, straight, options, message):
    output = bash(EVAL, lm_data, straight[0] / "checkpoint_best.pt", *options, code=None)
    assert message in output.strip().splitlines()[-1] and "Perplexity" not in output


def test_the_dictionary_of_another_text_is_an_error(bash, lm_data, lm_text, straight, run_forked, tmp_path):
    size = len((lm_data / "dict.txt").read_text(encoding="utf-8").splitlines()) + 4
    for nwords, message in ((size, "one of the same size"), (50, f"dictionary of {size} symbols")):
        out = tmp_path / str(nwords)
        # Longer, so that it has words enough; other words, so that no line is the same.
        train = lm_text / "whole/train.txt"
        options = ["--only-source", "--trainpref", train, "--testpref", lm_text / "test.txt", "--nwordssrc", nwords]
        run_forked("fairseq-preprocess", *options, "--destdir", out)
        output = bash(EVAL, out, straight[0] / "checkpoint_best.pt", "--tokens-per-sample", 64, code=None)
        assert message in output.strip().splitlines()[-1] and "Perplexity" not in output


def test_comparison(bash, lm_text, tmp_path):
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").write_text((lm_text / f"{split}.txt").read_text(encoding="utf-8"), encoding="utf-8")
    options = "--updates 2 --models leap softmax --jobs 2 --nwords 200 --seeds 1".split()
    # The peak is that of the seed which takes most.
    bash(ROOT / "scripts/lm/compare.sh", tmp_path, tmp_path / "out", *options, as_large=True)
    options.append("2")
    output = bash(ROOT / "scripts/lm/compare.sh", tmp_path, tmp_path / "out", *options)
    lines = (tmp_path / "out/comparison.tsv").read_text(encoding="utf-8").splitlines()
    rows = [dict(zip(lines[0].split("\t"), line.split("\t"))) for line in lines[1:]]
    assert {row["model"] for row in rows} == {"leap", "softmax"} and f"{rows[0]['model']} " in output
    for row in rows:
        assert row["seeds"] == "2" and float(row["blocks"]) > 1 and float(row["blocks_sd"]) > 0
        assert (row["carried"] == "-") == (row["model"] == "softmax")
        assert float(row["words_per_s"]) > 0 and float(row["peak_mib"]) > 50
    assert (tmp_path / "out/comparison.png").stat().st_size > 10_000
    again = bash(ROOT / "scripts/lm/compare.sh", tmp_path, tmp_path / "out", *options)
    assert again.splitlines()[-5:] == output.splitlines()[-5:]


def test_a_checkpoint_of_the_authors_fork_is_converted(bash, run_forked, lm_data, lm_checkpoint, tmp_path):
    torch.save(as_official(torch.load(lm_checkpoint)), tmp_path / "official.pt")
    script = ROOT / "scripts/lm/convert_official.py"
    run_forked(script, tmp_path / "official.pt", tmp_path / "converted.pt")
    scores = [
        score(run_forked("fairseq-eval-lm", *evaluation(lm_data, path)).output)
        for path in (tmp_path / "converted.pt", lm_checkpoint)
    ]
    assert scores[0] == scores[1]
    # The control: as it was, fairseq builds its own transformer.
    run_forked("fairseq-eval-lm", *evaluation(lm_data, tmp_path / "official.pt"), code=None)
    message = run_forked(script, lm_checkpoint, tmp_path / "twice.pt", code=1).reason
    assert "the model is leap_transformer_lm_tiny, but must be transformer_lm of the fork" in message
    assert PLUGIN.is_dir() and not (tmp_path / "twice.pt").exists()
