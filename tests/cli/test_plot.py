"""The command that draws pictures."""

import shutil

import pytest

pytest.importorskip("matplotlib")

from leap_fairseq.cli import main  # noqa: E402
from leap_fairseq.cli.plot import names_of  # noqa: E402


@pytest.fixture
def plot(tmp_path, capsys):
    """A function: draws; returns the exit code, what was written to stderr, and the size of the picture."""

    def run(*words):
        out = tmp_path / "out.png"
        code = main(["plot", *map(str, words), "--out", str(out)])
        return code, capsys.readouterr().err, out.stat().st_size if out.exists() else 0

    return run


def test_quality(plot, simuleval_run, tmp_path):
    assert main(["score", str(simuleval_run), "--tsv", str(tmp_path / "s.tsv")]) == 0
    code, error, size = plot("quality", tmp_path / "s.tsv", "--group", "run")
    assert (code, error) == (0, "") and size > 5000
    code, error, _ = plot("quality", tmp_path / "s.tsv")
    assert code == 1 and error.startswith("error: the table has no column attention")


def test_staircase(plot, simuleval_run):
    code, error, size = plot("staircase", simuleval_run, "--index", 2)
    assert (code, error) == (0, "") and size > 5000
    code, error, _ = plot("staircase", simuleval_run, "--index", 3)
    assert (code, error) == (1, f"error: --index 3: {simuleval_run} has the sentences 0 to 2\n")


def test_staircases_of_several_runs(plot, simuleval_run, tmp_path):
    other = shutil.copytree(simuleval_run, tmp_path / "other")
    code, error, size = plot("staircase", simuleval_run, other, "--width", "column")
    assert (code, error) == (0, "") and size > 5000
    code, error, _ = plot("staircase", simuleval_run, other, "--names", "a")
    assert code == 1 and "--names a: there must be one for each of the 2 runs" in error
    assert names_of(["a/k3/instances.log", "a/k5"]) == ["k3", "k5"] and names_of(["a"]) == ["a"]


def test_talk(plot, simuleval_run, tmp_path):
    table = tmp_path / "talks.tsv"
    line = "{}.wav\t0\t2500\t\tich möchte am Montag nach Köln fahren\n"
    header = "audio\toffset_ms\tduration_ms\tsource\ttarget\n"
    table.write_text(header + "".join(line.format(number) for number in range(3)), encoding="utf-8")
    for words in ((), ("--references", table), ("--seconds", 1, 2, "--width", 12.5)):
        code, error, size = plot("talk", simuleval_run, *words)
        assert (code, error) == (0, "") and size > 5000
    assert "--index 3: the run has the recordings 0 to 2" in plot("talk", simuleval_run, "--index", 3)[1]
    with pytest.raises(SystemExit):
        plot("talk", simuleval_run, "--width", "wide")


def test_staircase_of_another_unit(plot, simuleval_run):
    code, error, size = plot("staircase", simuleval_run, "--latency-unit", "char")
    assert (code, size) == (1, 0) and "line 1: sentence 0 has 7 delays for 31 units (char)" in error


@pytest.mark.parametrize("kind", ["alignment", "proportions"])
def test_the_inside_of_a_model(plot, model, wav, kind):
    code, error, size = plot(kind, model, wav, "--policy", "agreement", "--layer", 0, "--width", "column")
    assert (code, error) == (0, "") and size > 5000


@pytest.mark.parametrize("kind", ["alignment", "proportions"])
def test_errors_of_the_inside_of_a_model(plot, model, wav, tmp_path, kind):
    for words, message in (
        ((model, wav, "--layer", 7), "choose --layer from 0 to 1"),
        ((model, tmp_path / "gone.wav"), "cannot read audio file"),
        ((tmp_path / "gone", wav), "give the .pt file that fairseq-train saved, or a folder of leap-fairseq export"),
    ):
        code, error, _ = plot(kind, *words)
        assert code == 1 and error.startswith("error: ") and message in error
