"""The command that evaluates a test set, with a stand-in for SimulEval: what it is told, and what comes of it."""

import json
import multiprocessing
import os
import shutil
import signal
import sys
import time

import fake_simuleval
import numpy as np
import pytest
import soundfile

from leap_fairseq.agents import evaluation
from leap_fairseq.cli import evaluate, main
from leap_fairseq.cli.command import command_parser
from leap_fairseq.cli.evaluate import read_list
from leap_fairseq.files import DataError, locked
from leap_fairseq.report.tables import read_tsv
from leap_fairseq.scoring.languages import Languages, write_languages
from leap_fairseq.scoring.long_references import COLUMNS, read_references, write_without


@pytest.fixture
def lists(tmp_path, monkeypatch):
    """The lists of five recordings, which lie in the current directory."""
    monkeypatch.chdir(tmp_path)
    for number in range(5):
        soundfile.write(f"{number}.wav", np.full(800, 0.1), 16000)
    (tmp_path / "eval.wav_list").write_text("".join(f"{number}.wav\n" for number in range(5)))
    (tmp_path / "eval.target").write_text("".join(f"of {number}.wav\n" for number in range(5)))
    return tmp_path / "eval"


@pytest.fixture
def told(monkeypatch):
    """The words of each call of simuleval."""
    words, run_all = [], evaluation.Evaluation._run_all

    def noted(self, command, folders, jobs):
        words.append(command[2:])
        run_all(self, command, folders, jobs)

    monkeypatch.setattr(evaluation.Evaluation, "_run_all", noted)
    monkeypatch.setattr(evaluation, "simuleval_command", lambda: [sys.executable, fake_simuleval.__file__])
    # A test must not change what its process does at SIGTERM.
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return words


def option(words, name):
    return words[words.index(name) + 1]


def test_defaults_are_the_models_own_policy(model, lists, told, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["evaluate", str(model), str(lists), str(out)]) == 0
    (words,) = told
    assert option(words, "--test-waitk-lagging") == "5" and option(words, "--source-segment-size") == "160"
    assert option(words, "--model-path") == str(model) and option(words, "--eval-latency-unit") == "word"
    (row,) = read_tsv(out / "table.tsv")
    assert (row["model"], row["waitk"], row["sentences"]) == ("leap", 5, 5) and row["BLEU"] > 0
    assert json.loads((out / "table.json").read_text())[0]["waitk"] == 5
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 3 and printed[0].split()[:3] == ["model", "policy", "waitk"] and "tok:13a" in printed[2]
    assert not (out / "quality_latency.png").exists()


def test_several_k_have_folders_a_table_and_a_curve(model, lists, told, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "out"
    options = "--waitk-lagging 3 1 --jobs 2 --label mine --segment-ms 80 --dtype bf16"
    words = ["evaluate", str(model), str(lists), str(out), *options.split()]
    assert main(words) == 0
    assert [option(given, "--test-waitk-lagging") for given in told[-2:]] == ["1", "3"]
    assert all("--bf16" in given and option(given, "--source-segment-size") == "80" for given in told)
    assert [(row["model"], row["waitk"]) for row in read_tsv(out / "table.tsv")] == [("mine", 1), ("mine", 3)]
    assert (out / "k1/instances.log").is_file() and (out / "quality_latency.png").stat().st_size > 5000
    count = len(told)
    assert main(words) == 0 and len(told) == count


def test_a_policy_has_a_curve_over_any_of_its_options(model, lists, told, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    words = ["evaluate", str(model), str(lists), str(tmp_path / "out"), "--policy", "confidence"]
    assert main([*words, "--threshold", "0.9", "0.25", "--max-lagging", "7"]) == 0
    assert [option(given, "--test-threshold") for given in told] == ["0.25", "0.9"]
    assert all(option(given, "--test-policy") == "confidence" and "--test-waitk-lagging" not in given for given in told)
    assert all(option(given, "--test-max-lagging") == "7" and "--test-min-lagging" not in given for given in told)
    columns = ("policy", "threshold", "min_lagging", "max_lagging")
    rows = [tuple(row[name] for name in columns) for row in read_tsv(tmp_path / "out" / "table.tsv")]
    assert rows == [("confidence", 0.25, 1, 7), ("confidence", 0.9, 1, 7)]
    assert (tmp_path / "out/threshold0.25/instances.log").is_file() and (tmp_path / "out/quality_latency.png").is_file()
    for wrong, message in (
        (["--threshold", "0.5", "0.6", "--max-lagging", "6", "7"], "--max-lagging and --threshold have several values"),
        (["--threshold", "0.5", "0.5"], "--threshold 0.5 0.5 has a value twice"),
        (["--waitk-lagging", "3"], "which has no --waitk-lagging: leave it out"),
    ):
        assert main([*words, *wrong]) == 1 and message in capsys.readouterr().err


def results(out):
    """The files of an evaluation that its result is made of, but for the picture."""
    paths = [path for path in out.rglob("*") if path.is_file() and ".parts" not in path.parts]
    return {path.relative_to(out): path.read_bytes() for path in paths if path.suffix in (".log", ".json", ".tsv")}


def test_parts_of_several_jobs_join_to_what_one_process_makes(model, lists, told, tmp_path, capsys, caplog):
    caplog.set_level("INFO")
    pytest.importorskip("matplotlib")
    words = ["evaluate", str(model), str(lists), str(tmp_path / "one"), "--waitk-lagging", "1", "3"]
    assert main(words) == 0
    alone, count = results(tmp_path / "one"), len(told)
    words[3] = str(tmp_path / "out")
    for part, left in (("2/3", "0/3, 1/3"), ("0/3", "1/3"), ("0/3", "1/3")):
        capsys.readouterr()
        assert main([*words, "--part", part]) == 0
        assert f"other jobs have to do the rest, --part {left}\n" in capsys.readouterr().out
    assert len(told) == count + 2 and not results(tmp_path / "out")
    assert main([*words, "--part", "1/3"]) == 0 and "BLEU" in capsys.readouterr().out
    # One of the middle has sentences of both.
    assert len(told) == count + 4 and results(tmp_path / "out") == alone
    assert (tmp_path / "out/quality_latency.png").is_file()
    assert main([*words, "--part", "0/7"]) == 0 and main(words) == 0 and len(told) == count + 4
    assert [line for line in caplog.messages if "to translate" in line and "1-of-3/k1" in line] == [
        f"{tmp_path}/out/.parts/1-of-3/k1: 2 of 5 sentences to translate"
    ]


def test_what_jobs_have_left_is_taken_over(model, lists, told, tmp_path, capsys, caplog):
    """By another division, by one process, and by a single policy, whose folder is that of the evaluation."""
    caplog.set_level("INFO")
    words = ["evaluate", str(model), str(lists), str(tmp_path / "out"), "--waitk-lagging", "3"]
    for more, translated in ((["--part", "0/4"], 1), (["--part", "0/2"], 1), ([], 3)):
        caplog.clear()
        assert main([*words, *more]) == 0
        assert f": {translated} of 5 sentences to translate" in caplog.text
    assert read_tsv(tmp_path / "out/table.tsv")[0]["sentences"] == 5
    words[-1] = "5"
    for part in ("0/2", "0/5"):
        assert main([*words, "--part", part]) == 1
        assert "/out holds an evaluation of --test-waitk-lagging 3, not 5" in capsys.readouterr().err
    (tmp_path / "out/evaluation.json").unlink()
    (tmp_path / "out/instances.log").unlink()
    assert main([*words, "--part", "0/2"]) == 1 and "0-of-2 holds an evaluation of" in capsys.readouterr().err
    assert main([*words, "--part", "0/5"]) == 0
    assert "1 of 5 translations are in" in capsys.readouterr().out  # those of the other are passed over


def test_one_job_joins(model, lists, told, tmp_path, capsys):
    words = ["evaluate", str(model), str(lists), str(tmp_path / "out"), "--part"]
    assert main([*words, "0/2"]) == 0
    (tmp_path / "out/.parts/joining").touch()
    with locked(tmp_path / "out/.parts/joining"):
        process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(main([*words, "1/2"])))
        process.start()
        process.join(60)
    assert process.exitcode == 0 and not (tmp_path / "out/table.tsv").exists()
    assert main([*words, "1/2"]) == 0 and (tmp_path / "out/table.tsv").is_file()


def test_recordings_that_cannot_be_translated_are_left_out_by_name(model, lists, told, tmp_path, caplog):
    (tmp_path / "1.wav").unlink()
    soundfile.write("2.wav", np.full(800, np.nan), 16000, subtype="FLOAT")
    soundfile.write("4.wav", np.full(300, 0.1), 16000)
    assert main(["evaluate", str(model), str(lists), "out"]) == 0
    (row,) = read_tsv(tmp_path / "out" / "table.tsv")
    assert row["sentences"] == 2 and row["BLEU"] > 0
    _, *rows = [line.split("\t") for line in (tmp_path / "out" / "left_out.tsv").read_text().splitlines()]
    assert [line[:2] for line in rows] == [["2", "1.wav"], ["3", "2.wav"], ["5", "4.wav"]]
    for words, (_, _, reason) in zip(
        ("cannot read", "2.wav: the samples go from nan", "shorter than one window"), rows
    ):
        assert words in reason and reason in caplog.text
    assert "3 of 5 recordings were left out of the scores, listed in out/left_out.tsv" in caplog.text
    count = len(told)
    assert main(["evaluate", str(model), str(lists), "out"]) == 0 and len(told) == count


def test_a_list_of_nothing_but_bad_recordings_is_an_error(model, lists, told, tmp_path, capsys):
    for number in range(5):
        (tmp_path / f"{number}.wav").unlink()
    assert main(["evaluate", str(model), str(lists), "out"]) == 1
    assert (
        "no recording of the list can be translated; the first: cannot read audio file 0.wav" in capsys.readouterr().err
    )


def test_references_of_the_recordings_that_are_left(tmp_path):
    rows = [(f"{talk}.wav", "0", "5", f"{talk} {part}", "x") for talk in "abc" for part in range(2)]
    (tmp_path / "t.tsv").write_text("\n".join("\t".join(row) for row in [COLUMNS, *rows]) + "\r\n", newline="")
    left = read_references(write_without(tmp_path / "t.tsv", {1}, tmp_path / "kept.tsv"))
    assert [[sentence.source for sentence in talk] for talk in left] == [["a 0", "a 1"], ["c 0", "c 1"]]


def test_another_evaluation_in_the_folder_is_refused(model, lists, told, tmp_path, capsys):
    words = ["evaluate", str(model), str(lists), str(tmp_path / "out"), "--waitk-lagging"]
    assert main([*words, "1"]) == 0 and main([*words, "2"]) == 1
    assert "holds an evaluation of --test-waitk-lagging 1, not 2" in capsys.readouterr().err


def test_a_model_with_other_data_is_another_one_and_what_is_complete_needs_none(model, lists, told, tmp_path, capsys):
    copied = shutil.copytree(model, tmp_path / "copied")
    words = ["evaluate", str(copied), str(lists), str(tmp_path / "out")]
    assert main(words) == 0
    (pieces,) = copied.glob("*.model")
    content = pieces.read_bytes()
    pieces.write_bytes(content + b"other")
    assert main(words) == 1 and "holds an evaluation of data" in capsys.readouterr().err
    pieces.write_bytes(content)
    assert main(words) == 0
    pieces.unlink()
    assert main(words) == 0 and len(told) == 1


def test_unit_and_language_are_in_the_folder(model, lists, told, tmp_path, capsys):
    """So that it is scored and drawn in them, without an option, and in no other."""
    out, (spm_model,) = tmp_path / "out", model.glob("*.model")
    words = ["evaluate", str(model), str(lists), str(out), "--waitk-lagging", "1"]
    assert main([*words, "--tgt-lang", "zh", "--latency-unit", "word"]) == 0
    facts = json.loads((out / "evaluation.json").read_text())
    assert (facts["--tgt-lang"], facts["--eval-latency-unit"], facts["sentences"]) == ("zh", "word", 5)
    for given in (["score", str(out)], words):
        capsys.readouterr()
        assert main(given) == 0 and "tok:zh" in capsys.readouterr().out
    assert len(told) == 1
    assert main([*words, "--tgt-lang", "de"]) == 1
    assert "out was made with --tgt-lang zh, not de" in capsys.readouterr().err
    # SimulEval would have logged as many delays as characters.
    words[3] = str(tmp_path / "characters")
    assert main([*words, "--latency-unit", "char"]) == 1
    assert "line 1: sentence 0 has 2 delays for 7 units (char)" in capsys.readouterr().err
    words[3] = str(tmp_path / "pieces")
    assert main([*words, "--latency-unit", "spm", "--spm-model", str(spm_model)]) == 1
    assert "line 1: prediction_spm is missing" in capsys.readouterr().err
    assert option(told[-1], "--eval-latency-spm-model") == str(spm_model)
    facts = json.loads((tmp_path / "pieces/evaluation.json").read_text())
    assert facts["spm_model"] == str(spm_model) and len(facts["spm"]) == 64


def test_a_folder_of_an_earlier_version_goes_on(model, lists, told, tmp_path):
    """It says nothing of its language."""
    words = ["evaluate", str(model), str(lists), str(tmp_path / "out"), "--waitk-lagging", "1"]
    assert main([*words, "--tgt-lang", "de"]) == 0
    path = tmp_path / "out/evaluation.json"
    facts = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in facts.items() if name != "--tgt-lang"}))
    assert main([*words, "--tgt-lang", "de"]) == 0 and main(words) == 0 and len(told) == 1


def test_languages_of_the_lists(model, lists, told, tmp_path, capsys):
    """They decide what an option or an earlier run does not say."""
    facts = lambda out: json.loads((tmp_path / out / "evaluation.json").read_text())  # noqa: E731
    words = ["evaluate", str(model), str(lists)]
    write_languages(lists, Languages("en", "zh"))
    assert main([*words, str(tmp_path / "a"), "--latency-unit", "word"]) == 0 and "tok:zh" in capsys.readouterr().out
    assert (facts("a")["--src-lang"], facts("a")["--tgt-lang"]) == ("en", "zh")
    given = ["--tgt-lang", "de"]
    assert main([*words, str(tmp_path / "b"), *given]) == 0 and facts("b")["--tgt-lang"] == "de"
    assert main([*words, str(tmp_path / "b")]) == 0 and "tok:13a" in capsys.readouterr().out
    write_languages(lists, Languages("en", "en"))
    assert main([*words, str(tmp_path / "c"), "--waitk-lagging", "1", "3"]) == 0
    assert all(row["WER"] >= 0 for row in read_tsv(tmp_path / "c/table.tsv"))


@pytest.mark.parametrize(
    "languages, blocked, message",
    [
        (("en", "ja"), "MeCab", "tokenizer ja-mecab is not installed: pip install 'sacrebleu[ja]'"),
        (("en", "en"), "jiwer", "need jiwer: pip install 'jiwer>=4'"),
    ],
)
def test_a_missing_package_is_said_before_anything_is_translated(
    model, lists, told, tmp_path, capsys, monkeypatch, languages, blocked, message
):
    write_languages(lists, Languages(*languages))
    monkeypatch.setitem(sys.modules, blocked, None)
    monkeypatch.delitem(sys.modules, "sacrebleu.tokenizers.tokenizer_ja_mecab", raising=False)
    assert main(["evaluate", str(model), str(lists), str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err and not told and not (tmp_path / "out").exists()


def test_a_language_without_spaces_is_refused_before_it_is_translated(model, lists, told, tmp_path, capsys):
    lists.with_suffix(".target").write_text("\u4f60\u597d\u5417\n" * 5)
    assert main(["evaluate", str(model), str(lists), str(tmp_path / "out")]) == 1
    assert "eval.target: the references are in a language without spaces" in capsys.readouterr().err
    assert not told and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "given, message",
    [
        (["MODEL", "gone", "out"], "gone.wav_list is missing: LISTS is what leap-fairseq prepare lists wrote"),
        (["gone", "LISTS", "out"], "no checkpoint at gone"),
        (["MODEL", "LISTS", "out", "--long-form"], "eval.tsv"),
        (["MODEL", "LISTS", "out", "--jobs", "0"], "must be 1 or more (--jobs)"),
        (["MODEL", "LISTS", "out", "--part", "3/3"], "--part is '3/3', but must be I/N, job I of N, counted from 0"),
        (["MODEL", "LISTS", "out", "--latency-unit", "spm"], "--latency-unit spm needs --spm-model"),
    ],
)
def test_errors_are_one_line(model, lists, told, tmp_path, monkeypatch, capsys, given, message):
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *({"MODEL": str(model), "LISTS": str(lists)}.get(word, word) for word in given)]) == 1
    (error,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("error: "))
    assert message in error and not told


def test_an_empty_part_is_not_all_of_the_work(model, lists, told, tmp_path):
    words = [str(model), str(lists), str(tmp_path / "out"), "--part", ""]
    with pytest.raises(DataError, match="--part is '', but must be I/N"):
        evaluate.run(command_parser(evaluate).parse_args(words))
    assert not told and not (tmp_path / "out").exists()


def test_references_without_a_word_keep_their_places(tmp_path):
    (tmp_path / "eval.target").write_text("eins\n\nzwei\n\n\n")
    assert read_list(tmp_path / "eval.target") == ["eins", "", "zwei", "", ""]


def test_a_segment_of_nothing_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["evaluate", "model", "lists", "out", "--segment-ms", "0"])
    assert "--segment-ms: '0' must be a number of at least 1" in capsys.readouterr().err


def test_a_request_to_end_reaches_the_jobs(model, lists, tmp_path, monkeypatch):
    """Of the command in a process of its own: exit code 143, and no job goes on."""
    waiting = [sys.executable, fake_simuleval.__file__, "--seconds", "60"]
    monkeypatch.setattr(evaluation, "simuleval_command", lambda: waiting)
    words = ["evaluate", str(model), str(lists), str(tmp_path / "out")]
    process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(main(words)))
    process.start()
    begun = tmp_path / "out/.jobs/0/out/options.json"
    while not begun.is_file():
        assert process.is_alive()
        time.sleep(0.05)
    job = next(int(pid) for pid in os.listdir("/proc") if pid.isdecimal() and is_job(pid, tmp_path))
    process.terminate()
    process.join(30)
    assert process.exitcode == 143
    assert not os.path.exists(f"/proc/{job}")


def is_job(pid, folder):
    try:
        words = open(f"/proc/{pid}/cmdline").read()
    except OSError:
        return False
    return fake_simuleval.__file__ in words and str(folder) in words
