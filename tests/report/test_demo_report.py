"""The report of the demo, from logs of a run that is made up here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from leap_fairseq.report.tables import read_tsv

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo_report.py"


@pytest.fixture
def run_folder(tmp_path):
    for attention in ("leap", "softmax"):
        for k in (1, 4, 12, 2):
            folder = tmp_path / "simuleval" / f"{attention}-{'confidence' if k == 2 else f'k{k}'}"
            folder.mkdir(parents=True)
            delays = [min(2000.0, 160.0 * (i + k)) for i in range(5)]
            sentence = {
                "index": 0,
                "prediction": "der Zug kommt um zehn",
                "reference": "der Zug kommt um zehn",
                "delays": delays,
                "elapsed": [delay + 10 for delay in delays],
                "prediction_length": 5,
                "source": ["x.wav"],
                "source_length": 2000.0,
            }
            (folder / "instances.log").write_text(json.dumps(sentence) + "\n")
    folder = tmp_path / "lm-leap"
    folder.mkdir()
    (folder / "eval.log").write_text(
        "INFO | Evaluated 2,220 tokens in 0.4s (5000.00 tokens/s)\nINFO | Loss (base 2): 5.9, Perplexity: 61.38\n"
    )
    return tmp_path


def report(folder):
    return subprocess.run([sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True)


def test_tables_and_pictures(run_folder):
    done = report(run_folder)
    assert done.returncode == 0, done.stderr
    rows = read_tsv(run_folder / "simulst.tsv")
    assert list(rows[0]) == ["attention", "policy", "BLEU", "LAAL", "AL", "AP", "DAL", "LAAL_CA"]
    policies = ("wait-1", "wait-4", "wait-12", "confidence")
    assert [(row["attention"], row["policy"]) for row in rows] == [
        (attention, policy) for attention in ("leap", "softmax") for policy in policies
    ]
    assert rows[0]["BLEU"] == pytest.approx(100)
    assert rows[0]["LAAL"] < rows[1]["LAAL"] < rows[2]["LAAL"] < rows[2]["LAAL_CA"]
    assert read_tsv(run_folder / "lm.tsv") == [{"attention": "leap", "perplexity": 61.38, "tokens": 2220}]
    for picture in ("quality_latency.png", "staircase.png"):
        assert (run_folder / picture).read_bytes().startswith(b"\x89PNG")
    assert "version:" in (run_folder / "signature.txt").read_text() and "61.4" in done.stdout


def test_what_an_earlier_translator_said_is_left_out(run_folder):
    """As after other UPDATES, of a k that is no longer asked for."""
    checkpoint = run_folder / "translator-softmax/checkpoint_best.pt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    for log in run_folder.glob("simuleval/softmax-*/instances.log"):
        time = checkpoint.stat().st_mtime + (-1 if log.parent.name == "softmax-k12" else 1)
        os.utime(log, (time, time))
    done = report(run_folder)
    assert done.returncode == 0 and "softmax-k12, which is of an earlier" in done.stderr
    rows = read_tsv(run_folder / "simulst.tsv")
    assert len(rows) == 7 and ("softmax", "wait-12") not in [(row["attention"], row["policy"]) for row in rows]


def test_missing_runs_are_named(tmp_path, run_folder):
    done = report(tmp_path / "empty")
    assert done.returncode == 1 and "holds no run: run scripts/demo.sh" in done.stderr
    (run_folder / "lm-leap" / "eval.log").write_text("killed\n")
    done = report(run_folder)
    assert done.returncode == 1 and "holds no perplexity" in done.stderr and "Traceback" not in done.stderr
