"""The report of scripts/lra on made-up runs."""

import importlib.util
import json
from pathlib import Path

import pytest

REPORT = Path(__file__).parents[2] / "scripts/lra/report.py"


@pytest.fixture(scope="module")
def report():
    spec = importlib.util.spec_from_file_location("lra_report", REPORT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_run(out, data, attention, seed, right, updates=100, wall=6.0, valid=70.0, **more):
    """A run of 200 test and 100 validation samples; each of its two log lines is 50 updates of 8."""
    folder = out / data / f"{attention}-{seed}"
    folder.mkdir(parents=True)
    budget = {"updates": updates, "batch_size": 8, "eval_samples": None, "attention": attention, "seed": seed, **more}
    inner = {"samples": "400", "train_wall": str(wall), "ups": "1", "bsz": "8", "num_updates": "50"}
    lines = [
        "x | INFO | leap_fairseq.tasks.long_range_arena | text: {}, 2 classes, up to 1024 tokens",
        "x | INFO | fairseq_cli.train | num. shared model params: 108,482 (num. trained: 108,482)",
        *[f"x | INFO | train_inner | {json.dumps(inner)}"] * 2,
        *(f"x | INFO | valid | {json.dumps({'valid_accuracy': str(x)})}" for x in (valid, 10.0)),
    ]
    (folder / "train.log").write_text("\n".join(lines) + "\n", encoding="utf-8")
    figures = {"test": (right, 200), "valid": (70, 100)}
    evaluation = {
        split: {"accuracy": 100 * correct / count, "samples": count, "samples_per_s": 40.0 + seed}
        for split, (correct, count) in figures.items()
    }
    used = {"peak_mib": 300.0 + seed, "cpu_seconds": 90.0 + 30 * seed}
    for name, content in (("budget", budget), ("train", used), ("evaluation", evaluation)):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def test_rows_are_means_over_seeds_of_one_budget(report, tmp_path):
    for seed, right in ((1, 100), (2, 110), (3, 120)):
        write_run(tmp_path, "text", "leap", seed, right)
    write_run(tmp_path, "text", "softmax", 1, 130, wall=12.0)
    write_run(tmp_path, "other", "leap_one_layer", 1, 90, wall=1.0)
    write_run(tmp_path, "text", "leap", 4, 150, updates=200)
    text = report.report(tmp_path)
    rows = json.loads((tmp_path / "lra.json").read_text(encoding="utf-8"))
    assert [(row["data"], row["attention"]) for row in rows] == [
        ("other", "leap_one_layer"),
        ("text", "softmax"),
        ("text", "leap"),
        ("text", "leap"),
    ]
    leap = rows[2]
    assert leap["test"] == 55 and leap["test_sd"] == pytest.approx(5) and leap["valid"] == 70
    # 800 samples in 12 seconds, and in 24; a training of seconds has only the speeds of its log.
    assert leap["train_per_s"] == pytest.approx(800 / 12) and rows[1]["train_per_s"] == pytest.approx(800 / 24)
    assert rows[0]["train_per_s"] == 8 and leap["infer_per_s"] == 42 and leap["peak_mib"] == 303
    assert leap["cpu_minutes"] == 2.5 and leap["updates"] == 100
    assert leap["budget"] == "100 updates of 8, up to 1024 tokens, 100 + 200 evaluated, seeds 1 2 3"
    assert rows[3]["budget"].startswith("200 updates") and leap["budget"] in text and leap["parameters"] == 108482
    lines = (tmp_path / "lra.tsv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 5 and lines[0].split("\t") == list(leap)
    assert (tmp_path / "lra.png").stat().st_size > 10_000


def test_a_mean_is_over_runs_with_the_same_options_and_data(report, tmp_path):
    def write(seed, right, rate, facts=1):
        command = ["bash", "train.sh", "text", f"out/leap-{seed}", "--seed", str(seed), "--log-format", "json"]
        write_run(tmp_path, "text", "leap", seed, right, command=[*command, "--lr", rate], facts={"made": facts})

    for seed, rate, facts in ((1, "1", 1), (2, "1", 1), (3, "2", 1), (4, "2", 2)):
        write(seed, 100 + 10 * seed, rate, facts)
    report.report(tmp_path)
    rows = json.loads((tmp_path / "lra.json").read_text(encoding="utf-8"))
    assert [row["test"] for row in rows] == [70, 65, 57.5]
    assert [row["budget"].partition("seeds ")[2] for row in rows] == ["4, --lr 2", "3, --lr 2", "1 2, --lr 1"]


def test_one_time_is_one_budget_whatever_the_updates(report, tmp_path):
    write_run(tmp_path, "text", "leap", 1, 120, updates=90, cpu_minutes=30.0)
    write_run(tmp_path, "text", "relu", 1, 110, updates=120, cpu_minutes=30.0)
    report.report(tmp_path)
    rows = json.loads((tmp_path / "lra.json").read_text(encoding="utf-8"))
    assert [row["updates"] for row in rows] == [90, 120]
    budget = "30 CPU minutes of updates of 8, up to 1024 tokens, 100 + 200 evaluated, seeds 1"
    assert {row["budget"] for row in rows} == {budget}


def test_an_evaluation_of_another_checkpoint_is_refused(report, tmp_path):
    folder = write_run(tmp_path, "text", "leap", 1, 100, valid=72.0)
    with pytest.raises(ValueError, match="best validation accuracy is 72.0, the evaluation's 70.0: remove"):
        report.report(tmp_path)
    (folder / "train.log").write_text("", encoding="utf-8")
    with pytest.raises(ValueError, match="no update or no validation: remove its folder"):
        report.report(tmp_path)
    with pytest.raises(ValueError, match="holds no complete run: run scripts/lra/sweep.sh"):
        report.report(tmp_path / "nothing")
