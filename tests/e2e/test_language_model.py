"""The language model through every command of fairseq, and from Python."""

import re
import shutil

import pytest
import torch
from eval_lm import evaluation, score
from preloading import PLUGIN
from tolerances import ABSOLUTE, assert_same

import leap_fairseq.models

PROMPTS = ["The following", "if x"]


@pytest.fixture(scope="module")
def tokens(lm_text):
    """Words of the test split, the ends of its sentences included."""
    return sum(len(line.split()) + 1 for line in (lm_text / "test.txt").open(encoding="utf-8"))


@pytest.fixture(scope="module")
def softmax_checkpoint(run_forked, lm_options, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lm_softmax")
    run_forked("fairseq-train", *lm_options(folder, 2, "--decoder-self-attention", "softmax"))
    return folder / "checkpoint_last.pt"


@pytest.fixture(scope="module", params=["leap", "softmax"])
def checkpoint(request):
    return request.getfixturevalue({"leap": "lm_checkpoint", "softmax": "softmax_checkpoint"}[request.param])


def test_resuming_continues_where_training_stopped(run_forked, lm_options, lm_checkpoint, tmp_path):
    shutil.copytree(lm_checkpoint.parent, tmp_path / "resumed")
    resumed = run_forked("fairseq-train", *lm_options(tmp_path / "resumed", 4, "--log-interval", 1))
    straight = run_forked("fairseq-train", *lm_options(tmp_path / "straight", 4, "--log-interval", 1))
    losses = [dict(re.findall(r"loss=([\d.]+).*num_updates=(\d+)", o.output)) for o in (resumed, straight)]
    assert list(losses[0].values()) == ["3", "4"] and list(losses[1].values()) == ["1", "2", "3", "4"]
    assert losses[0].items() <= losses[1].items()
    resumed, straight = (torch.load(tmp_path / name / "checkpoint_last.pt") for name in ("resumed", "straight"))
    for state in (resumed, straight):
        assert state["optimizer_history"][-1]["num_updates"] == 4
    assert resumed["extra_state"]["val_loss"] == pytest.approx(straight["extra_state"]["val_loss"], abs=1e-6)
    for name, weight in straight["model"].items():
        torch.testing.assert_close(resumed["model"][name], weight, atol=1e-6, rtol=0, msg=name)


def test_the_control_that_two_updates_are_not_four(lm_checkpoint, run_forked, lm_options, tmp_path):
    run_forked("fairseq-train", *lm_options(tmp_path, 1))
    one, two = (torch.load(path)["model"] for path in (tmp_path / "checkpoint_last.pt", lm_checkpoint))
    assert max(float((one[name] - two[name]).abs().max()) for name in one) > 1e-4


def test_every_token_is_scored_and_both_evaluations_agree(run, run_forked, lm_data, checkpoint, tokens):
    start = run if "leap" in str(checkpoint.parent.name) else run_forked
    perplexity, count = score(start("fairseq-eval-lm", *evaluation(lm_data, checkpoint)).output)
    assert count == tokens and 1 < perplexity < 2000
    options = "--task leap_language_modeling --valid-subset test --cpu --max-tokens 512"
    line = start("fairseq-validate", lm_data, "--user-dir", PLUGIN, "--path", checkpoint, *options.split()).reason
    assert f"wpb {tokens}" in line
    assert float(re.search(r"ppl (\S+)", line)[1]) == pytest.approx(perplexity, rel=1e-3)


def test_carried_state(run_forked, lm_data, lm_options, tokens, tmp_path):
    carried = ("--task", "leap_language_modeling", "--carry-state")
    options = [*lm_options(tmp_path, 3, *carried), "--batch-size", 2]
    trained = run_forked("fairseq-train", *options)
    assert "num_updates=3" in trained.output
    checkpoint = tmp_path / "checkpoint_last.pt"
    counts, perplexities = [], []
    for block, streams in ((64, 1), (16, 1), (64, 3)):
        sizes = ["--tokens-per-sample", block, "--batch-size", streams]
        result = score(run_forked("fairseq-eval-lm", *evaluation(lm_data, checkpoint), *carried, *sizes).output)
        perplexities.append(result[0])
        counts.append(result[1])
    assert counts == [tokens] * 3
    assert perplexities[0] == pytest.approx(perplexities[1], rel=1e-3) != perplexities[2]


@pytest.mark.parametrize("beam", [1, 4])
def test_interactive_continues_each_prompt(run, run_forked, lm_data, checkpoint, beam):
    start = run if beam == 4 and "leap" in checkpoint.parent.name else run_forked
    options = f"--task leap_language_modeling --cpu --beam {beam} --nbest {beam} --max-len-b 12 --max-len-a 0"
    arguments = (lm_data, "--user-dir", PLUGIN, "--path", checkpoint, *options.split())
    output = start("fairseq-interactive", *arguments, stdin="\n".join(PROMPTS) + "\n").output
    for number, prompt in enumerate(PROMPTS):
        hypotheses = re.findall(rf"^H-{number}\t(\S+)\t(.*)$", output, re.MULTILINE)
        assert len(hypotheses) == beam
        scores = [float(score) for score, _ in hypotheses]
        assert scores == sorted(scores, reverse=True)
        assert len({text for _, text in hypotheses}) == beam
        assert all(text.startswith(prompt) and len(text) > len(prompt) for _, text in hypotheses)


def test_hydra_with_the_shipped_configuration(run, run_forked, lm_data, tmp_path):
    """From another directory and with a relative path to the configuration, which finds the plugin by itself."""
    (tmp_path / "plugin").symlink_to(PLUGIN.parent)
    overrides = "common.cpu=true optimization.max_update=2 task.tokens_per_sample=64 dataset.max_tokens=512"
    config = ("--config-dir", "plugin/leap_fairseq/config", "--config-name", "leap_transformer_lm_tiny")
    run("fairseq-hydra-train", *config, f"task.data={lm_data}", *overrides.split(), cwd=tmp_path)
    checkpoint = tmp_path / "checkpoints/checkpoint_last.pt"
    state = torch.load(checkpoint)
    assert state["optimizer_history"][-1]["num_updates"] == 2
    assert any("q_LeaP" in name for name in state["model"])
    perplexity, _ = score(run_forked("fairseq-eval-lm", *evaluation(lm_data, checkpoint)).output)
    assert 1 < perplexity < 5000


@pytest.fixture(scope="module")
def hub(checkpoint, lm_data):
    """The model in this process, as a user of Python loads it."""
    loaded = leap_fairseq.models.LeapTransformerLanguageModel.from_pretrained(
        str(checkpoint.parent), checkpoint.name, str(lm_data)
    )
    return loaded.eval()


def test_from_pretrained_generates(hub):
    for beam in (1, 4):
        texts = hub.sample(PROMPTS, beam=beam, max_len_b=12, max_len_a=0)
        assert len(texts) == len(PROMPTS)
        assert all(text.startswith(prompt) and text != prompt for text, prompt in zip(texts, PROMPTS))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision(hub, dtype):
    """The model runs in it on any device."""
    tokens = torch.randint(4, 60, (2, 40), generator=torch.Generator().manual_seed(0))
    model = hub.models[0]
    with torch.no_grad():
        expected = model(tokens)[0]
        actual = model.to(dtype)(tokens)[0]
        model.float()
    assert actual.dtype == dtype and dtype in ABSOLUTE
    assert_same(actual.float(), expected, dtype)
