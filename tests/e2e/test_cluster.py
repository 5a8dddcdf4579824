"""Jobs of a cluster, sweeps, and machines that fail and return.

A cluster's commands are small ones of this file's own; two machines are two of this one's loopback interface.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from lm_runs import differing, weights
from preloading import ROOT
from small_training import SMALL, TRAIN, programs

SCRIPTS = Path(sys.executable).parent
CLUSTER = ROOT / "scripts/cluster"
LONG = (*SMALL, *"--dropout 0.1 --max-update 80 --save-interval-updates 5 --keep-interval-updates 1".split())
SLURM = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "3"}
COMMANDS = {
    "scontrol": """
        echo "scontrol $*" >>"$CALLS"
        [ "$1" = requeue ] || printf "localhost\\nn2\\n"
        [ "$1" != requeue ] || [ -z "${ENDS:-}" ] || { touch "$ENDS"; sleep 1; }
    """,
    # Two tasks, as of two machines.
    "srun": 'shift; SLURM_NODEID=1 "$@" & other=$!; SLURM_NODEID=0 "$@"; wait $other',
}


def free_port():
    with socket.socket() as any_port:
        any_port.bind(("localhost", 0))
        return any_port.getsockname()[1]


@pytest.fixture
def submitted(environment, commands, tmp_path):
    """A function: starts the body of a sbatch file, as SLURM does."""
    (tmp_path / "commands").mkdir()
    path = (programs(tmp_path / "commands", **COMMANDS), commands, environment["PATH"])
    variables = {**environment, **SLURM, "CALLS": str(tmp_path / "calls"), "PATH": os.pathsep.join(map(str, path))}
    started = []

    def start(name, *args, cwd=ROOT, **more):
        # SLURM runs a copy of it.
        copied = tmp_path / "slurm_script"
        copied.write_bytes((CLUSTER / name).read_bytes())
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
        command = ["bash", str(copied), *map(str, args)]
        started.append(subprocess.Popen(command, cwd=cwd, env={**variables, **more}, **output))
        return started[-1]

    yield start
    for job in started:
        # What a test that failed has left.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
        job.wait()


def test_jobs_of_a_cluster(submitted, tmp_path):
    script = programs(tmp_path, script='echo "$NODE of $NODES, $MASTER, $RESTARTS, $SRUN_CPUS_PER_TASK: $*"') / "script"
    job = submitted("several_nodes.sbatch", script, "DATA", "a b")
    lines = sorted(job.communicate()[0].splitlines())
    assert lines == [f"{node} of 2, localhost:20007, 3, 3: DATA a b" for node in (0, 1)] and job.returncode == 0
    assert (tmp_path / "calls").read_text() == "scontrol show hostnames n[1-2]\n"
    script.write_text('echo "${NODES:-alone} ${RESTARTS:-}: $*"; exit 3', encoding="utf-8")
    job = submitted("one_node.sbatch", script, "DATA", RESTARTS="2", NODES="2", NODE="1")
    assert job.communicate()[0] == "alone 2: DATA\n" and job.returncode == 3
    for name in ("one_node.sbatch", "several_nodes.sbatch"):
        job = submitted(name)
        assert f"scripts/cluster/{name} scripts/lm/train.sh" in job.communicate()[0] and job.returncode == 2
    for name in ("one_node.sbatch", "several_nodes.sbatch", "array.sbatch"):
        job = submitted(name, script, cwd=tmp_path)
        assert f"error: {tmp_path} is not the root of the repository" in job.communicate()[0] and job.returncode == 1


@pytest.mark.parametrize("when", ["before SLURM ends it", "while it is put back"])
def test_a_job_whose_time_ends_goes_back_into_the_queue(submitted, tmp_path, when):
    """The exit code is that of its training, whenever that ends."""
    script = programs(tmp_path, script="echo begun; until [ -f end ]; do sleep 0.1; done; exit 5") / "script"
    script.write_text(script.read_text().replace("-f end", f"-f '{tmp_path}/end'"), encoding="utf-8")
    ends = {"ENDS": f"{tmp_path}/end"} if when == "while it is put back" else {}
    job = submitted("one_node.sbatch", script, **ends)
    assert job.stdout.readline() == "begun\n"
    job.send_signal(signal.SIGUSR1)
    assert "goes back into the queue" in job.stdout.readline()
    if not ends:
        # The training goes on.
        assert job.poll() is None
        (tmp_path / "end").touch()
    job.communicate()
    assert job.returncode == 5 and (tmp_path / "calls").read_text() == "scontrol requeue 7\n"


def test_a_sweep(run_forked, tmp_path):
    script = programs(tmp_path, script='echo "$*"; [ "$4" != 0 ]') / "script"
    options = ("+options.seed=0,1", "+options.fp16=true", "+options.kind=relu,null", "more=\"--a 'b c'\"")
    sweep = (CLUSTER / "sweep.py", f"script={script}", "data=DATA", f"out={tmp_path}/out")
    output = run_forked(*sweep, *options, code=1).output
    assert "the training ended with 1" in output and "seed=0_fp16=True_kind=relu/train.log ends with" in output
    folder = tmp_path / "out/seed=1_fp16=True_kind="
    said = {kind: open(f"{folder}{kind}/train.log", encoding="utf-8").read() for kind in ("relu", "None")}
    assert said == {
        "relu": f"DATA {folder}relu --seed 1 --fp16 --kind relu --a b c\n",
        "None": f"DATA {folder}None --seed 1 --fp16 --a b c\n",
    }
    assert "script" in run_forked(CLUSTER / "sweep.py", "data=a", "out=b", code=1, cwd=tmp_path).output


@pytest.fixture
def machine(environment, lm_data, tmp_path):
    """A function: starts the training of a folder on one of two machines; torchrun takes over the process."""
    started = []

    def start(node, port):
        where = {"NODES": "2", "NODE": str(node), "MASTER": f"127.0.0.1:{port}", "ADDRESS": "127.0.0.1"}
        path = os.pathsep.join((str(SCRIPTS), environment["PATH"]))
        variables = {**environment, "PATH": path, "CUDA_VISIBLE_DEVICES": "", "RESTARTS": "3", **where}
        command = ["bash", TRAIN, lm_data, tmp_path / "killed", *LONG]
        with (tmp_path / f"{node}.log").open("a") as log:
            started.append(subprocess.Popen(list(map(str, command)), env=variables, stdout=log, stderr=log))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            kill(process)


def trained_in(machine):
    """The processes that train there."""
    return list(map(int, Path(f"/proc/{machine.pid}/task/{machine.pid}/children").read_text().split()))


def kill(machine):
    """As a machine that loses its power: torchrun and what it has started."""
    workers = trained_in(machine)
    for process in (machine.pid, *workers):
        os.kill(process, signal.SIGKILL)
    machine.wait()


def wait_for_session(folder, count, machines):
    """Until a training was started so many times, and has saved what it began with or more."""
    while not (folder / "run.json").exists() or not list(folder.glob("*.pt")):
        assert_running(machines)
        time.sleep(0.02)
    while True:
        assert_running(machines)
        sessions = json.loads((folder / "run.json").read_text(encoding="utf-8"))["sessions"]
        if len(sessions) == count and sessions[-1]["updates"] > sessions[-1]["first_update"]:
            return
        time.sleep(0.02)


def assert_running(machines):
    assert [machine.poll() for machine in machines] == [None] * len(machines), "a machine gave up"


@pytest.mark.exhaustive
def test_a_machine_that_fails_and_returns(submitted, machine, lm_data, tmp_path):
    """A process is killed, and later all of its machine; the weights are those of a job that was left alone."""
    real = {"PATH": os.pathsep.join((str(tmp_path / "commands"), str(SCRIPTS), os.environ["PATH"]))}
    job = submitted("several_nodes.sbatch", TRAIN, lm_data, tmp_path / "straight", *LONG, **real)
    output = job.communicate()[0]
    assert job.returncode == 0, output[-3000:]
    killed, port = tmp_path / "killed", free_port()
    machines = [machine(node, port) for node in range(2)]
    wait_for_session(killed, 1, machines)
    os.kill(*trained_in(machines[1]), signal.SIGKILL)
    wait_for_session(killed, 2, machines)
    kill(machines[1])
    machines[1] = machine(1, port)
    logs = "\n".join((tmp_path / f"{node}.log").read_text()[-3000:] for node in range(2))
    assert [process.wait() for process in machines] == [0, 0], logs
    sessions = json.loads((killed / "run.json").read_text(encoding="utf-8"))["sessions"]
    assert len(sessions) == 3 and {one["processes"] for one in sessions} == {2}
    assert differing(weights(killed), weights(tmp_path / "straight")) == []
