"""The README's commands for speech translation, as a newcomer runs them: every one, in order, two updates each."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_server import ROOT

CHAPTER = re.compile(r"## Simultaneous speech translation\n(.*?)\n## ", re.DOTALL)
FENCE = re.compile(r"```(bash|python)\n(.*?)```", re.DOTALL)
SHORTER = (
    (
        r"make_travel_corpus.py corpus",
        "make_travel_corpus.py corpus --sentences-train 40 --sentences-dev 8 --sentences-test 3",
    ),
    (r"--vocab-size 300", "--vocab-size 100"),
    (r"--max-update \d+", "--max-update 2 --save-interval-updates 1"),
    (r"--waitk-lagging 1 3 5 7 9", "--waitk-lagging 1 9"),
)
"""What makes a command quick without changing what it does; each is needed, or the document has changed."""


@pytest.fixture(scope="module")
def blocks():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = FENCE.findall(CHAPTER.search(text)[1])
    assert [kind for kind, _ in found] == ["bash", "bash", "bash", "python", "bash"]
    return found


@pytest.fixture(scope="module")
def workplace(blocks, environment, tmp_path_factory):
    """A folder in which all commands ran."""
    folder = tmp_path_factory.mktemp("newcomer")
    for name in ("data_prep", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    paths = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    applied = set()
    for kind, block in blocks:
        for pattern, replacement in SHORTER:
            block, count = re.subn(pattern, replacement, block)
            applied |= {pattern} if count else set()
        command = ["bash", "-euxc", block] if kind == "bash" else [sys.executable, "-c", block]
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        finished = subprocess.run(command, cwd=folder, env={**environment, "PATH": paths}, **streams)
        if finished.returncode:
            pytest.fail(f"{block}\nended with {finished.returncode}:\n{finished.stdout[-4000:]}", pytrace=False)
    assert applied == {pattern for pattern, _ in SHORTER}
    return folder


def test_the_results_are_there(workplace):
    rows = json.loads((workplace / "results/table.json").read_text(encoding="utf-8"))
    assert [row["waitk"] for row in rows] == [1, 9] and all(row["sentences"] == 3 for row in rows)
    for name in ("results/table.tsv", "results/quality_latency.png", "staircase.png", "leap.png", "k5.tsv", "k5.json"):
        assert (workplace / name).stat().st_size > 0, name
    (row,) = json.loads((workplace / "talks/table.json").read_text(encoding="utf-8"))
    assert row["recordings"] == 1 and row["sentences"] == 3 and "StreamLAAL" in row
    for name in ("asr", "translator", "short", "endless"):
        assert (workplace / name / "checkpoint_best.pt").is_file()
    assert (workplace / "my_translator/checkpoint.pt").is_file()


def test_our_scores_are_simulevals(workplace):
    (ours,) = json.loads((workplace / "k5.json").read_text(encoding="utf-8"))
    names, values = (workplace / "k5/scores.tsv").read_text(encoding="utf-8").splitlines()
    theirs = dict(zip(names.split("\t"), map(float, values.split("\t"))))
    assert {"BLEU", "LAAL", "AL", "AP", "DAL", "ATD"} <= theirs.keys()
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=2e-3), name
