"""scripts/benchmark.py as a user runs it: each sub-command once, at tiny sizes.

What it measures of memory it measures in processes that it starts itself, which are new ones here as well.
"""

import pytest
from preloading import ROOT

from leap_fairseq.report.tables import read_tsv

SCRIPT = ROOT / "scripts/benchmark.py"
SIZES = "--layers 1 --embed-dim 16 --heads 2 --ffn-embed-dim 16 --dictionary 30"


def measured(run_forked, folder, arguments):
    """What a sub-command prints, and the rows of its table."""
    tsv, png = folder / "new" / "b.tsv", folder / "new" / "b.png"
    output = run_forked(SCRIPT, *arguments.split(), "--threads", 1, "--tsv", tsv, "--png", png).output
    print(output)
    rows = read_tsv(tsv)
    assert png.stat().st_size > 10_000 and "torch" in rows[0]["machine"] and "1 threads" in output
    assert "Warning" not in output
    return output, rows


def test_attention(run_forked, tmp_path):
    sizes = "--lengths 128 512 --positions 512 --heads 2 --dim 8 --rounds 2 --matmul 32"
    output, rows = measured(run_forked, tmp_path, f"attention {sizes}")
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


def test_language_model(run_forked, tmp_path):
    output, rows = measured(
        run_forked, tmp_path, f"lm --attention leap --lengths 64 256 --tokens 256 --rounds 2 --matmul 32 {SIZES}"
    )
    assert "leap: scores and gradients equal" in output and "softmax grows: time T^" in output
    assert [row["attention"] for row in rows] == ["leap", "softmax", "matmul"] * 2
    models = [row for row in rows if row["attention"] != "matmul"]
    assert all(row["words_per_s"] > 0 and row["peak_mib"] > row["activations_mib"] > 0 for row in models)
    assert {row["vs_softmax"] for row in models if row["attention"] == "softmax"} == {1.0}


def test_profile(run_forked):
    output = run_forked(SCRIPT, *"lm --profile tiny --threads 1".split()).output
    assert "tiny, language model: an update of" in output and "aten::mm" in output and "share" in output


def test_decoding(run_forked, tmp_path):
    output, rows = measured(run_forked, tmp_path, f"decode --positions 5 60 --block 20 --rounds 3 {SIZES}")
    assert "softmax: step by step equals at once" in output
    places = [(kind, position) for kind in ("leap", "softmax") for position in (5, 60)]
    assert [(row["attention"], row["position"]) for row in rows] == places
    assert rows[0]["state_kib"] == rows[1]["state_kib"] and 11 < rows[3]["state_kib"] / rows[2]["state_kib"] < 13


def test_streaming(run_forked, tmp_path):
    sizes = "--arch leap_convtransformer_simul_trans_tiny --seconds 3 --minutes 1 --sessions 3 --vocab-size 30"
    output, rows = measured(run_forked, tmp_path, f"simulst {sizes}")
    assert "frames by segments equal frames at once" in output and "last_over_first" in output
    assert "sessions 3" in output and "alone_over_together" in output
    assert [row["encoder"] for row in rows] == ["full", "segment"]
    assert rows[0]["encoded_per_frame"] > rows[1]["encoded_per_frame"] == 1
