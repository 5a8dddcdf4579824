"""A run as one row: values, empty hypotheses, warnings, tables that survive writing, pictures and command lines."""

import json
import logging
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from leap_fairseq.scoring.instances import read_instances
from leap_fairseq.scoring.run import COLUMNS, format_table, read_tsv, score_run, write_json, write_tsv

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts" / "simulst"

HYPOTHESIS = "ich möchte am Montag nach Köln fahren"
DELAYS = [840.0, 1120.0, 1400.0, 1680.0, 1960.0, 2240.0, 2500.0]


def sentence(index=0, prediction=HYPOTHESIS, reference=HYPOTHESIS, delays=DELAYS, lag=50.0, source_length=2500.0):
    return {
        "index": index,
        "prediction": prediction,
        "delays": delays,
        "elapsed": [delay + lag for delay in delays],
        "reference": reference,
        "source_length": source_length,
    }


@pytest.fixture
def run(tmp_path):
    def write(*sentences, name="run"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "instances.log").write_text("".join(json.dumps(s) + "\n" for s in sentences), encoding="utf-8")
        return folder

    return write


def empty(index):
    return sentence(index, prediction="", delays=[])


def test_columns_and_values(run):
    row = score_run(run(sentence(0), sentence(1)))
    assert tuple(row) == COLUMNS
    assert row["BLEU"] == pytest.approx(100) and row["chrF"] == pytest.approx(100)
    assert row["LAAL"] == row["AL"] == pytest.approx(sum(d - i * 2500 / 7 for i, d in enumerate(DELAYS)) / 7)
    assert row["LAAL_CA"] == pytest.approx(row["LAAL"] + 50)
    assert (row["sentences"], row["empty"]) == (2, 0)
    assert "tok:13a" in row["signature"] and "chrF" in row["signature"] and "version" in row["signature"]


def test_empty_hypotheses_are_counted_and_lower_the_quality(run, caplog):
    full = score_run(run(sentence(0), sentence(1), name="full"))
    with caplog.at_level(logging.WARNING):
        row = score_run(run(sentence(0), empty(1), name="half"))
    assert (row["sentences"], row["empty"]) == (2, 1)
    assert row["LAAL"] == pytest.approx(full["LAAL"])
    assert row["BLEU"] < full["BLEU"] and row["chrF"] < full["chrF"]
    assert "1 of 2 hypotheses are empty" in caplog.text


def test_all_hypotheses_empty(run):
    row = score_run(run(empty(0), empty(1)))
    assert row["BLEU"] == 0 and row["empty"] == 2
    assert all(math.isnan(row[name]) for name in ("LAAL", "AL", "AP", "DAL", "LAAL_CA", "DAL_CA"))


def test_source_of_no_length_has_no_latency(run):
    row = score_run(run(sentence(0), sentence(1, source_length=0.0)))
    assert row["sentences"] == 2 and row["LAAL"] < 1000


def test_degenerate_policy_is_named(run, caplog):
    with caplog.at_level(logging.WARNING):
        score_run(run(sentence(), name="simultaneous"))
        assert "offline" not in caplog.text
        score_run(run(sentence(delays=[2500.0] * 7), name="late"))
    assert "100 % of the words" in caplog.text and "--test-waitk-lagging" in caplog.text


def test_options(run):
    folder = run(sentence())
    assert "tok:char" in score_run(folder, sacrebleu_tokenizer="char")["signature"]
    assert score_run(folder, latency_unit="char")["AL"] > score_run(folder)["AL"]
    with pytest.raises(ValueError, match="--latency-unit"):
        score_run(folder, latency_unit="sentence")
    with pytest.raises(ValueError, match="choose one of .*13a"):
        score_run(folder, sacrebleu_tokenizer="moses")
    with pytest.raises(ValueError, match="no sentence"):
        score_run(run(name="nothing"))


def test_tables(run, tmp_path):
    rows = [
        {"attention": name, "waitk": 3, **score_run(run(*lines, name=name))}
        for name, lines in (("leap", [sentence()]), ("softmax", [empty(0)]))
    ]
    write_tsv(rows, tmp_path / "out.tsv")
    again = read_tsv(tmp_path / "out.tsv")
    assert again[0] == rows[0] and math.isnan(again[1]["LAAL"]) and again[1]["waitk"] == 3
    write_json(rows, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())[1]["LAAL"] is None
    lines = format_table(rows).splitlines()
    assert len(lines) == 3 and len(set(map(len, lines))) == 1 and "signature" not in lines[0]
    (tmp_path / "broken.tsv").write_text("a\tb\n1\n")
    with pytest.raises(ValueError, match="line 2"):
        read_tsv(tmp_path / "broken.tsv")


class TestPlots:
    @pytest.fixture(autouse=True)
    def plots(self):
        pytest.importorskip("matplotlib")
        from leap_fairseq.streaming import plots

        self.plots = plots

    def rows(self):
        for attention in ("leap", "softmax", "relu"):
            for k in (1, 3, 5):
                yield {"attention": attention, "waitk": k, "BLEU": 70 + k, "LAAL": 300.0 * k, "LAAL_CA": 330.0 * k}

    def is_png(self, path):
        return path.read_bytes().startswith(b"\x89PNG") and path.stat().st_size > 5000

    def test_quality_latency(self, tmp_path):
        out = tmp_path / "new" / "folder.png"
        self.plots.plot_quality_latency(list(self.rows()), out)
        assert self.is_png(out)
        plain = [{key: row[key] for key in ("attention", "BLEU", "LAAL")} for row in self.rows()]
        self.plots.plot_quality_latency(plain, out)
        with pytest.raises(ValueError, match="no column AP"):
            self.plots.plot_quality_latency(plain, out, latency="AP")
        with pytest.raises(ValueError, match="no rows"):
            self.plots.plot_quality_latency([], out)

    def test_the_legend_is_beside_the_lines(self, tmp_path, monkeypatch):
        drawn, save = [], self.plots.save_figure
        monkeypatch.setattr(self.plots, "save_figure", lambda figure, path: (save(figure, path), drawn.append(figure)))
        self.plots.plot_quality_latency(list(self.rows()), tmp_path / "plot.png")
        axes = drawn[0].axes[0]
        (legend,) = drawn[0].legends + [axes.get_legend()] * (axes.get_legend() is not None)
        assert not legend.get_window_extent().overlaps(axes.get_window_extent())
        assert drawn[0].bbox.containsx(legend.get_window_extent().x1)

    def test_staircase(self, run, tmp_path):
        instances = read_instances(run(sentence(0), empty(1), sentence(2, "sehr" * 9, delays=[100.0])))
        for instance in (instances[0], instances[2]):
            self.plots.plot_staircase(instance, tmp_path / "staircase.png")
            assert self.is_png(tmp_path / "staircase.png")
        with pytest.raises(ValueError, match="no written word"):
            self.plots.plot_staircase(instances[1], tmp_path / "staircase.png")


def test_command_lines(run, tmp_path):
    folder, out = run(sentence(0), sentence(1)), tmp_path / "out"
    out.mkdir()
    root = str(SCRIPTS.parents[1])
    environment = dict(os.environ, PYTHONPATH=root)

    def call(script, *arguments):
        command = [sys.executable, str(SCRIPTS / script), *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    scored = call("score.py", folder, "--tsv", out / "s.tsv", "--json", out / "s.json")
    assert scored.returncode == 0, scored.stderr
    assert "BLEU" in scored.stdout and "tok:13a" in scored.stdout
    assert read_tsv(out / "s.tsv")[0]["BLEU"] == pytest.approx(100)
    missing = call("score.py", tmp_path / "gone")
    assert missing.returncode == 1 and "error: " in missing.stderr and "Traceback" not in missing.stderr
