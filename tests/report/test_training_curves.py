"""leap-fairseq report: a table and a picture of trainings, from their records."""

import json
import math

import pytest

from leap_fairseq.cli import main
from leap_fairseq.report import training_curves
from leap_fairseq.report.run_record import RunRecord
from leap_fairseq.report.tables import read_tsv
from leap_fairseq.report.training_runs import run_rows


def record(folder, losses, **facts):
    """Validations at each 100 updates, an hour after each other."""
    folder.mkdir(parents=True)
    made = RunRecord(folder, [])
    made.begin(0, "loss", False, **facts)
    for count, loss in enumerate(losses, start=1):
        made.validated("valid", 100 * count, 3600 * count, {"loss": loss, "ppl": 2**loss})
        made.advance(100 * count, 3600 * count, None)
    made.write()
    return made


@pytest.fixture
def runs(tmp_path):
    versions = {"python": "3.11.9", "torch": "2.13.0"}
    record(tmp_path / "leap", [5.0, 4.0, 4.125], arch="tiny", versions=versions, seed=1)
    record(tmp_path / "softmax", [4.5])
    record(tmp_path / "begun", [])
    return [str(tmp_path / name) for name in ("leap", "softmax", "begun")]


def test_table(runs, tmp_path, capsys):
    assert main(["report", *runs, "--tsv", f"{tmp_path}/runs.tsv", "--json", f"{tmp_path}/runs.json"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["run", "arch"] and "seed" not in header and len(lines) == 3
    assert lines[0].split()[1:8] == ["tiny", "-", "300", "3.00", "-", "loss", "4.000"]
    rows = read_tsv(tmp_path / "runs.tsv")
    assert (rows[0]["best"], rows[0]["best_at"], rows[0]["last"], rows[0]["torch"]) == (4.0, 200, 4.125, "2.13.0")
    assert [row["updates"] for row in rows] == [300, 100, 0] and math.isnan(rows[2]["best"])
    assert json.loads((tmp_path / "runs.json").read_text(encoding="utf-8"))[2]["best"] is None
    # Rows have the same columns, whatever a record knows.
    assert len({tuple(row) for row in run_rows([RunRecord.read(run) for run in runs])}) == 1


def test_a_folder_that_is_no_run_is_one_line_and_nothing_is_written(runs, tmp_path, capsys):
    out = tmp_path / "runs.tsv"
    assert main(["report", runs[0], str(tmp_path), "--tsv", str(out)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path} is no run: it has no run.json; the folders in it have: begun, leap")
    assert not out.exists()
    with pytest.raises(SystemExit):
        main(["report", runs[0], "--metric", "ppl"])
    assert "add --out PICTURE" in capsys.readouterr().err


def drawn(monkeypatch):
    """A list of the figures that are saved."""
    figures, save = [], training_curves.save_figure
    monkeypatch.setattr(
        training_curves, "save_figure", lambda figure, path: (save(figure, path), figures.append(figure))
    )
    return figures


def test_picture(runs, tmp_path, monkeypatch, caplog):
    pytest.importorskip("matplotlib")
    figures, out = drawn(monkeypatch), tmp_path / "new/runs.png"
    assert main(["report", *runs, "--out", str(out)]) == 0
    assert out.stat().st_size > 10_000 and "begun: no validation has the figure loss" in caplog.text
    by_update, by_time = figures[0].axes
    assert [list(line.get_xdata()) for line in by_update.lines] == [[100, 200, 300], [100]]
    assert [list(line.get_xdata()) for line in by_time.lines] == [[1, 2, 3], [1]] and "hours" in by_time.get_xlabel()
    looks = [(line.get_color(), line.get_marker(), line.get_linestyle()) for line in by_update.lines]
    assert all(first != second for first, second in zip(*looks))
    (legend,) = figures[0].legends
    assert [text.get_text() for text in legend.get_texts()] == runs[:2]
    assert not any(legend.get_window_extent().overlaps(axes.get_window_extent()) for axes in figures[0].axes)


def test_other_figures_and_forms(runs, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    figures = drawn(monkeypatch)
    assert main(["report", *runs[:2], "--metric", "ppl", "--width", "column", "--out", f"{tmp_path}/runs.pdf"]) == 0
    assert list(figures[0].axes[0].lines[1].get_ydata()) == [2**4.5]
    for more, message in (
        (("--metric", "bleu"), "--metric bleu: no run has a validation with this figure: they have loss, ppl"),
        (("--subset", "test"), "no run has a validation of the subset test"),
        (("--width", "1"), "--width must be at least"),
    ):
        assert main(["report", *runs, *more, "--out", f"{tmp_path}/x.png"]) == 1
        assert message in capsys.readouterr().err and not (tmp_path / "x.png").exists()
    assert main(["report", runs[2], "--out", f"{tmp_path}/x.gif"]) == 1


def test_folders_may_have_any_name(tmp_path):
    """Of which matplotlib would leave one out, and take the other for a formula."""
    for name in ("_new", "$x_{$"):
        training_curves.plot_training_curves({name: [(1, 0.0, 2.0)]}, tmp_path / "x.png")
