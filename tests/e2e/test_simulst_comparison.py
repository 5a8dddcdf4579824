"""scripts/simulst/compare.sh, as a user runs it."""

import json
import math

from preloading import ROOT

from leap_fairseq.report.tables import read_tsv

MIXED = "hedgehog+relu+softmax_fading"


def test_a_comparison(bash, speech_data, tmp_path):
    def compare(*options, code=0):
        script = ROOT / "scripts/simulst/compare.sh"
        return bash(script, speech_data, tmp_path, "--updates", 2, *options, code=code, anew=code == 0)

    options = ("--models", MIXED, "--waitk-lagging", 1, "--train-lagging", "1-3")
    compare(*options, "--lr", "2e-3", "--seeds", 1)
    (row,) = read_tsv(tmp_path / "comparison.tsv")
    assert (row["model"], row["lr"], row["seeds"], row["loss_sd"]) == (MIXED, 2e-3, 1, 0)
    assert 0 <= row["k1"] <= 100 and 0 < row["cpu_minutes"] < 60 and math.isfinite(row["loss"])
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.pt")}
    assert trained

    assert "one kind, or three joined by +" in compare("--models", "relu+softmax", code=None)
    command = json.loads((tmp_path / f"{MIXED}-2e-3-1/command.json").read_text(encoding="utf-8"))
    for option, value in (("decoder-cross-attention", "softmax"), ("encoder-attention-half-life", "2-64")):
        assert command[command.index(f"--{option}") + 1] == value
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.pt")} == trained
