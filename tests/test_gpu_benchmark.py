"""What scripts/gpu_check.sh measures and writes, on the CPU with a tiny model."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leap_fairseq.attention import ALGORITHMS
from leap_fairseq.report.tables import read_tsv

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import benchmark  # noqa: E402
from benchmarks import gpu_report  # noqa: E402

UPDATES = (
    "gpu-updates --arch leap_transformer_lm_tiny --dictionary 30 --lengths 100 --tokens 100 --rounds 1 --threads 1"
)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_updates_and_the_page(capsys, tmp_path):
    assert benchmark.main([*UPDATES.split(), "--threads", "1", "--tsv", str(tmp_path / "updates.tsv")]) == 0
    out = capsys.readouterr().out
    assert out.count("every layer equals the law, by so much of the tolerance") == 3
    rows = read_tsv(tmp_path / "updates.tsv")
    assert [row["attention"] for row in rows] == ["softmax", "leap", "leap, half-lives"]
    assert all(row["words_per_s"] > 0 and row["length"] == 100 for row in rows)
    (tmp_path / "steps.tsv").write_text("step\tseconds\tends with\ntests\t3\t1\nupdates\t5\t0\n")
    (tmp_path / "tests.log").write_text("1 failed\n")
    assert benchmark.main(["gpu-report", str(tmp_path)]) == 0
    page = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "| tests | 3 | 1 |" in page and "1 failed" in page and "| 100 | 1 | leap, half-lives |" in page
    assert "- commit " in page and "driver" in page


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_a_broken_algorithm_stops_the_updates(capsys, monkeypatch):
    for name in ("compiled", "blockwise"):
        monkeypatch.setitem(ALGORITHMS, name, lambda given: ALGORITHMS["naive"](given) * 1.1)
    assert benchmark.main(UPDATES.split()) == 1
    printed = capsys.readouterr()
    assert "a layer with leap does not equal its law" in printed.err and "words_per_s" not in printed.out


def test_without_a_gpu_it_is_refused(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert benchmark.main([*UPDATES.split(), "--device", "cuda"]) == 1
    assert "torch finds no CUDA device" in capsys.readouterr().err


@pytest.mark.timeout(60)
def test_the_page_does_not_wait_for_a_driver_that_hangs(monkeypatch):
    monkeypatch.setattr(gpu_report, "PATIENCE", 0.1, raising=False)
    assert gpu_report.output("sleep", "300") == "unknown"
    monkeypatch.undo()
    assert gpu_report.output("echo", "1.2") == "1.2"


def test_a_step_that_fails_does_not_show_the_table_of_an_earlier_run(tmp_path):
    python, out = tmp_path / "python", tmp_path / "out"
    # Torch finds its GPU, and then every step fails.
    python.write_text('#!/bin/sh\n[ "$1" = -c ]\n', encoding="utf-8")
    python.chmod(0o755)
    out.mkdir()
    for name in ("attention.tsv", "updates.tsv", "streams.tsv", "mine.tsv"):
        (out / name).touch()
    environment = {**os.environ, "PYTHON": str(python)}
    ended = subprocess.run(["bash", SCRIPTS / "gpu_check.sh", out], env=environment, capture_output=True, text=True)
    assert ended.returncode == 1 and "[gpu_check] updates ended with 1" in ended.stdout, ended.stderr
    assert sorted(path.name for path in out.glob("*.tsv")) == ["mine.tsv", "steps.tsv"]


def test_ctrl_c_ends_a_step_and_begins_no_other(tmp_path):
    python, out = tmp_path / "python", tmp_path / "out"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] || {{ echo $$ >>{tmp_path}/begun; exec sleep 300; }}\n', "utf-8")
    python.chmod(0o755)
    command = ["bash", SCRIPTS / "gpu_check.sh", out]
    options = {"env": {**os.environ, "PYTHON": str(python)}, "stdout": subprocess.PIPE, "start_new_session": True}
    (tmp_path / "begun").touch()
    process = subprocess.Popen(command, **options)
    try:
        while not (tmp_path / "begun").read_text():
            assert process.poll() is None
            time.sleep(0.01)
        # As a terminal does: `timeout` has a group of its own.
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
        (begun,) = (tmp_path / "begun").read_text().split()
        assert process.returncode == 130 and not os.path.exists(f"/proc/{begun}")
    finally:
        process.kill()
        for begun in (tmp_path / "begun").read_text().split():
            subprocess.run(["kill", "-KILL", begun], stderr=subprocess.DEVNULL)
