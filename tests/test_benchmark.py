"""scripts/benchmark.py: no speed behind a red gate, and figures that are what their names say."""

import argparse
import itertools
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tolerances
import torch

from leap_fairseq.attention import ALGORITHMS, LinearAttentionState
from leap_fairseq.report.tables import read_tsv

SCRIPT = Path(__file__).parents[1] / "scripts" / "benchmark.py"
sys.path.insert(0, str(SCRIPT.parent))

import benchmark  # noqa: E402
from benchmarks import contenders, decoding, gate, growth, guard, measuring, preparation, reporting, streaming  # noqa: E402

ATTENTION = "attention --lengths 32 96 --positions 96 --heads 2 --dim 8 --rounds 2 --matmul 32".split()
SIZES = "--layers 1 --embed-dim 16 --heads 2 --ffn-embed-dim 16 --dictionary 30".split()
LM = [*"lm --lengths 300 --tokens 300 --rounds 2 --matmul 32".split(), *SIZES]
DECODE = [*"decode --positions 5 60 --block 20 --rounds 2".split(), *SIZES]
SIMULST = "simulst --arch leap_convtransformer_simul_trans_tiny --seconds 3 --minutes 0 --vocab-size 30".split()
SPEEDS = ("ms", "vs_", "gflops", "compute_s", "words_per_s")


@pytest.fixture
def call(capsys, monkeypatch):
    """A function: runs a command line in this process; returns its output and its errors."""
    monkeypatch.setattr(measuring, "TURN", 0.001)

    def main(arguments, code=0):
        assert benchmark.main([*arguments, "--threads", "1"]) == code
        return capsys.readouterr()

    return main


def case(schedule="causal", queries=40, keys=40, **changes):
    sizes = {"batch": 2, "heads": 2, "dim": 8, "dtype": torch.float32, "device": "cpu", **changes}
    return contenders.Case(schedule, queries=queries, keys=keys, **sizes)


def test_exponents_of_known_growth():
    lengths = [100, 200, 800, 1600]
    assert growth.exponent(lengths, [3 * n**1.7 for n in lengths]) == pytest.approx(1.7)
    assert math.isnan(growth.exponent([100, 100], [1, 2]))
    # A batch of a constant number of positions, whose time is linear for one and quadratic in the end for the other.
    rows = [{"of": "a", "n": n, "batch": 1600 // n, "ms": 5.0, "mib": None} for n in lengths]
    rows += [{"of": "b", "n": n, "batch": 1600 // n, "ms": 5.0 + n / 10, "mib": 16.0} for n in lengths]
    a, b = growth.growth(rows[::-1], "of", "n", {"time": "ms", "memory": "mib"})[::-1]
    assert [a["time"], a["time_last_two"]] == pytest.approx([1, 1]) and math.isnan(a["memory"])
    assert b["time_last_two"] == pytest.approx(1 + math.log2(165 / 85)) and 1 < b["time"] < b["time_last_two"]
    assert "memory" not in reporting.growth_text([a]) and "memory T^1.00" in reporting.growth_text([b])


def test_contenders_take_turns_and_ratios_are_of_one_round():
    turns = []
    work = {name: lambda name=name: turns.append(name) or (len(turns), 0.5) for name in "abc"}
    times = measuring.alternate(work, rounds=2)
    assert "".join(turns) == "cba" + "abc" + "cba"
    assert times["a"] == [(4, 0.5), (9, 0.5)] and measuring.totals(times["a"]) == [4.5, 9.5]
    # The machine is ten times as slow in the second round and three times in the last.
    a, b = [1.0, 10.0, 3.3], [2.0, 20.0, 6.0]
    assert measuring.median_ratio(b, a) == 2
    assert measuring.spread([1, 2, 3, 4, 5]) == pytest.approx(2 / 3) and measuring.spread([7]) == 0


def test_operations_are_those_that_the_document_counts():
    sizes = case(batch=1, heads=1, dim=64, queries=100, keys=100)
    assert contenders.operations("compiled", sizes, networks=False) == 3 * 33_280 * 100
    assert contenders.operations("compiled", sizes, networks=True) == 3 * (33_280 + 4_160) * 100
    assert contenders.operations("sdpa", sizes, networks=True) == 3 * 256 * 100 * 101 // 2
    waitk = sizes._replace(schedule="waitk", queries=5)
    # Queries at 45, 54, ..., 81 keys; the others are never added to the state.
    assert contenders.operations("quadratic", waitk, networks=False) == 3 * 256 * (45 + 54 + 63 + 72 + 81)
    assert contenders.operations("blockwise", waitk, networks=False) == 3 * 16_640 * (5 + 81)


@pytest.mark.parametrize("schedule", contenders.SCHEDULES)
def test_laws_by_slices_are_laws_at_once(schedule, monkeypatch):
    monkeypatch.setattr(gate, "SLICE", 7)
    sizes = case(schedule, queries=20, keys=33, dtype=torch.float64)
    x, visible = sizes.inputs(mapped=True), sizes.visible("compiled")
    cotangent = torch.randn(x["q"].shape, dtype=torch.float64)
    for law, names in (("leap", x), ("softmax", "qkv")):
        given = {name: x[name] for name in names}
        sliced = gate.lawful_results(gate.LAWS[law], given, visible, cotangent)
        whole = gate.results(gate.LAWS[law], given, visible, cotangent)
        assert len(whole) == 1 + len(given)
        gate.largest_share(sliced, whole, torch.float64, law)


def test_tolerances_are_those_of_the_tests():
    assert gate.TOLERANCES == tolerances.ABSOLUTE


def test_attention_table(call, tmp_path):
    out = call([*ATTENTION, "--no-memory", "--tsv", str(tmp_path / "a.tsv"), "--png", str(tmp_path / "a.png")]).out
    assert "T 96, S 96, H 2, K 8: equal to the law" in out and f"torch {torch.__version__}" in out
    assert "1 threads" in out and "blockwise grows: time T^" in out and "fla is left out" in out
    rows = read_tsv(tmp_path / "a.tsv")
    names = [name for name in ("compiled", "blockwise", "sdpa", "quadratic") if f"{name} is left out" not in out]
    assert [(r["algorithm"], r["keys"], r["batch"]) for r in rows] == [
        (name, length, 96 // length) for length in (32, 96) for name in [*names, "matmul"]
    ]
    for row in rows:
        assert all(row[name] > 0 for name in ("ms", "gflops", "of_matmul")) and "threads" in row["machine"]
        alone = row["algorithm"] == "matmul"
        assert math.isnan(row["forward_ms"]) == math.isnan(row["vs_sdpa"]) == alone
        assert alone or row["vs_sdpa"] > 0 and row["forward_ms"] + row["backward_ms"] == pytest.approx(row["ms"], rel=2)
    assert {r["vs_sdpa"] for r in rows if r["algorithm"] == "sdpa"} == {1.0}
    assert (tmp_path / "a.png").stat().st_size > 10_000


@pytest.mark.parametrize("schedule, more", [("waitk", "--core"), ("segment", "--dtype=bf16"), ("full", "--core")])
def test_other_schedules_and_types(call, schedule, more):
    out = call([*ATTENTION, "--no-memory", "--schedule", schedule, more]).out
    assert f"{schedule}, B 1, T {96 // 9 if schedule == 'waitk' else 96}, S 96, H 2, K 8: equal to the law" in out


class BrokenGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * 1.01


def broken_output(given):
    return ALGORITHMS["naive"](given) * 1.001


def broken_gradient(given):
    return ALGORITHMS["naive"](given._replace(key_proportion=BrokenGradient.apply(given.key_proportion)))


def assert_stopped(printed, *reasons):
    """No speed, and the reason."""
    assert printed.err.startswith("error: ") and "; no speed is reported" in printed.err
    assert all(reason in printed.err for reason in reasons)
    assert not any(speed in printed.out for speed in SPEEDS)


@pytest.mark.parametrize(
    "broken, what", [(broken_output, "the output"), (broken_gradient, "gradient of key_proportion")]
)
def test_a_broken_algorithm_stops_the_attention(call, monkeypatch, broken, what):
    monkeypatch.setitem(ALGORITHMS, "blockwise", broken)
    assert_stopped(call(ATTENTION, code=1), "blockwise at causal, B 2", "does not equal its law", what)


def test_a_softmax_that_sees_the_future_stops_the_attention(call, monkeypatch):
    softmax = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", lambda *x, is_causal: softmax(*x))
    assert_stopped(call(ATTENTION, code=1), "sdpa at causal, B 2", "the output")


def test_what_is_wrong_at_full_length_alone_stops_the_attention(call, monkeypatch):
    blockwise = ALGORITHMS["blockwise"]
    monkeypatch.setitem(ALGORITHMS, "blockwise", lambda g: blockwise(g) * (1.01 if g.q.shape[1] > 130 else 1))
    assert_stopped(call([*ATTENTION, "--lengths", "96", "140"], code=1), "blockwise at causal, B 1, T 140, S 140, H 1")


def test_a_broken_algorithm_stops_the_language_model(call, monkeypatch):
    for name in ("compiled", "blockwise"):
        monkeypatch.setitem(ALGORITHMS, name, broken_gradient)
    assert_stopped(call(LM, code=1), "the language model with leap does not equal its law: the gradient of decoder")


def test_a_softmax_that_sees_the_future_stops_the_language_model(call, monkeypatch):
    softmax = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda q, k, v, *x, **named: softmax(q, k, v)
    )
    assert_stopped(call(LM, code=1), "the language model with softmax does not equal its law: the scores")


def test_a_broken_state_stops_decoding_and_streaming(call, monkeypatch):
    step = LinearAttentionState.step
    monkeypatch.setattr(LinearAttentionState, "step", lambda *x: (step(*x)[0] * 1.1, step(*x)[1]))
    assert_stopped(call(DECODE, code=1), "decoding by leap does not equal its law")
    monkeypatch.setattr(LinearAttentionState, "absorb", lambda state, *x, **named: state)
    assert_stopped(call(SIMULST, code=1), "the encoder by segments does not equal its law")


def test_state_of_decoding_is_counted_in_bytes():
    state = LinearAttentionState(torch.zeros(1, 1, 3, 5))
    assert decoding.size({"a": [state, {"b": torch.zeros(2, dtype=torch.float64)}], "c": (None, 7, "x")}) == 76


def test_the_guard_calls_slower_what_chance_does_not_explain(call, monkeypatch, tmp_path):
    monkeypatch.setattr(guard, "KEPT", tmp_path / "guard.json")
    ours = iter(map(float, [9, 2, 2, 9, 2, 2, 9, 3, 3, 9, 3, 2]))

    def ratios(clock):
        return {"a, over b": lambda: guard.Ratio(lambda: [next(ours)], lambda: [4.0])}

    monkeypatch.setattr(guard, "ratios", ratios)
    guarded = ["guard", "--rounds", "2"]
    assert "guard.json is not there: write it with --update" in call(guarded, code=1).err
    assert "new" in call([*guarded, "--update"]).out
    assert "as before" in call(guarded).out
    output = call(guarded, code=1)
    assert "slower" in output.out and "slower than before, by more than chance: a, over b" in output.err
    # As slow, but in one of two rounds alone.
    assert "as before" in call(guarded).out


def simulst(*options):
    parser = argparse.ArgumentParser()
    streaming.add_arguments(parser)
    return parser.parse_args([*SIMULST[1:], *options])


def test_streams_take_as_many_turns_as_the_guard_has_rounds(monkeypatch):
    monkeypatch.setattr(streaming, "TURNS", 2)
    turns = streaming.make_turns(simulst("--sessions", "2"), clock=itertools.count(0.0, 3.0).__next__)[0]
    # By the clock of the guard, which is asked before each turn and behind it.
    assert measuring.alternate(turns, 4) == dict.fromkeys(("together", "alone"), [(3.0,)] * 4)


@pytest.mark.parametrize("seconds, minutes", [(300, 0), (300, 2), (3, 6)])
def test_a_translator_that_never_ends_has_a_position_for_each_pre_decision(seconds, minutes):
    options = simulst("--seconds", str(seconds), "--minutes", str(minutes))
    model, _ = streaming.make_model(options, "segment")
    assert model.decoder.max_positions() > max(seconds, 60 * minutes) * 1000 // (options.ratio * streaming.FRAME_MS)


@pytest.mark.slow
def test_what_the_guard_compares_runs():
    for name, make in guard.ratios(measuring.make_clock("cpu", "cpu")).items():
        if "softmax" not in name or "360" in name:
            found = guard.measured(make()._replace(turns=1), 1)
            assert 0 < found["ratio"] < math.inf and found["noise"] == 0, name


@pytest.mark.parametrize("command", ["attention", "simulst"])
def test_a_picture_of_another_form_is_refused_before_anything_is_measured(command, capsys):
    with pytest.raises(SystemExit):
        benchmark.main([command, "--png", "curve.gif"])
    assert "argument --png: 'curve.gif' must end in one of .pdf, .svg, .png" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, reason",
    [
        ([*ATTENTION, "--rounds", "0"], "--rounds 0 must be at least 1"),
        ([*ATTENTION, "--dim", "6"], "--dim 6 is not divisible by 4"),
        ([*ATTENTION, "--schedule", "waitk", "--lengths", "8"], "--lengths 8 must be at least 9"),
        ([*LM, "--matmul", "0"], "--matmul 0 must be at least 1"),
        ([*LM, "--lengths", "7"], "--lengths 7 does not divide --tokens 300"),
        ([*DECODE, "--positions", "0"], "--positions and --block must be at least 1"),
        ([*SIMULST, "--seconds", "0"], "--seconds 0 must be at least 1"),
        ([*SIMULST, "--ratio", "80"], "--seconds 3 holds 0 pre-decisions of --ratio 80, but needs 1"),
        ([*SIMULST, "--minutes", "1", "--ratio", "63"], "--minutes 1 holds 23 pre-decisions of --ratio 63"),
    ],
)
def test_wrong_options_are_named(call, arguments, reason):
    assert reason in call(arguments, code=1).err


def test_clocks():
    options = argparse.Namespace(rounds=1, device="cpu", clock="cpu", threads=None)
    measuring.check_measuring_options(options)
    assert "CPU time" in measuring.machine(options)
    product = measuring.matrix_product(32, torch.float32, "cpu", measuring.make_clock("cpu", "cpu"))
    assert product()[0] > 0


def test_a_turn_of_matrices_is_as_long_as_those_it_is_compared_with(monkeypatch):
    """On a machine whose time is the number of products, 5 ms each."""
    done, multiply = [], torch.matmul
    monkeypatch.setattr(torch, "matmul", lambda a, b: done.append(1) or multiply(a, b))
    product = measuring.matrix_product(8, torch.float32, "cpu", lambda: 0.005 * len(done))
    before = len(done)
    assert product() == pytest.approx([0.005]) and len(done) - before == round(measuring.TURN / 0.005) == 40


def test_peak_memory_is_what_the_work_takes():
    """In a process of its own: memory that other tests have left behind would serve for the work."""
    program = """if True:
        import torch
        from benchmarks import measuring
        torch.ones(2**20)
        print(measuring.peak_mib(lambda: torch.ones(2**24) + 0 * torch.ones(1), "cpu"))
        print(measuring.peak_mib(lambda: torch.ones(2**10), "cpu"))
    """
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=SCRIPT.parent, capture_output=True, text=True, check=True
    )
    large, small = map(float, done.stdout.split())
    assert 63 < large - 64 < 66 and small < 1


@pytest.mark.slow
def test_a_measurement_of_memory_ends_with_who_asked_for_it():
    program = """
import multiprocessing, os, signal
from benchmarks import measuring

multiprocessing.context.BaseContext.set_forkserver_preload = lambda *_: None  # takes time
measuring.apart(os.kill, os.getpid(), signal.SIGKILL)
"""
    # The end of what they could write is that of all.
    options = {"cwd": SCRIPT.parent, "stdout": subprocess.PIPE, "timeout": 120}
    assert subprocess.run([sys.executable, "-c", program], **options).returncode == -signal.SIGKILL


def test_a_preparation_that_is_killed_before_it_begins_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(preparation, "_run_measured", lambda *_: None)
    options = argparse.Namespace(processes=1, options="", kill_after=1.0)
    with pytest.raises(ValueError, match="--kill-after 1: no features were being made then"):
        preparation.measure(tmp_path, tmp_path / "data", options)


def test_a_preparation_ends_with_its_measurement(monkeypatch, tmp_path):
    """Else it would go on in a folder that is removed."""
    begun = []

    def interrupted(seconds):
        begun.extend(preparation._children(os.getpid()))
        raise KeyboardInterrupt

    before = preparation._children(os.getpid())
    monkeypatch.setattr(preparation.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        preparation._run_measured(["sleep", "300"], tmp_path / "out", dict.fromkeys(("peak_mib", "worker_mib"), 0.0))
    assert len(begun) == len(before) + 1 and preparation._children(os.getpid()) == before


@pytest.mark.parametrize(
    "words, reason",
    [
        (["--hours", "1", "0"], "--hours 0 must be above 0"),
        (["--hours", "nan"], "--hours nan must be above 0"),
        (["--sentences", "0"], "--sentences 0 must be at least 1"),
        (["--kill-after", "0"], "--kill-after 0.0 must be at least 1"),
        (["-j", "0"], "--processes 0 must be at least 1"),
    ],
)
def test_a_preparation_of_nothing_is_refused(monkeypatch, capsys, words, reason):
    monkeypatch.setattr(preparation, "row_of", None)
    assert benchmark.main(["prepare", *words]) == 1
    assert reason in capsys.readouterr().err


def test_preparations_of_one_size_have_no_rate(monkeypatch, capsys, tmp_path):
    def row_of(sentences, seconds, folder, options):
        return {"hours": sentences * seconds / 3600, "wall_s": 10.0 * sentences, "cpu_s": 1.0, "disk_mib": 1.0}

    monkeypatch.setattr(preparation, "row_of", row_of)
    assert benchmark.main(["prepare", "--hours", "1", "1", "--tsv", str(tmp_path / "same.tsv")]) == 0
    assert "400 hours" not in capsys.readouterr().out and len(read_tsv(tmp_path / "same.tsv")) == 2
    assert benchmark.main(["prepare", "--hours", "1", "2"]) == 0
    assert "400 hours at the rate of the last two: wall_s " in capsys.readouterr().out
