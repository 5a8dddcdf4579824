"""What the comparisons share: runs at a time, where they run, and what is said of one that was interrupted."""

import argparse
import concurrent.futures
import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leap_fairseq.files import DataError, Stages

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def scripts(monkeypatch):
    """The folder of the language models' scripts on the path; what is imported from it is forgotten afterwards."""
    for folder in ("simulst", "lm", ""):
        monkeypatch.syspath_prepend(str(SCRIPTS / folder))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(SCRIPTS)):
            del sys.modules[name]


RUN_SIX = """
import pathlib, sys
from training_runs import call, run_all

def job(number):
    pathlib.Path(f"begun-{number}").touch()
    call(["sh", "-c", "echo $$; exec sleep 300"], pathlib.Path(f"{number}.log"))

run_all(job, [(number,) for number in range(6)], 2)
"""


@pytest.mark.parametrize(
    "number, kill", [(signal.SIGINT, os.killpg), (signal.SIGINT, os.kill), (signal.SIGTERM, os.kill)]
)
def test_ctrl_c_or_a_request_to_end_ends_what_runs_and_nothing_else_begins(tmp_path, number, kill):
    environment = {**os.environ, "PYTHONPATH": f"{SCRIPTS}:{SCRIPTS.parent}"}
    command = [sys.executable, "-c", RUN_SIX]
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, start_new_session=True)
    try:
        while len(begun := [log.read_text() for log in tmp_path.glob("*.log")]) < 2 or not all(begun):
            assert process.poll() is None
            time.sleep(0.05)
        kill(process.pid, number)
        errors = process.communicate(timeout=60)[1].decode()
        assert not [pid for pid in begun if Path("/proc", pid.strip()).exists()]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    code, heard = (143, "") if number == signal.SIGTERM else (-signal.SIGINT, "KeyboardInterrupt")
    assert process.returncode == code and heard in errors
    assert len(list(tmp_path.glob("begun-*"))) == 2


def test_a_training_of_a_killed_comparison_keeps_the_next_one_out(tmp_path):
    program = """
import os, signal, sys, threading, time
from leap_fairseq.files import Stages
from training_runs import once

def kill():
    while not (os.path.exists("train.log") and os.path.getsize("train.log")):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

threading.Thread(target=kill).start()
once(Stages(".", "compare"), "train", ["sh", "-c", "echo $$; exec sleep 300"])
"""
    environment = {**os.environ, "PYTHONPATH": f"{SCRIPTS}:{SCRIPTS.parent}"}
    ended = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, timeout=60)
    training = int((tmp_path / "train.log").read_text())
    try:
        assert ended.returncode == -signal.SIGKILL
        with pytest.raises(DataError, match="another process is writing"), Stages(tmp_path, "compare").alone():
            pass
    finally:
        os.kill(training, signal.SIGKILL)


@pytest.mark.parametrize("count", [1, 2])
def test_nothing_begins_after_a_failure(scripts, count, monkeypatch):
    """However late the thread that waits for the jobs hears of it."""
    import training_runs

    begun, heard = [], training_runs.completed
    monkeypatch.setattr(training_runs, "completed", lambda jobs: heard(all_ended(jobs)))

    def fail(number):
        begun.append(number)
        raise ValueError("job 0 failed" if number == 0 else "another job failed")

    with pytest.raises(ValueError, match="failed"):
        training_runs.run_all(fail, [(number,) for number in range(6)], count)
    assert begun[0] == 0 and len(begun) <= count


def test_a_number_of_runs_at_a_time_that_is_none_is_named(scripts):
    from training_runs import run_all

    with pytest.raises(ValueError, match="--jobs -1 must be at least 1"):
        run_all(print, [(1,)], -1)


def all_ended(jobs):
    concurrent.futures.wait(jobs)
    return jobs


LOADED = "x | INFO | fairseq.trainer | Loaded checkpoint a/checkpoint_last.pt (epoch 2 @ {} updates)"


@pytest.mark.parametrize("loaded, seconds", [((), 60), ((10, 75), 240), ((100,), math.nan)])
def test_cpu_time_of_a_resumed_training_is_that_of_all_its_updates(scripts, loaded, seconds):
    from training_runs import cpu_seconds

    text = "\n".join(["x | INFO | begin", *map(LOADED.format, loaded)])
    assert cpu_seconds({"cpu_seconds": 60}, text, 100) == pytest.approx(seconds, nan_ok=True)


def write_lm_run(folder, cpu, loaded=()):
    folder.mkdir(parents=True)
    inner = {"train_wall": "6", "wps": "500", "num_updates": "100", "wpb": "30"}
    lines = ["num. shared model params: 1,000 (num. trained: 1,000)", *map(LOADED.format, loaded)]
    lines += [f"x | INFO | train_inner | {json.dumps(inner)}", 'x | INFO | valid | {"valid_ppl": "9"}']
    (folder / "train.log").write_text("\n".join(lines), encoding="utf-8")
    (folder / "train.json").write_text(json.dumps({"cpu_seconds": cpu, "peak_mib": 3}), encoding="utf-8")


def test_an_interrupted_language_model_is_not_the_faster_one(scripts, tmp_path):
    from compare_report import table

    write_lm_run(tmp_path / "leap-1", 60)
    write_lm_run(tmp_path / "relu-1", 15, loaded=[75])
    # None is evaluated yet, as while a comparison is going on.
    rows, _ = table(tmp_path)
    assert {row["model"]: row["words_per_cpu_s"] for row in rows} == {"leap": 50, "relu": 50}
    assert {row["blocks"] for row in rows} == {"-"}


@pytest.mark.parametrize("visible, cards", [(None, "0123"), ("4,6", "4646"), ("GPU-a, GPU-b", ["GPU-a", "GPU-b"] * 2)])
def test_parts_are_scored_on_the_cards_of_the_user(scripts, monkeypatch, visible, cards):
    from eval_parts import card

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpus = len(visible.split(",")) if visible else 4
    assert [card(number, gpus) for number in range(4)] == list(cards)


@pytest.mark.parametrize("cuda", [False, True])
def test_a_language_model_is_trained_by_one_process(scripts, monkeypatch, tmp_path, cuda):
    """Else fairseq takes all GPUs, and an update has so many times more words."""
    import compare

    assert Path(compare.__file__).parent.name == "lm"
    commands = []
    monkeypatch.setattr(compare, "begin", lambda *_: None)
    monkeypatch.setattr(compare, "once", lambda _, name, command, mode="w": commands.append(list(map(str, command))))
    compare.train_and_evaluate("leap", 1, argparse.Namespace(out=tmp_path, updates=8, cuda=cuda))
    assert len(commands) == 3
    for command in commands:
        assert ("--cpu" in command) == (not cuda)
        assert ("--distributed-world-size 1" in " ".join(command)) == cuda


def test_a_folder_under_another_name_does_not_remove_its_runs(scripts, tmp_path, monkeypatch):
    from training_runs import begin

    monkeypatch.chdir(tmp_path)

    def facts(out, updates=100, data="data"):
        return {"command": ["bash", "train.sh", data, f"{out}/leap-1", "--max-update", str(updates)], "seed": 1}

    folder = tmp_path / "out/leap-1"
    begin(folder, facts("out"), "command.json", "sweep")
    (folder / "checkpoint_last.pt").touch()
    begin(folder, facts("out"), "command.json", "sweep")
    for other in (facts(tmp_path / "out"), facts("out", data="/elsewhere/data")):
        with pytest.raises(ValueError, match="leap-1 holds a run with .*, which is .* now: call it as before"):
            begin(folder, other, "command.json", "sweep")
    assert (folder / "checkpoint_last.pt").exists()
    begin(folder, facts("out", updates=200), "command.json", "sweep")
    assert not (folder / "checkpoint_last.pt").exists()
