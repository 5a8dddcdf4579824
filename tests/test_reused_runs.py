"""Runs of the comparisons of scripts/ are used again while their data are the same; only alike ones share a mean."""

import argparse
import functools
import hashlib
import json
import math
import os
import re
import subprocess
from pathlib import Path

import pytest

from leap_fairseq.report.tables import read_tsv

SCRIPTS = Path(__file__).parents[1] / "scripts"


def run_of(script, monkeypatch, tmp_path, name):
    """A run of a comparison without its commands: a function that makes it, or finds it; its folder; and its data."""
    module, data = script(name), tmp_path / "data"
    monkeypatch.setattr(module, "once", lambda *_, **__: None)
    data.mkdir()
    for each in ("dict.txt", "train.bin", "valid.bin", "test.bin", "config_st.yaml", "train_st.tsv", "dev_st.tsv"):
        (data / each).write_text("words")
    options = {"updates": 9, "cuda": False, "data": data, "train_lagging": "1-3", "ratio": 4, "waitk_lagging": [1]}
    options = argparse.Namespace(out=tmp_path, subset="test", **options)
    words = ("relu", 1) if name == "lm/compare" else ("relu", "1e-3", 1)
    folder = tmp_path / "-".join(map(str, words))
    return functools.partial(module.train_and_evaluate, *words, options), folder, data


def written_later(path, other):
    time = other.stat().st_mtime + 1
    os.utime(path, (time, time))


COMPARISONS = [("lm/compare", "dict.txt"), ("lm/compare", "test.bin"), ("simulst/compare", "train_st.tsv")]


@pytest.mark.parametrize("name, file", COMPARISONS)
def test_a_run_of_other_data_begins_anew(script, monkeypatch, tmp_path, name, file):
    run, folder, data = run_of(script, monkeypatch, tmp_path, name)
    run()
    (folder / "kept").touch()
    # The same text, prepared again.
    (data / file).write_text("words")
    run()
    assert (folder / "kept").exists()
    (data / file).write_text("others")
    run()
    assert not (folder / "kept").exists()


@pytest.mark.parametrize("name, file", COMPARISONS)
def test_a_run_of_an_earlier_version_is_kept_unless_its_data_are_newer(script, monkeypatch, tmp_path, name, file):
    run, folder, data = run_of(script, monkeypatch, tmp_path, name)
    run()
    (folder / "kept").touch()
    (folder / "data.json").unlink()
    run()
    # From here on it knows its data.
    assert (folder / "kept").exists() and (folder / "data.json").exists()
    (folder / "data.json").unlink()
    written_later(data / file, folder / "command.json")
    run()
    assert not (folder / "kept").exists()


def test_a_step_of_other_data_is_done_again_and_one_of_an_earlier_version_is_kept(script, monkeypatch, tmp_path):
    runs, made = script("training_runs"), []

    def call(command, log, mode="w", locks=()):
        log.write_text("")
        made.append(command)
        return {}

    monkeypatch.setattr(runs, "call", call)
    stages, data = runs.Stages(tmp_path, "compare"), [tmp_path / "test_st.tsv"]
    data[0].write_text("words")
    runs.once(stages, "k1", ["generate"])
    runs.once(stages, "k1", ["generate"], data=data)
    assert len(made) == 1
    for text, count in (("others", 2), ("others", 2), ("words", 3)):
        data[0].write_text(text)
        written_later(data[0], tmp_path / "k1.json")
        for _ in range(2):
            runs.once(stages, "k1", ["generate"], data=data)
        assert len(made) == count


def write_lm_run(out, name, text, *, updates=100, perplexity=8.0):
    folder = out / name
    folder.mkdir(parents=True)
    (out / "data").mkdir(exist_ok=True)
    inner = {"train_wall": "6", "wps": "500", "num_updates": str(updates), "wpb": "30"}
    lines = ["num. shared model params: 1,000 (num. trained: 1,000)", f"x | INFO | train_inner | {json.dumps(inner)}"]
    lines.append('x | INFO | valid | {"valid_ppl": "9"}')
    (folder / "train.log").write_text("\n".join(lines))
    (folder / "blocks.log").write_text(f"Loss (base 2): {math.log2(perplexity)}")
    (folder / "blocks.json").write_text("{}")
    (folder / "train.json").write_text(json.dumps({"cpu_seconds": 6, "peak_mib": 3}))
    seed = name.rpartition("-")[2]
    command = ["train", "--seed", seed, "--save-dir", str(folder), "--max-update", str(updates)]
    (folder / "command.json").write_text(json.dumps(command))
    (folder / "data.json").write_text(json.dumps({"dict.txt": hashlib.sha256(text.encode()).hexdigest()}))


def test_a_mean_over_seeds_is_one_of_alike_runs_on_one_text(script, tmp_path, caplog):
    module = script("lm/compare_report")
    write_lm_run(tmp_path, "relu-1", "words", perplexity=8.0)
    write_lm_run(tmp_path, "relu-2", "words", perplexity=10.0)
    write_lm_run(tmp_path, "relu-3", "words", updates=50, perplexity=20.0)
    write_lm_run(tmp_path, "relu-4", "other words", perplexity=2.0)
    (tmp_path / "data/dict.txt").write_text("words")
    module.report(tmp_path)
    rows = read_tsv(tmp_path / "comparison.tsv")
    assert [(row["updates"], row["seeds"], round(row["blocks"], 6)) for row in rows] == [(100, 2, 9.0), (50, 1, 20.0)]
    (warning,) = caplog.messages
    assert "relu-4, which was trained on another text" in warning


def test_a_step_of_the_demo_is_done_again_where_its_input_is_newer(tmp_path):
    """As when TEST_SENTENCES is another number: the command that streams them is the same."""
    demo = (SCRIPTS / "demo.sh").read_text(encoding="utf-8")
    functions = "".join(re.findall(r"^(?:once|train|progress)\(\) \{\n.*?^\}\n", demo, re.MULTILINE | re.DOTALL))
    steps = "once stream list echo streamed; train folder list sh -c 'echo Error: trained'\n"
    program = f"set -euo pipefail\nRUN=.\n{functions}\n{steps}"

    def done():
        ended = subprocess.run(["bash", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True)
        return [line.split(":")[0] for line in ended.stdout.splitlines()]

    everything, nothing = ["streamed", "Error"], ["complete already"] * 2
    assert done() == everything and done() == nothing
    (tmp_path / "list").write_text("sentences")
    for made in (".complete/stream", "folder/command"):
        written_later(tmp_path / made, tmp_path / "list")
    assert done() == nothing
    written_later(tmp_path / "list", tmp_path / "folder/command")
    assert done() == everything
