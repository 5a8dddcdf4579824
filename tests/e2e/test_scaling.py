"""Any number of processes: what is started, what is said of an update, and that they train as one."""

import json
import os
import re

import pytest
from fairseq.dataclass.constants import DDP_BACKEND_CHOICES
from preloading import ROOT
from small_training import SMALL, TRAIN, programs


def losses(output):
    """The training loss at each update."""
    return {int(n): float(x) for x, n in re.findall(r"loss=([\d.]+).*num_updates=(\d+)", output)}


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


@pytest.mark.parametrize("processes, batches, tokens", [(1, 16, 4096), (2, 8, 4096), (64, 1, 1024)])
def test_an_update_of_tokens_is_shared(told, lm_data, processes, batches, tokens):
    said, command = told(TRAIN, lm_data, "save", PROCESSES=str(processes))
    assert f"--max-tokens {tokens} --update-freq {batches} " in command and not said
    assert processes * batches * tokens == 65536


@pytest.mark.parametrize("processes, batches, tokens", [(3, 6, 3584), (5, 5, 2560), (200, 1, 512)])
def test_an_update_that_cannot_be_shared_is_said(told, lm_data, processes, batches, tokens):
    said, command = told(TRAIN, lm_data, "save", PROCESSES=str(processes))
    assert f"--max-tokens {tokens} --update-freq {batches} " in command
    assert f"note: an update has {processes * batches * tokens} tokens, not 65536, which {processes} processes" in said


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


@pytest.mark.parametrize("given", [["--max-tokens", "9000"], ["--max-tokens=9000"], ["--update-freq", "4"]])
def test_nothing_is_said_of_frames_that_the_user_chose(told, speech, given):
    said, command = told(ROOT / "scripts/simulst/train.sh", speech, "save", "--recipe", "small", *given, PROCESSES="3")
    assert " ".join(given) in command and not said


def test_samples_of_an_update(told, tmp_path):
    (tmp_path / "lra.json").write_text(json.dumps({"task": "listops"}), encoding="utf-8")
    for processes, each, said_so in ((1, 32, False), (2, 16, False), (3, 11, True), (100, 1, True)):
        said, command = told(ROOT / "scripts/lra/train.sh", tmp_path, "save", PROCESSES=str(processes))
        assert f"--batch-size {each} " in command
        assert said.startswith(f"note: an update has {each * processes} samples, not 32") == said_so == bool(said)


@pytest.mark.parametrize("script", ["lm/train.sh", "lra/train.sh", "simulst/train.sh", "simulst/pretrain_asr.sh"])
def test_a_folder_without_a_name_is_not_the_current_one(bash, lm_data, script):
    """Such as "$SAVE_DIR" where the shell has none."""
    for places in ((lm_data, ""), ("", "save"), (lm_data,)):
        assert f"bash scripts/{script} DATA SAVE_DIR" in bash(ROOT / "scripts" / script, *places, code=2)


@pytest.mark.parametrize("given, number", [("--max-update 0", "0"), ("--max-update=0", "0"), ("--max-update", "")])
def test_the_small_recipe_needs_an_end(bash, speech, given, number):
    """fairseq takes 0 for none, and the learning rate would be zero from the beginning."""
    said = bash(ROOT / "scripts/simulst/train.sh", speech, "save", "--recipe", "small", *given.split(), code=1)
    assert f"error: --max-update is '{number}', but must be a number of at least 1" in said


def test_what_is_started(told, lm_data):
    assert told(TRAIN, lm_data, "save")[1].startswith("fairseq-train ")
    assert "--max-restarts 3 --standalone " in told(TRAIN, lm_data, "save", RESTARTS="3")[1]
    # The user's own sizes are not commented on.
    assert not told(TRAIN, lm_data, "save", "--max-tokens", 512, PROCESSES="3")[0]
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
