"""scripts/benchmark.py as a user runs it: each sub-command once, at tiny sizes, most of them as its page has them.

What it measures of memory it measures in processes that it starts itself, which are new ones here as well.
"""

import pytest
from document_pages import BENCHMARK
from preloading import ROOT

from leap_fairseq.report.tables import read_tsv

SCRIPT = ROOT / "scripts/benchmark.py"


@pytest.fixture
def measured(worked_in):
    """A function: what a sub-command of the page prints, and the rows of its table."""

    def read(name):
        clone = worked_in(BENCHMARK)
        tsv, png = (clone.folder / f"runs/benchmark/{name}.{ending}" for ending in ("tsv", "png"))
        # bash prints each command before it runs.
        printed = clone.output.split("+ python scripts/benchmark.py ")
        (output,) = [part for part in printed if part.startswith(f"{name} ") and "--tsv" in part]
        print(output)
        rows = read_tsv(tsv)
        assert png.stat().st_size > 10_000 and "torch" in rows[0]["machine"] and "1 threads" in output
        assert "Warning" not in output
        return output, rows

    return read


def test_attention(measured):
    output, rows = measured("attention")
    assert "sdpa grows: time T^" in output and "memory T^" in output
    memory = {(row["algorithm"], row["keys"]): row["peak_mib"] for row in rows if row["algorithm"] != "matmul"}
    assert min(memory.values()) > 0
    # Weights of two heads, 2 MiB each time they are written.
    assert memory["quadratic", 512] > memory["quadratic", 128] + 4


@pytest.mark.exhaustive
def test_preparation(run, tmp_path):
    """In a process of its own: it measures those that it starts."""
    options = "prepare --hours 0.002 0.004 -j 1 --tsv"
    output = run("python", SCRIPT, *options.split(), tmp_path / "b.tsv").output
    assert "400 hours at the rate of the last two: wall_s" in output
    rows = read_tsv(tmp_path / "b.tsv")
    assert [row["sentences"] for row in rows] == [2, 4] and rows[0]["disk_mib"] < rows[1]["disk_mib"]
    assert all(row["cpu_s"] > 0 and row["peak_mib"] > 20 for row in rows)


def test_language_model(measured):
    output, rows = measured("lm")
    assert output.count("scores and gradients equal") == 3 and "softmax grows: time T^" in output
    assert [row["attention"] for row in rows] == ["leap", "leap_fading", "softmax", "matmul"] * 2
    models = [row for row in rows if row["attention"] != "matmul"]
    assert all(row["words_per_s"] > 0 and row["peak_mib"] > row["activations_mib"] > 0 for row in models)
    assert {row["vs_softmax"] for row in models if row["attention"] == "softmax"} == {1.0}


def test_profile(run_forked):
    output = run_forked(SCRIPT, *"lm --profile tiny --threads 1".split()).output
    assert "tiny, language model: an update of" in output and "aten::mm" in output and "share" in output


def test_decoding(measured):
    output, rows = measured("decode")
    assert "softmax: step by step equals at once" in output
    places = [(kind, position) for kind in ("leap", "softmax") for position in (5, 60)]
    assert [(row["attention"], row["position"]) for row in rows] == places
    assert rows[0]["state_kib"] == rows[1]["state_kib"] and 11 < rows[3]["state_kib"] / rows[2]["state_kib"] < 13


def test_streaming(measured):
    output, rows = measured("simulst")
    assert "frames by segments equal frames at once" in output and "last_over_first" in output
    assert "sessions 3" in output and "alone_over_together" in output
    assert [row["encoder"] for row in rows] == ["full", "segment"]
    assert rows[0]["encoded_per_frame"] > rows[1]["encoded_per_frame"] == 1
