"""The comparisons of scripts/: what is refused before a run is made or removed, and one job for each folder."""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.version import VersionBase
from omegaconf import OmegaConf

from leap_fairseq.cli import command
from leap_fairseq.files import DataError

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture
def data(tmp_path):
    """As much of a prepared folder as the comparisons look at before they train."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "config_st.yaml").touch()
    return folder


@pytest.mark.parametrize(
    "name, options",
    [
        ("lm/compare", "--updates --jobs"),
        ("simulst/compare", "--updates --jobs --ratio --waitk-lagging"),
        ("lra/sweep", "--updates --jobs --batch-size --eval-samples"),
    ],
)
def test_counts_below_one_are_refused(script, data, tmp_path, capsys, name, options):
    module, out = script(name), tmp_path / "out"
    places = (out, data) if name == "lra/sweep" else (data, out)
    for option in options.split():
        for count in ("0", "-1", "x"):
            with pytest.raises(SystemExit) as end:
                command.main(module, [*map(str, places), option, count])
            assert end.value.code == 2 and not out.exists()
            assert f"argument {option}: {count!r} must be a number of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, message",
    [
        (["--train-lagging", "0-3"], "--train-lagging '0-3' must be a number of at least 1 such as 3, or a range"),
        (["--train-lagging", "5-3"], "--train-lagging '5-3' must be"),
        (["--lr", "1e-3", "0"], "--lr '0' must be a number above 0"),
        (["--lr", "-1"], "--lr '-1' must be a number above 0"),
        (["--lr", "nan"], "--lr 'nan' must be a number above 0"),
        (["--lr", "fast"], "--lr 'fast' must be a number above 0"),
        (["--models", "relu+softmax"], "--models 'relu+softmax' must be one kind, or three"),
    ],
)
def test_what_no_translator_can_be_trained_with_is_refused(script, data, tmp_path, capsys, options, message):
    words = [str(data), str(tmp_path / "out"), *options]
    assert command.main(script("simulst/compare"), words) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_wrong_name_of_the_data_does_not_remove_the_runs_of_the_right_one(script, data, tmp_path, capsys):
    words = [str(tmp_path / "dta"), str(tmp_path / "out")]
    assert command.main(script("simulst/compare"), words) == 1
    assert f"{tmp_path}/dta has no config_st.yaml: give the folder that" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


TWICE = "--seeds 3 1 3 --jobs 1".split()


def noted(monkeypatch, module, **others):
    """The jobs that a comparison would run, those of one call of `run_all` in a list."""
    calls = []
    monkeypatch.setattr(module, "run_all", lambda run, jobs, count: calls.append([job[:-1] for job in jobs]))
    for name, result in {"report": "", **others}.items():
        monkeypatch.setattr(module, name, lambda *_, result=result: result)
    return calls


def test_a_folder_has_one_job_in_a_comparison_of_language_models(script, monkeypatch, tmp_path):
    module = script("lm/compare")
    calls = noted(monkeypatch, module, prepare=None)
    assert command.main(module, ["text", str(tmp_path), "--models", "relu", "leap", "relu", *TWICE]) == 0
    assert calls == [[("relu", 3), ("leap", 3), ("relu", 1), ("leap", 1)]]


def test_a_folder_has_one_job_in_a_comparison_of_translators(script, monkeypatch, data, tmp_path):
    module = script("simulst/compare")
    calls = noted(monkeypatch, module, best_rate="2e-3")
    options = ["--models", "relu", "leap", "relu", "--lr", "2e-3", "1e-3", "2e-3", *TWICE]
    reported = []
    monkeypatch.setattr(module, "report", lambda options: reported.append((options.models, options.seeds)))
    assert command.main(module, [str(data), str(tmp_path / "out"), *options]) == 0
    first = [(model, rate, 3) for model in ("relu", "leap") for rate in ("2e-3", "1e-3")]
    assert calls == [first, [("relu", "2e-3", 1), ("leap", "2e-3", 1)]]
    # Else a seed would count twice in mean and deviation.
    assert reported == [(["relu", "leap"], [3, 1])]


def test_a_folder_has_one_job_in_a_sweep(script, monkeypatch, tmp_path):
    module = script("lra/sweep")
    calls = noted(monkeypatch, module, budgets=[{}], is_complete=True)
    options = [str(tmp_path), str(tmp_path / "text"), "--attention", "relu", "leap", "relu", *TWICE]
    assert command.main(module, options) == 0
    assert [job[1:3] for job in calls[0]] == [("relu", 3), ("leap", 3), ("relu", 1), ("leap", 1)]


def test_an_empty_part_is_not_the_whole_sweep(script, tmp_path):
    module = script("lra/sweep")
    options = command.command_parser(module).parse_args([str(tmp_path), str(tmp_path / "text"), "--part", ""])
    with pytest.raises(DataError, match="--part is '', but must be I/N"):
        module.run(options)


SHELL = {"NODES": "2", "NODE": "1", "PROCESSES": "3", "KEPT": "yes"}
"""What the user has exported for another script."""
SHOWN = 'echo "${NODES:-1} ${NODE:-0} ${PROCESSES:-1} $KEPT"; exit 3'


def ended(clone, monkeypatch, name, *args, **programs):
    """How a script of scripts/ ends in a clone that has these programs beside it, by their paths in scripts/."""
    for each, text in {name: None, **programs}.items():
        place = clone / "scripts" / each
        place.parent.mkdir(parents=True, exist_ok=True)
        text = (SCRIPTS / each).read_text(encoding="utf-8") if text is None else f"#!/usr/bin/env bash\n{text}\n"
        place.write_text(text, encoding="utf-8")
        place.chmod(0o755)
    for variable, value in {**SHELL, "PATH": f"{clone}/scripts:{os.environ['PATH']}"}.items():
        monkeypatch.setenv(variable, value)
    done = subprocess.run(["bash", clone / "scripts" / name, *args], capture_output=True, text=True)
    return done.returncode, done.stdout.splitlines()[-1:]


def test_the_demo_is_one_of_this_machine_alone(monkeypatch, tmp_path):
    assert ended(tmp_path, monkeypatch, "demo.sh", **{"setup.sh": SHOWN}) == (3, ["1 0 1 yes"])


def test_the_example_is_trained_by_this_machine_alone(monkeypatch, tmp_path):
    programs = {"environment.sh": None, "simulst/train.sh": SHOWN, "fairseq-train": "", "python": ""}
    made = ended(tmp_path, monkeypatch, "simulst/make_example.sh", str(tmp_path / "work"), **programs)
    assert made == (3, ["1 0 1 yes"])
    # An OUT without a name is not that of the example which is there.
    for places in (["work", ""], [""], [], ["a", "b", "c"]):
        assert ended(tmp_path, monkeypatch, "simulst/make_example.sh", *places, **programs) == (2, [])


def test_a_training_of_a_sweep_by_hydra_is_one_of_its_job_alone(script, monkeypatch, tmp_path):
    # The script asks for the ways of another hydra than fairseq does.
    monkeypatch.setattr(VersionBase.instance(), "version_base", VersionBase.instance().getbase())
    sweep, (out, program) = script("cluster/sweep"), (tmp_path / "out", tmp_path / "train.sh")
    program.write_text(SHOWN.replace("exit 3", ""), encoding="utf-8")
    for name, value in SHELL.items():
        monkeypatch.setenv(name, value)
    settings = {"script": str(program), "data": "data", "out": str(out), "options": {"seed": 1}, "more": ""}
    sweep.main.__wrapped__(OmegaConf.create(settings))
    # As many processes as the user says: those of its machine.
    assert (out / "seed=1/train.log").read_text(encoding="utf-8") == "1 0 3 yes\n"


def test_a_training_is_one_of_this_machine_alone(script, monkeypatch, tmp_path):
    """Whatever the shell says that another script is to do."""
    training_runs = script("training_runs")
    for name, value in SHELL.items():
        monkeypatch.setenv(name, value)
    training_runs.call(["env"], tmp_path / "log")
    found = dict(line.split("=", 1) for line in (tmp_path / "log").read_text().splitlines() if "=" in line)
    assert found["PATH"] == os.environ["PATH"]
    assert {name: found[name] for name in SHELL if name in found} == {"PROCESSES": "3", "KEPT": "yes"}


@pytest.fixture
def sweep(script):
    return script("lra/sweep")


@pytest.fixture
def calls(sweep, monkeypatch):
    """The commands of trainings that start in 8 seconds of CPU time, and need half a second for an update."""
    made = []

    def call(command, log, mode="w", locks=()):
        made.append(command)
        log.write_text("")
        return {"peak_mib": 1.0, "cpu_seconds": 8 + 0.5 * int(command[command.index("--max-update") + 1])}

    monkeypatch.setattr(sys.modules["training_runs"], "call", call)
    return made


def of_sweep(tmp_path, *more):
    return argparse.Namespace(out=tmp_path, options=" ".join(more), cuda=False)


BUDGET = {"batch_size": 8, "eval_samples": None, "facts": {}}


@pytest.fixture
def text(tmp_path):
    """As much of a task's folder as the speed of an attention is kept for."""
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "lra.json").write_text("short")
    return folder


def test_the_updates_of_a_time_are_measured_once(sweep, calls, text, tmp_path):
    timed = {**BUDGET, "cpu_minutes": 30.0}
    for _ in range(2):
        found = sweep.with_updates(text, "leap", timed, of_sweep(tmp_path))
        assert found == {**timed, "updates": 3600}
    assert len(calls) == 2 and all({"--disable-validation", "--no-save"} < set(command) for command in calls)
    assert sweep.with_updates(text, "leap", {**timed, "cpu_minutes": 0.5}, of_sweep(tmp_path))["updates"] == 60
    assert len(calls) == 2
    sweep.with_updates(text, "leap", timed, of_sweep(tmp_path, "--lr 1"))
    sweep.with_updates(text, "relu", timed, of_sweep(tmp_path))
    assert len(calls) == 6
    # Made again in the same folder, with longer sequences.
    (text / "lra.json").write_text("long")
    sweep.with_updates(text, "relu", timed, of_sweep(tmp_path))
    assert len(calls) == 8


def test_a_number_of_updates_is_left_alone(sweep, calls, tmp_path):
    """Also by its fields: runs that are there keep theirs."""
    given = {**BUDGET, "updates": 7}
    assert sweep.with_updates(Path("text"), "leap", given, of_sweep(tmp_path)) == given and not calls


def test_too_small_a_model_is_refused(sweep, text, tmp_path, monkeypatch):
    def call(command, log, mode="w", locks=()):
        log.write_text("")
        return {"peak_mib": 1.0, "cpu_seconds": 8.0}

    monkeypatch.setattr(sys.modules["training_runs"], "call", call)
    with pytest.raises(RuntimeError, match="12 updates took no longer than 2: give --updates"):
        sweep.with_updates(text, "leap", {**BUDGET, "cpu_minutes": 1.0}, of_sweep(tmp_path))


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "x"])
def test_no_time_is_refused(sweep, text):
    with pytest.raises(argparse.ArgumentTypeError, match="minutes above 0"):
        sweep.minutes(text)
