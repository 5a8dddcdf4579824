"""scripts/lra: train, evaluate, sweep, resume, measure, as a user runs them, and the page that shows them."""

import json
import re

import pytest
from document_pages import ARENA
from lra_data import SIZES, write_lra
from preloading import PLUGIN, ROOT

SCRIPTS = ROOT / "scripts/lra"
TINY = "--arch leap_lra_tiny --log-interval 1 --log-format json --lr 3e-3".split()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Data of two tasks."""
    folder = tmp_path_factory.mktemp("lra")
    return {task: write_lra(folder / task, task) for task in ("text", "retrieval")}


def logged(output, kind):
    """The dictionaries of a kind of lines in a log."""
    return [json.loads(found) for found in re.findall(rf"\| {kind} \| (\{{.*\}})", output)]


def test_the_evaluation_gives_the_accuracy_of_the_training(bash, run_forked, folders, tmp_path):
    output = bash(SCRIPTS / "train.sh", folders["retrieval"], tmp_path, *TINY, "--max-update", 5, "--batch-size", 4)
    best = max(float(line["valid_accuracy"]) for line in logged(output, "valid"))
    checkpoint = tmp_path / "checkpoint_best.pt"
    arguments = ("--split", "valid", "test", "--batch-size", 3, "--json", tmp_path / "found.json")
    run_forked(SCRIPTS / "evaluate.py", folders["retrieval"], checkpoint, *arguments)
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["valid"]["accuracy"] == pytest.approx(best, abs=1e-3)
    assert [found[split]["samples"] for split in ("valid", "test")] == [SIZES["valid"], SIZES["test"]]
    fairseqs = run_forked(
        "fairseq-validate",
        *(folders["retrieval"], "--user-dir", PLUGIN, "--task", "long_range_arena", "--path", checkpoint, "--cpu"),
        *("--criterion", "sequence_classification", "--batch-size", 5, "--num-workers", 0),
    ).output
    assert float(re.search(r"accuracy ([\d.]+)", fairseqs)[1]) == pytest.approx(best, abs=1e-3)


def test_wrong_use_is_named(bash, run_forked, folders, tmp_path):
    assert "bash scripts/lra/train.sh DATA SAVE_DIR" in bash(SCRIPTS / "train.sh", code=2)
    assert f"{tmp_path} has no lra.json" in bash(SCRIPTS / "train.sh", tmp_path, tmp_path / "save", code=1)
    text = folders["text"]
    assert "--max-update is 'x'" in bash(SCRIPTS / "train.sh", text, tmp_path, "--max-update", "x", code=1)
    assert "holds text, but --lra-task says image" in bash(
        SCRIPTS / "train.sh", text, tmp_path, "--lra-task", "image", code=1
    )
    assert "lra.json is missing" in bash(SCRIPTS / "sweep.sh", tmp_path / "out", tmp_path, code=1)
    output = bash(SCRIPTS / "sweep.sh", tmp_path / "out", text, "--updates", 1, 2, 3, code=1)
    assert "--updates 1 2 3: give one number of at least 1, or 1" in output
    assert "holds no complete run" in run_forked(SCRIPTS / "report.py", tmp_path, code=1).output


def test_two_processes_train(bash, folders, tmp_path):
    options = (*TINY, "--max-update", 3, "--batch-size", 8)
    output = bash(SCRIPTS / "train.sh", folders["text"], tmp_path, *options, PROCESSES="2")
    assert logged(output, "valid")[-1]["valid_samples"] == str(SIZES["valid"])


def test_a_sweep_resumes(bash, folders, tmp_path):
    out = tmp_path / "out"
    arguments = (
        *(out, folders["text"], "--attention", "leap", "softmax", "--seeds", 3, "--updates", 3, "--batch-size", 4),
        *("--eval-samples", 7, "--options", "--arch leap_lra_tiny --attention-dropout 0"),
    )
    output = bash(SCRIPTS / "sweep.sh", *arguments, "--jobs", 2, as_large=True)
    rows = json.loads((out / "lra.json").read_text(encoding="utf-8"))
    assert {(row["data"], row["attention"]) for row in rows} == {("text", "leap"), ("text", "softmax")}
    budget = "3 updates of 4, up to 40 tokens, 7 + 7 evaluated, seeds 3, --arch leap_lra_tiny --attention-dropout 0"
    assert {row["budget"] for row in rows} == {budget} and output.count(budget) == 2
    for row in rows:
        assert row["train_per_s"] > 0 and row["infer_per_s"] > 0 and row["peak_mib"] > 50 and row["parameters"] > 10_000
    assert (out / "lra.png").stat().st_size > 10_000
    # What was lost is made again, the rest is not.
    kept, lost = out / "text/leap-3/checkpoint_best.pt", out / "text/leap-3/evaluation.json"
    before = kept.stat().st_mtime_ns
    lost.unlink()
    output = bash(SCRIPTS / "sweep.sh", *arguments, "--part", "1/2")
    assert f"1 of 2 runs are in {out}; other jobs have to do the rest, --part 0/2" in output
    bash(SCRIPTS / "sweep.sh", *arguments, NODES="2", NODE="0")
    assert kept.stat().st_mtime_ns == before and lost.is_file()
    again = json.loads((out / "lra.json").read_text(encoding="utf-8"))
    assert [row["test"] for row in again] == [row["test"] for row in rows]
    # Another budget begins anew.
    bash(SCRIPTS / "sweep.sh", *arguments, "--updates", 2, "--attention", "leap")
    assert kept.stat().st_mtime_ns != before


def test_the_page(worked_in):
    runs = worked_in(ARENA).folder / "runs/lra"
    for task in ("listops", "pathfinder", "text", "retrieval", "image"):
        assert (runs / task / "lra.json").is_file(), task
    rows = json.loads((runs / "sweep/lra.json").read_text(encoding="utf-8"))
    assert {(row["data"], row["attention"]) for row in rows} == {("listops_small", "leap"), ("text", "leap")}
    for name in ("hard.png", "sweep/lra.png", "listops_leap/checkpoint_best.pt"):
        assert (runs / name).stat().st_size > 5_000, name
    assert (runs / "listops_leap/run.json").is_file()


def test_throughput(worked_in):
    clone = worked_in(ARENA)
    assert "batches of 2, medians of 3 rounds, wall clock, 1 thread(s) of the CPU" in clone.output
    table = clone.folder / "runs/lra/throughput.tsv"
    lines = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()]
    rows = [dict(zip(lines[0], line)) for line in lines[1:]]
    assert [(row["length"], row["attention"]) for row in rows] == [
        (length, kind) for length in ("32", "96") for kind in ("leap", "local")
    ]
    for row in rows:
        assert float(row["train_per_s"]) > 0 and float(row["infer_ratio"]) > 0 and float(row["peak_mib"]) > 0
        assert (float(row["train_ratio"]) == 1) == (row["attention"] == "leap")
