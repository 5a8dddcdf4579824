"""The command that evaluates a test set, with a stand-in for SimulEval: what it is told, and what comes of it."""

import json
import os
import signal
import subprocess
import sys
import time

import fake_simuleval
import pytest

from leap_fairseq.agents import evaluation
from leap_fairseq.cli import main
from leap_fairseq.report.tables import read_tsv


@pytest.fixture
def lists(tmp_path):
    """The lists of five recordings."""
    (tmp_path / "eval.wav_list").write_text("".join(f"{number}.wav\n" for number in range(5)))
    (tmp_path / "eval.target").write_text("".join(f"of {number}.wav\n" for number in range(5)))
    return tmp_path / "eval"


@pytest.fixture
def told(monkeypatch):
    """The words of each call of simuleval."""
    words, run_all = [], evaluation.Evaluation._run_all

    def noted(self, command, folders, jobs):
        words.append(command[2:])
        run_all(self, command, folders, jobs)

    monkeypatch.setattr(evaluation.Evaluation, "_run_all", noted)
    monkeypatch.setattr(evaluation, "simuleval_command", lambda: [sys.executable, fake_simuleval.__file__])
    # A test must not change what its process does at SIGTERM.
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return words


def option(words, name):
    return words[words.index(name) + 1]


def test_defaults_are_the_models_own_policy(model, lists, told, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["evaluate", str(model), str(lists), str(out)]) == 0
    (words,) = told
    assert option(words, "--test-waitk-lagging") == "9" and option(words, "--source-segment-size") == "160"
    assert option(words, "--model-path") == str(model) and option(words, "--eval-latency-unit") == "word"
    (row,) = read_tsv(out / "table.tsv")
    assert (row["model"], row["waitk"], row["sentences"]) == ("leap", 9, 5) and row["BLEU"] > 0
    assert json.loads((out / "table.json").read_text())[0]["waitk"] == 9
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3 and printed[0].split()[:2] == ["model", "waitk"] and "tok:13a" in printed[2]
    assert not (out / "quality_latency.png").exists()


def test_several_k_have_folders_a_table_and_a_curve(model, lists, told, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    options = "--waitk-lagging 3 1 --jobs 2 --label mine --segment-ms 80 --dtype bf16"
    words = ["evaluate", str(model), str(lists), str(out), *options.split()]
    assert main(words) == 0
    assert [option(given, "--test-waitk-lagging") for given in told[-2:]] == ["3", "1"]
    assert all("--bf16" in given and option(given, "--source-segment-size") == "80" for given in told)
    assert [(row["model"], row["waitk"]) for row in read_tsv(out / "table.tsv")] == [("mine", 1), ("mine", 3)]
    assert (out / "k1/instances.log").is_file() and (out / "quality_latency.png").stat().st_size > 5000
    count = len(told)
    assert main(words) == 0 and len(told) == count


def test_another_evaluation_in_the_folder_is_refused(model, lists, told, tmp_path, capsys):
    words = ["evaluate", str(model), str(lists), str(tmp_path / "out"), "--waitk-lagging"]
    assert main([*words, "1"]) == 0 and main([*words, "2"]) == 1
    assert "holds an evaluation of --test-waitk-lagging 1, not 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given, message",
    [
        (["MODEL", "gone", "out"], "gone.wav_list is missing: LISTS is what leap-fairseq prepare lists wrote"),
        (["gone", "LISTS", "out"], "no checkpoint at gone"),
        (["MODEL", "LISTS", "out", "--long-form"], "eval.tsv"),
        (["MODEL", "LISTS", "out", "--jobs", "0"], "must be 1 or more (--jobs)"),
        (["MODEL", "LISTS", "out", "--latency-unit", "spm"], "--latency-unit spm needs --spm-model"),
    ],
)
def test_errors_are_one_line(model, lists, told, tmp_path, monkeypatch, capsys, given, message):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *({"MODEL": str(model), "LISTS": str(lists)}.get(word, word) for word in given)]) == 1
    (error,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert message in error and not told


def test_a_request_to_end_reaches_the_jobs(model, lists, tmp_path):
    """Of the command in a process of its own: exit code 143, and no job goes on."""
    program = (
        "import sys; from leap_fairseq.agents import evaluation; from leap_fairseq.cli import main; "
        f"evaluation.simuleval_command = lambda: [sys.executable, {fake_simuleval.__file__!r}, '--seconds', '60']; "
        "sys.exit(main(['evaluate', *sys.argv[1:]]))"
    )
    command = [sys.executable, "-c", program, str(model), str(lists), str(tmp_path / "out")]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        begun = tmp_path / "out/.jobs/0/out/options.json"
        while not begun.is_file():
            assert process.poll() is None
            time.sleep(0.05)
        job = next(int(pid) for pid in os.listdir("/proc") if pid.isdecimal() and is_job(pid, tmp_path))
        process.terminate()
        assert process.wait(30) == 143
    assert not os.path.exists(f"/proc/{job}")


def is_job(pid, folder):
    try:
        words = open(f"/proc/{pid}/cmdline").read()
    except OSError:
        return False
    return fake_simuleval.__file__ in words and str(folder) in words and "-c" not in words.split("\0")
