"""The report of scripts/simulst/compare.sh, from logs that are made up here."""

import argparse
import json
import sys
from pathlib import Path

import pytest

from leap_fairseq.report.tables import read_tsv

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def compare(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS / "simulst"))
    import compare

    yield compare
    del sys.modules["compare"]


def write_run(folder, losses, bleu):
    folder.mkdir()
    lines = ["num. shared model params: 1,050,624 (num. trained: 1,050,624)"]
    for loss in losses:
        lines.append('x | INFO | train_inner | {"loss": "9", "num_updates": "20"}')
        lines.append(f'x | INFO | dev_st | {{"dev_st_loss": "{loss}", "dev_st_nll_loss": "0.1"}}')
    (folder / "train.log").write_text("\n".join(lines), encoding="utf-8")
    (folder / "train.json").write_text(json.dumps({"cpu_seconds": 120, "peak_mib": 3}), encoding="utf-8")
    (folder / "k3.log").write_text(f"Generate tst with beam=1: BLEU = {bleu} 90.9/82.8\n", encoding="utf-8")


def options(out, **changes):
    given = {"out": out, "models": ["relu"], "lr": ["1e-3", "2e-3"], "seeds": [1, 2], "waitk_lagging": [3], **changes}
    return argparse.Namespace(**given)


def test_the_rate_with_the_lowest_last_loss_is_reported_over_the_seeds(compare, tmp_path):
    write_run(tmp_path / "relu-1e-3-1", [1.0, 2.5], 99)
    write_run(tmp_path / "relu-2e-3-1", [3.0, 2.0], 60)
    write_run(tmp_path / "relu-2e-3-2", [3.0, 2.2], 64)
    compare.report(options(tmp_path))
    (row,) = read_tsv(tmp_path / "comparison.tsv")
    assert (row["lr"], row["seeds"], row["parameters"], row["cpu_minutes"]) == (2e-3, 2, 1050624, 2)
    assert row["loss"] == pytest.approx(2.1) and row["loss_sd"] == pytest.approx(0.02**0.5)
    assert row["k3"] == 62 and row["k3_sd"] == pytest.approx(8**0.5)


def test_a_log_without_a_result_is_named(compare, tmp_path):
    write_run(tmp_path / "relu-2e-3-1", [2.0], 60)
    (tmp_path / "relu-2e-3-1/k3.log").write_text("killed", encoding="utf-8")
    with pytest.raises(ValueError, match=r"k3.log holds no BLEU: remove .*relu-2e-3-1 and run"):
        compare.report(options(tmp_path, lr=["2e-3"], seeds=[1]))


def test_the_options_of_a_model(compare):
    mixed = "--encoder-self-attention relu --decoder-self-attention leap --decoder-cross-attention softmax".split()
    assert compare.attentions("relu+leap+softmax") == mixed
    half_lives = "--encoder-attention-half-life 2-64 --decoder-attention-half-life 2-64".split()
    assert compare.attentions("relu+leap+softmax_fading") == mixed + half_lives
    assert compare.attentions("relu_fading")[1::2] == ["relu", "relu", "relu", "2-64", "2-64"]
    # Softmax never fades.
    assert compare.attentions("softmax+relu+relu_fading")[-2:] == half_lives[-2:]
    assert compare.attentions("softmax_fading") == compare.attentions("softmax")


@pytest.mark.parametrize("model", ["relu+softmax", "relu+relu+relu+relu", "relu+leap_fading"])
def test_a_model_is_one_kind_or_three(compare, model):
    with pytest.raises(ValueError, match="one kind, or three joined by"):
        compare.attentions(model)
