"""Work that jobs share: what each one's part is, on a command line and as a job of an array."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from leap_fairseq.files import DataError
from leap_fairseq.parts import Part, listed, parts_in

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("count, length", [(1, 5), (3, 10), (4, 3), (7, 0), (5, 5)])
def test_parts_are_the_whole_in_order(count, length):
    stretches = [part.of(length) for part in Part(0, count).all()]
    assert [index for stretch in stretches for index in stretch] == list(range(length))
    assert max(map(len, stretches)) - min(map(len, stretches)) <= 1


def test_names(tmp_path):
    assert str(Part.parse(" 10/12 ")) == "10/12" and Part.parse("0/1") == Part(0, 1)
    for part in (Part(10, 12), Part(2, 12), Part(1, 3)):
        (tmp_path / part.folder).mkdir()
    (tmp_path / "x-of-3").mkdir()
    assert parts_in(tmp_path) == [Part(1, 3), Part(2, 12), Part(10, 12)] and parts_in(tmp_path / "gone") == []
    assert listed(Part(0, 12).all(), 2) == "--part 0/12, 1/12, ..."
    for wrong in ("", "1", "1/1", "0/0", "1/2/3", "-1/2", "a/b", "0/1000000"):
        with pytest.raises(DataError, match="must be I/N, job I of N, counted from 0: 0/4 to 3/4"):
            Part.parse(wrong)


def submitted(*words, **variables):
    """Runs the body of the sbatch file of arrays with the variables of a job; returns its exit code and output."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    command = ["bash", "scripts/cluster/array.sbatch", *words]
    ended = subprocess.run(command, cwd=ROOT, env={"PATH": path, **variables}, capture_output=True, text=True)
    return ended.returncode, ended.stdout + ended.stderr


def test_a_job_of_an_array_does_its_part():
    job = {"SLURM_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8"}
    assert submitted("echo", "a b", **job) == (0, "a b --part 3/8\n")
    # One that is done again, alone.
    assert submitted("echo", **{**job, "SLURM_ARRAY_TASK_COUNT": "1"}, JOBS="8") == (0, "--part 3/8\n")
    assert submitted("false", **job)[0] == 1 and submitted(**job)[0] == 2
    # Of its own machines a job knows nothing, whatever the shell that submits it has exported.
    shown = submitted("bash", "-c", 'echo "${NODES:-alone} ${NODE:-alone} $*"', "bash", **job, NODES="2", NODE="1")
    assert shown == (0, "alone alone --part 3/8\n")
    assert submitted("echo") == (1, "error: this is no job of an array: give sbatch --array=0-7\n")


@pytest.mark.parametrize("script", ["simulst/evaluate.sh", "simulst/sweep.sh", "lra/sweep.sh"])
def test_the_part_of_the_command_line_comes_before_that_of_the_machine(tmp_path, script):
    """For argparse, the last one counts."""
    (tmp_path / "python").write_text('#!/usr/bin/env bash\necho "$@"\n', encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    path = os.pathsep.join((str(tmp_path), str(Path(sys.executable).parent), os.environ["PATH"]))
    command = ["bash", ROOT / "scripts" / script, "a", "b", "c", "--part", "1/4"]
    environment = {"PATH": path, "NODES": "2", "NODE": "0"}
    said = subprocess.run(command, env=environment, capture_output=True, text=True).stdout.split()
    assert said.count("--part") == 2 and said[-2:] == ["--part", "1/4"]


@pytest.mark.parametrize(
    "variables, part", [({}, ""), ({"NODES": "1"}, ""), ({"NODES": "4", "NODE": "2"}, "--part 2/4")]
)
def test_a_machine_of_several_does_its_part(variables, part):
    command = 'source scripts/environment.sh; echo "$(part_of_node)"'
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    ended = subprocess.run(["bash", "-c", command], cwd=ROOT, env={"PATH": path, **variables}, capture_output=True)
    assert ended.stdout.decode() == f"{part}\n"
