"""The command of Long-Range Arena's data: its options, and data sets that are whole or absent, made once."""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from leap_fairseq.cli import command
from leap_fairseq.lra import FACTS, SPLITS, DataError, LraFacts, LraSplit, listops, pathfinder, prepare, read_facts
from leap_fairseq.lra.data_set import HEADER_BYTES, Writer, npy_header, write_data_set
from leap_fairseq.lra.listops_grammar import Limits

KIND = LraFacts("text", 257, 2, 30)
COMMAND = [sys.executable, Path(__file__).parents[2] / "data_prep/prep_lra.py"]


def add_examples(writer, count=5):
    rng = np.random.default_rng(1)
    for split in SPLITS:
        for number in range(count):
            writer.add(split, number % 2, rng.integers(1, 257, size=rng.integers(1, 31)))


def run(*arguments):
    return command.main(prepare, [str(argument) for argument in arguments])


@pytest.fixture
def visible(hashes):
    """A function: the hashes of what is not hidden."""
    return lambda out: {name: value for name, value in hashes(out).items() if not name.startswith(".")}


@pytest.mark.parametrize("count", [1, 10, 12345, 10**15])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_header_is_numpys(count, dtype, tmp_path):
    header = npy_header(dtype, count)
    assert len(header) == HEADER_BYTES
    (tmp_path / "x.npy").write_bytes(header)
    with open(tmp_path / "x.npy", "rb") as file:
        assert np.lib.format.read_magic(file) == (1, 0)
        assert np.lib.format.read_array_header_1_0(file) == ((count,), False, np.dtype(dtype))


def test_what_is_complete_is_reused(tmp_path, hashes, caplog):
    caplog.set_level(logging.INFO)
    write_data_set(tmp_path, KIND, {"seed": 1}, add_examples)
    before = hashes(tmp_path)
    facts = write_data_set(tmp_path, KIND, {"seed": 1}, pytest.fail)
    assert facts == read_facts(tmp_path) and hashes(tmp_path) == before
    assert "reusing" in caplog.text


@pytest.mark.parametrize("name", [FACTS, "train.tokens.npy", "valid.offsets.npy", "test.labels.npy"])
@pytest.mark.parametrize("damage", ["missing", "torn"])
def test_what_is_damaged_is_made_again(name, damage, tmp_path, visible):
    write_data_set(tmp_path, KIND, {}, add_examples)
    before, content = visible(tmp_path), (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    if damage == "torn" and name != FACTS:
        (tmp_path / name).write_bytes(content[:-1])
    write_data_set(tmp_path, KIND, {}, add_examples)
    assert visible(tmp_path) == before


def test_facts_that_cannot_be_read_are_made_again_as_the_message_says(tmp_path, visible):
    write_data_set(tmp_path, KIND, {}, add_examples)
    before = visible(tmp_path)
    (tmp_path / FACTS).write_bytes((tmp_path / FACTS).read_bytes()[:-9])
    with pytest.raises(DataError, match=f"delete {FACTS}, and make the data again with leap-fairseq prepare lra"):
        write_data_set(tmp_path, KIND, {}, add_examples)
    (tmp_path / FACTS).unlink()
    write_data_set(tmp_path, KIND, {}, add_examples)
    assert visible(tmp_path) == before


def test_other_options_make_it_anew(tmp_path):
    write_data_set(tmp_path, KIND, {"seed": 1}, add_examples)
    write_data_set(tmp_path, KIND, {"seed": 2}, lambda writer: add_examples(writer, 7))
    assert read_facts(tmp_path).splits["test"] == 7 and read_facts(tmp_path).options["seed"] == 2
    write_data_set(tmp_path, KIND._replace(max_length=31), {"seed": 2}, add_examples)
    assert read_facts(tmp_path).max_length == 31


def test_another_task_is_not_written_over(tmp_path, hashes):
    write_data_set(tmp_path, KIND, {}, add_examples)
    before = hashes(tmp_path)
    with pytest.raises(DataError, match="holds the task text, not image: choose another --out"):
        write_data_set(tmp_path, KIND._replace(task="image"), {}, add_examples)
    assert hashes(tmp_path) == before


@pytest.mark.parametrize(
    "example, message",
    [
        ((0, [0, 1]), "tokens from 0"),
        ((0, [257]), "tokens from"),
        ((0, []), "lengths from 0"),
        ((0, [1] * 31), "to 31, but must make 1 to 30"),
        ((2, [1]), "labels from 0 to 2"),
        ((-1, [1]), "labels from -1"),
    ],
)
def test_what_could_not_be_read_is_not_published(example, message, tmp_path):
    def make(writer):
        add_examples(writer)
        writer.add("valid", example[0], np.array(example[1], np.int64))

    with pytest.raises(DataError, match=message):
        write_data_set(tmp_path, KIND, {}, make)
    assert [path.name for path in tmp_path.iterdir()] == [".prep_lra"] and not list((tmp_path / ".prep_lra").iterdir())


def test_an_empty_split_is_refused(tmp_path):
    with pytest.raises(DataError, match="valid would have no examples"):
        write_data_set(tmp_path, KIND, {}, lambda w: [w.add(s, 0, np.ones(3, int)) for s in ("train", "test")])


class Killed(BaseException):
    """Ends a run where nothing catches it."""


@pytest.mark.parametrize("after", range(0, 11, 2))
def test_a_run_that_ends_while_publishing_leaves_no_half_set(after, tmp_path, visible, monkeypatch):
    """Old data are there, and with other options a run is cut off at each file: then no facts, or all of the new."""
    write_data_set(tmp_path / "whole", KIND, {"seed": 2}, lambda writer: add_examples(writer, 7))
    write_data_set(tmp_path / "cut", KIND, {"seed": 1}, add_examples)
    moves, replace = [], os.replace

    def cut_off(source, target):
        if ".prep_lra" in str(source) and "build-" in str(source) and os.path.dirname(target) == str(tmp_path / "cut"):
            if len(moves) == after:
                raise Killed
            moves.append(target)
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", cut_off)
        try:
            write_data_set(tmp_path / "cut", KIND, {"seed": 2}, lambda writer: add_examples(writer, 7))
        except Killed:
            with pytest.raises(DataError, match="lra.json is missing"):
                LraSplit(tmp_path / "cut", "train")
        else:
            assert after == 10
    write_data_set(tmp_path / "cut", KIND, {"seed": 2}, lambda writer: add_examples(writer, 7))
    assert visible(tmp_path / "cut") == visible(tmp_path / "whole")


def test_leftovers_of_a_killed_run_are_removed(tmp_path, hashes):
    write_data_set(tmp_path / "whole", KIND, {}, add_examples)
    left = tmp_path / "killed" / ".prep_lra" / "build-xyz"
    left.mkdir(parents=True)
    with Writer(left, KIND) as writer:
        add_examples(writer)
    write_data_set(tmp_path / "killed", KIND, {}, add_examples)
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "whole")


def test_listops_by_command(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    options = ["--out", tmp_path / "out", "--sizes", 50, 10, 10, "--lengths", 5, 40, "--max-depth", 4, "-j", 2]
    assert run("listops", *options) == 0
    facts = read_facts(tmp_path / "out")
    assert facts.splits == {"train": 50, "valid": 10, "test": 10} and facts.max_length == 40
    assert facts.options["max_depth"] == 4 and facts.options["max_args"] == 10 and facts.options["version"] == 1
    assert "labels 0 to 9" in caplog.text
    listops.prep_listops(tmp_path / "library", facts.splits, Limits(5, 40, 4))
    assert json.loads((tmp_path / "out" / FACTS).read_text()) == json.loads((tmp_path / "library" / FACTS).read_text())


def test_defaults_are_the_published_sizes(monkeypatch, tmp_path):
    seen = {}
    monkeypatch.setattr(listops, "prep_listops", lambda **options: seen.update(options) or sys.exit(0))
    for flags, sizes, limits in (
        ([], {"train": 96_000, "valid": 2_000, "test": 2_000}, (500, 2000, 10, 10)),
        (["--small"], {"train": 3_000, "valid": 300, "test": 300}, (50, 200, 10, 10)),
        (["--small", "--lengths", "9", "99", "--max-args", "3"], listops.SMALL_SIZES, (9, 99, 10, 3)),
    ):
        with pytest.raises(SystemExit):
            run("listops", "--out", tmp_path, *flags)
        assert seen["sizes"] == sizes and seen["limits"] == limits
    monkeypatch.setattr(pathfinder, "prep_pathfinder", lambda **options: seen.update(options) or sys.exit(0))
    with pytest.raises(SystemExit):
        run("pathfinder", "--out", tmp_path)
    assert seen["sizes"] == {"train": 160_000, "valid": 20_000, "test": 20_000}


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--from", "x", "--small", "--labels", "drawn"], "--small, --labels is for lists that are made, not read"),
        (["--valid", "0.2"], "--valid is for lists that are read"),
        (["--from", "x"], "x does not exist"),
        (["--sizes", "0", "1", "1"], "--sizes gives train 0"),
    ],
)
def test_contradictory_options_are_one_line(flags, message, tmp_path, capsys):
    assert run("listops", "--out", tmp_path / "out", *flags) == 1
    errors = capsys.readouterr().err
    assert message in errors.splitlines()[-1] and "Traceback" not in errors


def test_lists_are_read_by_command(tmp_path):
    lines = [f"{i}\t( ( ( [FIRST {i} ) {j} ) ] )\n" for i in range(9) for j in range(5)]
    (tmp_path / "test_a.tsv").write_text("".join(lines))
    options = ["--from", tmp_path, "--out", tmp_path / "out", "--valid", 0.2, "--test", 0.4]
    assert run("listops", *options) == 0
    assert read_facts(tmp_path / "out").splits == {"train": 18, "valid": 9, "test": 18}


def test_pathfinder_by_command(tmp_path):
    pytest.importorskip("PIL")
    options = ["--difficulty", "easy", "--sizes", 6, 2, 2, "--sheet", tmp_path / "sheet.png"]
    assert run("pathfinder", "--out", tmp_path / "out", *options) == 0
    assert read_facts(tmp_path / "out").options["difficulty"] == "easy"
    assert (tmp_path / "sheet.png").stat().st_size > 1000


def test_text_by_command(tmp_path):
    for label in ("pos", "neg"):
        (tmp_path / "in" / label).mkdir(parents=True)
        for number in range(10):
            (tmp_path / "in" / label / f"{number}.txt").write_text(f"film {label} {number}")
    assert run("text", tmp_path / "in", "--out", tmp_path / "out", "--max-length", 6, "--test", 0.2) == 0
    facts = read_facts(tmp_path / "out")
    assert facts.splits == {"train": 14, "valid": 2, "test": 4} and facts.max_length == 6


@pytest.mark.slow
@pytest.mark.parametrize("written", [0, 16_000])
def test_a_killed_command_leaves_nothing_and_runs_again(written, tmp_path, visible):
    """Killed when the file of the training tokens is there, and when so many bytes, of some 40,000, are in it."""
    options = ["listops", "--sizes", "1000", "20", "20", "--lengths", "20", "60", "-j", "2"]
    process = subprocess.Popen([*COMMAND, *options, "--out", str(tmp_path / "killed")], stderr=subprocess.DEVNULL)
    stamps = tmp_path / "killed" / ".prep_lra"
    while process.poll() is None:
        if any(file.stat().st_size >= written for file in stamps.glob("build-*/train.tokens.npy")):
            break
        time.sleep(0.001)
    assert process.poll() is None, "finished before it could be killed: ask for more lists"
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(DataError, match="lra.json is missing"):
        read_facts(tmp_path / "killed")
    for name in ("killed", "whole"):
        subprocess.run([*COMMAND, *options, "--out", str(tmp_path / name)], check=True, stderr=subprocess.DEVNULL)
    assert visible(tmp_path / "killed") == visible(tmp_path / "whole")
    assert not list(stamps.glob("build-*"))
