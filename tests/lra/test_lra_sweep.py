"""scripts/lra/sweep.py: the updates that a CPU time allows. What it runs is told by made-up commands."""

import argparse
import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[2] / "scripts/lra"


@pytest.fixture
def sweep(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    for name in ("report", "training_runs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    spec = importlib.util.spec_from_file_location("lra_sweep", SCRIPTS / "sweep.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def calls(sweep, monkeypatch):
    """The commands of trainings that start in 8 seconds of CPU time, and need half a second for an update."""
    made = []

    def call(command, log, mode="w"):
        made.append(command)
        log.write_text("")
        return {"peak_mib": 1.0, "cpu_seconds": 8 + 0.5 * int(command[command.index("--max-update") + 1])}

    monkeypatch.setattr(sys.modules["training_runs"], "call", call)
    return made


def options(tmp_path, *more):
    return argparse.Namespace(out=tmp_path, options=" ".join(more), cuda=False)


BUDGET = {"batch_size": 8, "eval_samples": None, "facts": {}}


def test_the_updates_of_a_time_are_measured_once(sweep, calls, tmp_path):
    timed = {**BUDGET, "cpu_minutes": 30.0}
    for _ in range(2):
        found = sweep.with_updates(Path("text"), "leap", timed, options(tmp_path))
        assert found == {**timed, "updates": 3600}
    assert len(calls) == 2 and all({"--disable-validation", "--no-save"} < set(command) for command in calls)
    assert sweep.with_updates(Path("text"), "leap", {**timed, "cpu_minutes": 0.5}, options(tmp_path))["updates"] == 60
    assert len(calls) == 2
    sweep.with_updates(Path("text"), "leap", timed, options(tmp_path, "--lr 1"))
    sweep.with_updates(Path("text"), "relu", timed, options(tmp_path))
    assert len(calls) == 6


def test_a_number_of_updates_is_left_alone(sweep, calls, tmp_path):
    """Also by its fields: runs that are there keep theirs."""
    given = {**BUDGET, "updates": 7}
    assert sweep.with_updates(Path("text"), "leap", given, options(tmp_path)) == given and not calls


def test_too_small_a_model_is_refused(sweep, tmp_path, monkeypatch):
    def call(command, log, mode="w"):
        log.write_text("")
        return {"peak_mib": 1.0, "cpu_seconds": 8.0}

    monkeypatch.setattr(sys.modules["training_runs"], "call", call)
    with pytest.raises(RuntimeError, match="12 updates took no longer than 2: give --updates"):
        sweep.with_updates(Path("text"), "leap", {**BUDGET, "cpu_minutes": 1.0}, options(tmp_path))


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x"])
def test_no_time_is_refused(sweep, text):
    with pytest.raises(argparse.ArgumentTypeError, match="minutes above 0"):
        sweep.minutes(text)
