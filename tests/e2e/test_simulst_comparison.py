"""scripts/simulst/compare.sh, as a user runs it."""

import json
import math
import os
import subprocess
from pathlib import Path

from command_server import ROOT

from leap_fairseq.report.tables import read_tsv

MIXED = "hedgehog+relu+softmax"


def test_a_comparison(elsewhere, environment, speech_data, tmp_path):
    def compare(*options):
        path = f"{Path(os.sys.executable).parent}:{environment['PATH']}"
        command = ["bash", ROOT / "scripts/simulst/compare.sh", speech_data, tmp_path, "--updates", "2", *options]
        variables = {**environment, "PATH": path}
        done = subprocess.run(map(str, command), cwd=elsewhere, env=variables, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    options = ("--models", MIXED, "--waitk-lagging", 1, "--train-lagging", "1-3")
    code, output = compare(*options, "--lr", "2e-3", "--seeds", 1)
    assert code == 0, output[-3000:]
    (row,) = read_tsv(tmp_path / "comparison.tsv")
    assert (row["model"], row["lr"], row["seeds"], row["loss_sd"]) == (MIXED, 2e-3, 1, 0)
    assert 0 <= row["k1"] <= 100 and 0 < row["cpu_minutes"] < 60 and math.isfinite(row["loss"])
    trained = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.pt")}
    assert trained

    code, output = compare("--models", "relu+softmax")
    assert code and "one kind, or three joined by +" in output
    command = json.loads((tmp_path / f"{MIXED}-2e-3-1/command.json").read_text(encoding="utf-8"))
    assert command[command.index("--decoder-cross-attention") + 1] == "softmax"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*.pt")} == trained
