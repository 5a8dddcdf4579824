"""An evaluation in several processes: divided, put together, resumed, and never mixed with another."""

import concurrent.futures
import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import fake_simuleval
import pytest

from leap_fairseq.agents import evaluation
from leap_fairseq.agents.evaluation import Evaluation
from leap_fairseq.files import DataError
from leap_fairseq.scoring.instances import read_instances


@pytest.fixture
def command():
    return [sys.executable, fake_simuleval.__file__]


SOURCES = [f"{number}.wav" for number in range(23)]
REFERENCES = [f"Satz {number}" for number in range(23)]


def evaluate(out, **facts):
    return Evaluation(out, SOURCES, REFERENCES, {"k": 3, **facts})


def check(out):
    instances = read_instances(out)
    assert [i.index for i in instances] == list(range(23))
    assert [i.prediction for i in instances] == [f"of {source}" for source in SOURCES]
    assert [i.reference for i in instances] == REFERENCES
    assert sorted(path.name for path in Path(out).iterdir()) == ["evaluation.json", "instances.log"]


@pytest.mark.parametrize("jobs", [1, 2, 5, 40])
def test_any_number_of_jobs_gives_the_same_log(tmp_path, command, jobs):
    assert evaluate(tmp_path / "one").run(command, 1) == 23
    assert evaluate(tmp_path / "out").run(command, jobs) == 23
    check(tmp_path / "out")
    assert (tmp_path / "out/instances.log").read_bytes() == (tmp_path / "one/instances.log").read_bytes()


def test_long_lists_are_divided_further(tmp_path, command, monkeypatch):
    parts, prepare = [], Evaluation._prepare
    monkeypatch.setattr(Evaluation, "_prepare", lambda *given: (parts.append(given[2]), prepare(*given))[1])
    assert evaluate(tmp_path / "out").run(command, 2, most=4) == 23
    assert len(parts) == 6 and max(map(len, parts)) == 4
    check(tmp_path / "out")


def test_a_failed_job_is_named_and_only_what_is_missing_runs_again(tmp_path, command, caplog):
    out = tmp_path / "out"
    with pytest.raises(DataError, match="simuleval ended with 1: no recording at 10.wav"):
        evaluate(out).run([*command, "--stop-at", "10.wav"], 1)
    assert [i.index for i in read_instances(out)] == list(range(10))
    # What a killed process leaves: a job that nobody collected, and a last line that breaks off.
    job = out / ".jobs" / "0"
    (job / "out").mkdir(parents=True)
    (job / "indices.json").write_text("[15, 17]", encoding="utf-8")
    line = json.loads((out / "instances.log").read_text(encoding="utf-8").splitlines()[0])
    whole = json.dumps({**line, "index": 0, "prediction": "of 15.wav", "reference": "Satz 15"})
    (job / "out/instances.log").write_text(whole + '\n{"index": 1, "predic', encoding="utf-8")
    assert evaluate(out).run(command, 2) == 23 - 10 - 1
    check(out)
    assert "breaks off" in caplog.text
    assert evaluate(out).run(["command", "that", "is", "not", "run"], 1) == 0


def test_nothing_begins_after_a_failure(tmp_path, command, monkeypatch):
    """However late the thread that waits for the jobs hears of it, as at Ctrl-C, which ends the jobs before."""
    heard = evaluation.completed

    def late(futures):
        concurrent.futures.wait(futures)
        return heard(futures)

    monkeypatch.setattr(evaluation, "completed", late)
    with pytest.raises(DataError, match="no recording at 10.wav"):
        evaluate(tmp_path / "out").run([*command, "--stop-at", "10.wav"], 1, most=4)
    # Of six parts of every sixth sentence, the fifth has it.
    assert [i.index % 6 for i in read_instances(tmp_path / "out")].count(5) == 0


def test_another_evaluation_is_refused(tmp_path, command):
    evaluate(tmp_path / "out").run(command, 1)
    with pytest.raises(DataError, match="holds an evaluation of k 3, not 5: give a new folder"):
        evaluate(tmp_path / "out", k=5)
    with pytest.raises(DataError, match="an evaluation of lists"):
        Evaluation(tmp_path / "out", SOURCES, REFERENCES[::-1], {"k": 3})
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match="not an evaluation of ours"):
        evaluate(tmp_path / "notes")


def test_what_is_noted_for_the_scores_decides_nothing(tmp_path):
    first = Evaluation(tmp_path / "out", SOURCES, REFERENCES, {"k": 3}, {"--tgt-lang": "de"})
    text = (first.out / "evaluation.json").read_text(encoding="utf-8")
    assert json.loads(text)["--tgt-lang"] == "de"
    for notes in (None, {"--tgt-lang": "fr"}):
        Evaluation(tmp_path / "out", SOURCES, REFERENCES, {"k": 3}, notes)
    assert (first.out / "evaluation.json").read_text(encoding="utf-8") == text
    (first.out / "evaluation.json").write_text(text[:40], encoding="utf-8")
    with pytest.raises(ValueError, match="evaluation.json is damaged"):
        evaluate(tmp_path / "out")


@pytest.mark.timeout(120)
def test_jobs_of_a_killed_evaluation_keep_the_next_one_out(tmp_path, command):
    """Else it would read and remove what they are still writing."""
    out = tmp_path / "out"
    waiting = ["sh", "-c", f'echo $$ >>{tmp_path}/jobs; exec "$@"', "sh", *command, "--seconds", "60"]
    process = multiprocessing.get_context("fork").Process(target=evaluate(out).run, args=(waiting, 2))
    process.start()
    while len(list(out.glob(".jobs/*/out/options.json"))) < 2:
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    try:
        with pytest.raises(DataError, match="another process is writing the evaluation in .*out: wait for it"):
            evaluate(out).run(command, 2)
    finally:
        for job in (tmp_path / "jobs").read_text().split():
            os.kill(int(job), signal.SIGKILL)
    while True:
        try:
            assert evaluate(out).run(command, 2) == 23
            break
        except DataError:
            time.sleep(0.01)
    check(out)


def test_two_at_once_are_refused(tmp_path, command):
    with (
        evaluate(tmp_path / "out").locked(),
        pytest.raises(DataError, match="another process is writing the evaluation"),
    ):
        evaluate(tmp_path / "out").run(command, 1)
    assert evaluate(tmp_path / "out").run(command, 1) == 23


def test_wrong_lists_and_jobs_are_named(tmp_path, command):
    with pytest.raises(DataError, match="the source list has 23 lines and the target list 22"):
        Evaluation(tmp_path / "out", SOURCES, REFERENCES[1:], {})
    with pytest.raises(DataError, match="not empty"):
        Evaluation(tmp_path / "out", [], [], {})
    with pytest.raises(DataError, match="--jobs"):
        evaluate(tmp_path / "out").run(command, 0)
