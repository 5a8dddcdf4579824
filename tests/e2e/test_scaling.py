"""Several processes and machines, and jobs of a cluster: what is started, and that it trains as one does.

A cluster's commands are small ones of this file's own; two machines are two of this one's loopback interface.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fairseq.dataclass.constants import DDP_BACKEND_CHOICES
from lm_runs import differing, weights
from preloading import ROOT

SCRIPTS = Path(sys.executable).parent
TRAIN, CLUSTER = ROOT / "scripts/lm/train.sh", ROOT / "scripts/cluster"
# The recipe with a model that trains in seconds.
SMALL = (
    "--arch leap_transformer_lm_tiny --decoder-layers 1 --criterion cross_entropy --tokens-per-sample 64 "
    "--max-tokens 256 --update-freq 1 --warmup-updates 2 --warmup-init-lr 0.01 --optimizer adam --lr 0.01 "
    "--log-interval 1 --num-workers 0 --disable-validation"
).split()
LONG = (*SMALL, *"--dropout 0.1 --max-update 80 --save-interval-updates 5 --keep-interval-updates 1".split())
SLURM = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "3"}
COMMANDS = {
    "scontrol": 'echo "scontrol $*" >>"$CALLS"; [ "$1" = requeue ] || printf "localhost\\nn2\\n"',
    # Two tasks, as of two machines.
    "srun": 'shift; SLURM_NODEID=1 "$@" & other=$!; SLURM_NODEID=0 "$@"; wait $other',
}


def programs(folder, **texts):
    """A folder of programs in bash, by their names."""
    for name, text in texts.items():
        (folder / name).write_text(f"#!/usr/bin/env bash\n{text}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def losses(output):
    """The training loss at each update."""
    return {int(n): float(x) for x, n in re.findall(r"loss=([\d.]+).*num_updates=(\d+)", output)}


def free_port():
    with socket.socket() as any_port:
        any_port.bind(("localhost", 0))
        return any_port.getsockname()[1]


@pytest.fixture(scope="module")
def told(bash, commands, environment, tmp_path_factory):
    """A function: what a script tells the user, and the command that it would start."""
    shown = 'echo "STARTS $(basename "$0") $*"'
    folder = programs(tmp_path_factory.mktemp("shown"), **{"torchrun": shown, "fairseq-train": shown})
    path = os.pathsep.join(map(str, (folder, commands, environment["PATH"])))

    def run(*args, **variables):
        output = bash(*args, PATH=path, CUDA_VISIBLE_DEVICES="", **variables)
        return output.partition("STARTS ")[::2]

    return run


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """As much of a prepared folder as a script looks at, with an utterance of 3,000 frames."""
    folder = tmp_path_factory.mktemp("speech")
    (folder / "config_st.yaml").touch()
    for split, frames in (("train", 900), ("dev", 3000)):
        (folder / f"{split}_st.tsv").write_text(f"id\taudio\tn_frames\ttgt_text\na\tb\t{frames}\tc d\n")
    return folder


@pytest.mark.parametrize("processes, batches, tokens", [(1, 16, 4096), (2, 8, 4096), (32, 1, 2048), (64, 1, 1024)])
def test_an_update_of_tokens_is_shared(told, lm_data, processes, batches, tokens):
    said, command = told(TRAIN, lm_data, "save", PROCESSES=str(processes))
    assert f"--max-tokens {tokens} --update-freq {batches} " in command and not said
    assert processes * batches * tokens == 65536


@pytest.mark.parametrize("processes, batches, tokens", [(3, 6, 3584), (5, 5, 2560), (7, 3, 3072), (200, 1, 512)])
def test_an_update_that_cannot_be_shared_is_said(told, lm_data, processes, batches, tokens):
    said, command = told(TRAIN, lm_data, "save", PROCESSES=str(processes))
    assert f"--max-tokens {tokens} --update-freq {batches} " in command
    assert f"note: an update has {processes * batches * tokens} tokens, not 65536, which {processes} processes" in said
    assert not told(TRAIN, lm_data, "save", "--max-tokens", 512, PROCESSES=str(processes))[0]


@pytest.mark.parametrize(
    "recipe, processes, frames, note",
    [
        ("official", 1, 45000, ""),
        ("official", 3, 30000, ""),
        ("official", 64, 3000, "note: an update has up to 192000 frames, not 90000"),
        ("small", 3, 3000, "note: an update has up to 9000 frames, not 5000: each of 3 processes takes the longest"),
    ],
)
def test_frames_of_an_update(told, speech, recipe, processes, frames, note):
    script = ROOT / "scripts/simulst/train.sh"
    said, command = told(script, speech, "save", "--recipe", recipe, PROCESSES=str(processes))
    assert f"--max-tokens {frames} " in command and said.startswith(note) and bool(said) == bool(note)


def test_samples_of_an_update(told, tmp_path):
    (tmp_path / "lra.json").write_text(json.dumps({"task": "listops"}), encoding="utf-8")
    for processes, each, said_so in ((1, 32, False), (2, 16, False), (3, 11, True), (100, 1, True)):
        said, command = told(ROOT / "scripts/lra/train.sh", tmp_path, "save", PROCESSES=str(processes))
        assert f"--batch-size {each} " in command
        assert said.startswith(f"note: an update has {each * processes} samples, not 32") == said_so == bool(said)


def test_what_is_started(told, lm_data):
    assert told(TRAIN, lm_data, "save")[1].startswith("fairseq-train ")
    assert "--max-restarts 3 --standalone " in told(TRAIN, lm_data, "save", RESTARTS="3")[1]
    command = told(TRAIN, lm_data, "save", NODES="2", NODE="1", MASTER="first:2000", PROCESSES="2")[1]
    assert "--nnodes 2 --nproc-per-node 2 --max-restarts 0 --rdzv-backend c10d --rdzv-endpoint first:2000 " in command


@pytest.mark.parametrize(
    "variables, message",
    [
        ({"PROCESSES": "two"}, "PROCESSES is 'two', but must be a whole number from 1 on"),
        ({"PROCESSES": "0"}, "PROCESSES is '0', but must be a whole number from 1 on"),
        ({"RESTARTS": "-1"}, "RESTARTS is '-1', but must be a whole number from 0 on"),
        ({"NODES": "2", "NODE": "2", "MASTER": "a:1"}, "NODE is 2, but NODES is 2: count from 0 to 1"),
        ({"NODES": "2"}, "MASTER is '', but 2 machines need HOST:PORT"),
        ({"NODES": "2", "MASTER": "host"}, "MASTER is 'host', but 2 machines need HOST:PORT"),
    ],
)
def test_wrong_numbers_are_named(bash, lm_data, variables, message):
    assert message in bash(TRAIN, lm_data, "save", code=1, **variables).strip().splitlines()[-1]


@pytest.fixture
def submitted(environment, commands, tmp_path):
    """A function: starts the body of a sbatch file, as SLURM does."""
    (tmp_path / "commands").mkdir()
    path = (programs(tmp_path / "commands", **COMMANDS), commands, environment["PATH"])
    variables = {**environment, **SLURM, "CALLS": str(tmp_path / "calls"), "PATH": os.pathsep.join(map(str, path))}

    def start(name, *args, cwd=ROOT, **more):
        # SLURM runs a copy of it.
        copied = tmp_path / "slurm_script"
        copied.write_bytes((CLUSTER / name).read_bytes())
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        command = ["bash", str(copied), *map(str, args)]
        return subprocess.Popen(command, cwd=cwd, env={**variables, **more}, **output)

    return start


def test_jobs_of_a_cluster(submitted, tmp_path):
    script = programs(tmp_path, script='echo "$NODE of $NODES, $MASTER, $RESTARTS, $SRUN_CPUS_PER_TASK: $*"') / "script"
    job = submitted("several_nodes.sbatch", script, "DATA", "a b")
    lines = sorted(job.communicate()[0].splitlines())
    assert lines == [f"{node} of 2, localhost:20007, 3, 3: DATA a b" for node in (0, 1)] and job.returncode == 0
    assert (tmp_path / "calls").read_text() == "scontrol show hostnames n[1-2]\n"
    script.write_text('echo "${NODES:-alone} ${RESTARTS:-}: $*"; exit 3', encoding="utf-8")
    job = submitted("one_node.sbatch", script, "DATA", RESTARTS="2")
    assert job.communicate()[0] == "alone 2: DATA\n" and job.returncode == 3
    for name in ("one_node.sbatch", "several_nodes.sbatch"):
        job = submitted(name)
        assert f"scripts/cluster/{name} scripts/lm/train.sh" in job.communicate()[0] and job.returncode == 2
        job = submitted(name, script, cwd=tmp_path)
        assert f"error: {tmp_path} is not the root of the repository" in job.communicate()[0] and job.returncode == 1


def test_a_job_whose_time_ends_goes_back_into_the_queue(submitted, tmp_path):
    script = programs(tmp_path, script="echo begun; until [ -f end ]; do sleep 0.1; done; exit 5") / "script"
    script.write_text(script.read_text().replace("-f end", f"-f '{tmp_path}/end'"), encoding="utf-8")
    job = submitted("one_node.sbatch", script)
    assert job.stdout.readline() == "begun\n"
    job.send_signal(signal.SIGUSR1)
    assert "goes back into the queue" in job.stdout.readline()
    # The training goes on until SLURM ends it.
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


def test_three_processes_train_as_one(bash, run_forked, lm_data, tmp_path):
    options = (*SMALL, "--max-update", 2, "--ddp-backend", "c10d", "--dropout", 0)
    output = bash(TRAIN, lm_data, tmp_path / "three", *options, PROCESSES="3", CUDA_VISIBLE_DEVICES="")
    alone = bash(TRAIN, lm_data, tmp_path / "one", *options, "--update-freq", 3, CUDA_VISIBLE_DEVICES="")
    assert losses(output) == pytest.approx(losses(alone), abs=2e-3) and len(losses(output)) == 2


@pytest.mark.exhaustive
@pytest.mark.parametrize("backend", ["legacy_ddp", "no_c10d", "c10d", "pytorch_ddp"])
def test_every_backend_trains_alike(bash, lm_data, tmp_path, backend):
    assert backend in DDP_BACKEND_CHOICES.__members__
    options = (*SMALL, "--max-update", 3, "--ddp-backend", backend, "--dropout", 0)
    output = bash(TRAIN, lm_data, tmp_path / "two", *options, PROCESSES="2", CUDA_VISIBLE_DEVICES="")
    alone = bash(TRAIN, lm_data, tmp_path / "one", *options, "--update-freq", 2, CUDA_VISIBLE_DEVICES="")
    assert losses(output) == pytest.approx(losses(alone), abs=2e-3) and len(losses(output)) == 3


@pytest.mark.exhaustive
def test_a_translator_in_three_processes(bash, speech_data, tmp_path):
    script = ROOT / "scripts/simulst/train.sh"
    options = "--recipe small --max-tokens 3000 --max-update 2 --log-interval 1 --disable-validation".split()

    def trained(name, *more, **variables):
        return losses(bash(script, speech_data, tmp_path / name, *options, *more, CUDA_VISIBLE_DEVICES="", **variables))

    alone = trained("one", "--update-freq", 3)
    assert len(alone) == 2
    for backend in ("legacy_ddp", "pytorch_ddp"):
        three = trained(backend, "--ddp-backend", backend, PROCESSES="3")
        assert three == pytest.approx(alone, abs=2e-3), backend


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


def wait_for_session(folder, count):
    """Until a training was started so many times, and has saved what it began with or more."""
    while not (folder / "run.json").exists() or not list(folder.glob("*.pt")):
        time.sleep(0.02)
    while True:
        sessions = json.loads((folder / "run.json").read_text(encoding="utf-8"))["sessions"]
        if len(sessions) == count and sessions[-1]["updates"] > sessions[-1]["first_update"]:
            return
        time.sleep(0.02)


@pytest.mark.exhaustive
def test_a_machine_that_fails_and_returns(submitted, machine, lm_data, tmp_path):
    """A process is killed, and later all of its machine; the weights are those of a job that was left alone."""
    real = {"PATH": os.pathsep.join((str(tmp_path / "commands"), str(SCRIPTS), os.environ["PATH"]))}
    job = submitted("several_nodes.sbatch", TRAIN, lm_data, tmp_path / "straight", *LONG, **real)
    output = job.communicate()[0]
    assert job.returncode == 0, output[-3000:]
    killed, port = tmp_path / "killed", free_port()
    machines = [machine(node, port) for node in range(2)]
    wait_for_session(killed, 1)
    os.kill(*trained_in(machines[1]), signal.SIGKILL)
    wait_for_session(killed, 2)
    kill(machines[1])
    machines[1] = machine(1, port)
    logs = "\n".join((tmp_path / f"{node}.log").read_text()[-3000:] for node in range(2))
    assert [process.wait() for process in machines] == [0, 0], logs
    sessions = json.loads((killed / "run.json").read_text(encoding="utf-8"))["sessions"]
    assert len(sessions) == 3 and {one["processes"] for one in sessions} == {2}
    assert differing(weights(killed), weights(tmp_path / "straight")) == []
