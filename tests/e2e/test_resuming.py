"""Trainings in processes that are stopped and killed: their weights are those of one that was left alone.

Run as a script, it trains in processes that it kills while they save, and at last in one that it lets end.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from lm_runs import differing, files, weights

KILLS = 4


@pytest.fixture(scope="module")
def two_processes(environment, elsewhere, commands):
    """A function: runs fairseq-train in two processes, which end well."""

    def free_port():
        with socket.socket() as any_port:
            any_port.bind(("localhost", 0))
            return any_port.getsockname()[1]

    def run(options):
        shared = f"--distributed-world-size 2 --distributed-init-method tcp://localhost:{free_port()}"
        fixed = "--ddp-backend legacy_ddp --distributed-backend gloo --distributed-no-spawn"
        command = [commands / "fairseq-train", *options, *shared.split(), *fixed.split()]
        # Not pipes: the one that is not read would fill, and both processes would wait.
        outputs = [elsewhere / f"rank{rank}.log" for rank in range(2)]
        started = [
            subprocess.Popen(
                [*map(str, command), "--distributed-rank", str(rank)],
                **{"cwd": elsewhere, "env": environment, "stdout": output.open("w"), "stderr": subprocess.STDOUT},
            )
            for rank, output in enumerate(outputs)
        ]
        try:
            # One that fails leaves the other waiting.
            while None in (codes := [process.poll() for process in started]) and not any(codes):
                time.sleep(0.05)
        finally:
            for process in started:
                process.kill()
                process.wait()
        texts = [output.read_text() for output in outputs]
        assert codes == [0, 0], "\n".join(text[-3000:] for text in texts)
        return texts[0]

    return run


WAYS = {
    "language_modeling": ("--task", "language_modeling", "--dropout", 0.1),
    "carried": ("--carry-state", "--batch-size", 16, "--dropout", 0.1),
}


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_that_are_stopped(two_processes, lm_options, tmp_path, way):
    options = (*WAYS[way], "--disable-validation", "--save-interval-updates", 4, "--keep-interval-updates", 1)
    for folder, stops in (("straight", (12,)), ("stopped", (7, 12))):
        for updates in stops:
            output = two_processes(lm_options(tmp_path / folder, updates, *options))
    assert "begin training epoch 1\n" not in output
    assert differing(weights(tmp_path / "stopped"), weights(tmp_path / "straight")) == []


def test_two_processes_that_have_finished(two_processes, lm_options, tmp_path):
    options = lm_options(tmp_path, 3, "--disable-validation")
    two_processes(options)
    before = files(tmp_path)
    assert "nothing is left to train" in two_processes(options)
    assert files(tmp_path) == before and "checkpoint_last.pt" in before


def test_a_training_that_is_killed_while_it_saves(run_forked, lm_options, tmp_path):
    options = (*WAYS["carried"], "--save-interval-updates", 1, "--keep-interval-updates", 2)
    run_forked("fairseq-train", *lm_options(tmp_path / "straight", 24, *WAYS["carried"], "--disable-validation"))
    output = run_forked(__file__, tmp_path / "killed", *lm_options(tmp_path / "killed", 24, *options)).output
    assert output.count("killed:") == KILLS
    assert differing(weights(tmp_path / "killed"), weights(tmp_path / "straight")) == []


def train_among_kills(folder, options):
    from fairseq_cli import train

    sys.argv = ["fairseq-train", *options]
    for kill in range(KILLS):
        before = saved(folder)
        child = os.fork()
        if child == 0:
            train.cli_main()
            os._exit(1)
        while saved(folder) == before:
            assert os.waitpid(child, os.WNOHANG) == (0, 0), "it ended before it was killed"
            time.sleep(0.001)
        time.sleep(0.01 * kill)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print(f"killed: {saved(folder)}", flush=True)
    train.cli_main()


def saved(folder):
    """The files of a folder, and their sizes; the folder comes and its files go while this is looking."""
    try:
        return sorted((entry.name, entry.stat().st_size) for entry in os.scandir(folder) if ".pt" in entry.name)
    except FileNotFoundError:
        return []


if __name__ == "__main__":
    train_among_kills(sys.argv[1], sys.argv[2:])
