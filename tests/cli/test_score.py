"""The command that scores runs: its table, its files, and how folder and options choose unit and tokenizer."""

import json
import shutil
from pathlib import Path

import pytest

from leap_fairseq.cli import main
from leap_fairseq.report.tables import read_tsv


@pytest.fixture
def folder(simuleval_run, tmp_path):
    """A function: a copy of the run whose folder says these things of itself, as one of `evaluate` does."""

    def make(**facts):
        out = shutil.copytree(simuleval_run, tmp_path / f"run{len(list(tmp_path.iterdir()))}")
        (out / "evaluation.json").write_text(json.dumps(facts))
        return out

    return make


@pytest.fixture
def score(capsys):
    """A function: scores; returns the exit code, what was written to stdout, and to stderr."""

    def run(*words):
        return main(["score", *map(str, words)]), *capsys.readouterr()

    return run


def facts(**changes):
    return {"--" + name.replace("_", "-"): value for name, value in changes.items()}


def test_tables(simuleval_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["score", str(simuleval_run), "--tsv", "s.tsv", "--json", "s.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and "BLEU" in lines[0] and "tok:13a" in lines[2]
    (row,), (same,) = read_tsv("s.tsv"), json.loads((tmp_path / "s.json").read_text())
    assert row["BLEU"] == pytest.approx(100) and row["sentences"] == 3
    assert row == same and row["run"] == str(simuleval_run)


def test_a_missing_run_is_named(score):
    message = "error: gone: no such file; give the --output folder of a simuleval run, or a log\n"
    assert score("gone") == (1, "", message)


def test_the_folder_says_unit_and_language(folder, score):
    code, printed, _ = score(folder(**facts(eval_latency_unit="word", tgt_lang="zh")))
    assert code == 0 and "tok:zh" in printed
    # A folder without a word about it: a language with spaces, unless one is given.
    assert "tok:13a" in score(folder(), "--tgt-lang", "de")[1]
    assert "tok:zh" in score(folder(), "--tgt-lang", "zh", "--latency-unit", "word")[1]
    code, _, error = score(folder(**facts(eval_latency_unit="char")))
    assert code == 1 and "instances.log: line 1: sentence 0 has 7 delays for 31 units (char)" in error


def test_a_run_has_no_tokenizer_of_its_own(folder, score):
    run = folder(**facts(eval_latency_unit="word", tgt_lang="de"))
    assert "tok:intl" in score(run, "--sacrebleu-tokenizer", "intl")[1]


@pytest.mark.parametrize(
    "given, message",
    [
        (["--latency-unit", "char"], "was made with --latency-unit word, not char: leave --latency-unit out"),
        (["--tgt-lang", "zh"], "was made with --tgt-lang de, not zh: leave --tgt-lang out"),
    ],
)
def test_options_that_contradict_the_folder(folder, score, given, message):
    run = folder(**facts(eval_latency_unit="word", tgt_lang="de"))
    assert score(run)[0] == 0
    for place in (run, run / "instances.log"):
        code, printed, error = score(place, *given)
        assert (code, printed) == (1, "") and message in error and error.count("\n") == 1


def test_a_damaged_folder(folder, score):
    run = folder()
    for text in ('{"--tgt-lang": "d', "[]", '{"--tgt-lang": 3}', '{"sentences": "3"}', '{"--eval-latency-unit": null}'):
        (run / "evaluation.json").write_text(text)
        code, printed, error = score(run)
        assert (code, printed) == (1, "") and "evaluation.json is damaged" in error


def test_pieces_need_the_model_of_the_run(folder, score, simuleval_run, model):
    assert "--latency-unit spm needs --spm-model" in score(simuleval_run, "--latency-unit", "spm")[2]
    assert "no such SentencePiece model" in score(simuleval_run, "--latency-unit", "spm", "--spm-model", "gone")[2]
    error = score(simuleval_run, "--latency-unit", "spm", "--spm-model", simuleval_run / "instances.log")[2]
    assert "instances.log is no SentencePiece model" in error and "correct --spm-model" in error
    run = folder(**facts(eval_latency_unit="spm"), spm="0" * 64)
    (spm_model,) = model.glob("*.model")
    assert f"another SentencePiece model than {spm_model} (--spm-model)" in score(run, "--spm-model", spm_model)[2]


CHINESE = "\u4f60\u597d\u5417"


def write(folder, prediction, reference, count):
    times = [100.0 * number for number in range(1, count + 1)]
    fields = {"index": 0, "prediction": prediction, "reference": reference, "source_length": 4000.0}
    (folder / "instances.log").write_text(json.dumps({**fields, "delays": times, "elapsed": times}) + "\n")
    return folder


def test_a_language_without_spaces_must_be_named(tmp_path, score):
    write(tmp_path, CHINESE, CHINESE, 3)
    for given in ([], ["--latency-unit", "char"], ["--tgt-lang", "de", "--latency-unit", "char"]):
        code, _, error = score(tmp_path, *given)
        assert code == 1 and ("--tgt-lang zh" in error or "--latency-unit" in error)
    assert "tok:zh" in score(tmp_path, "--tgt-lang", "zh")[1]
    assert "tok:char" in score(tmp_path, "--latency-unit", "char", "--sacrebleu-tokenizer", "char")[1]


GERMAN = "Der Zug nach Berlin kommt heute sehr sp\u00e4t an."


def test_characters_of_a_language_with_spaces(tmp_path, score):
    """A perfect translation has BLEU 100 where its spaces were kept, and is refused where SimulEval took them out."""
    closed, kept = GERMAN.replace(" ", ""), GERMAN.replace(" ", "\u00a0")
    code, printed, error = score(write(tmp_path, closed, GERMAN, len(closed)), "--latency-unit", "char")
    assert (code, printed) == (1, "") and "the predictions none" in error and "leap-fairseq evaluate" in error
    code, printed, _ = score(write(tmp_path, kept, GERMAN, len(kept)), "--latency-unit", "char")
    assert code == 0 and printed.splitlines()[1].split()[1:3] == ["100.00", "100.00"]
    # A text without spaces may be a word.
    code, printed, _ = score(write(tmp_path, "Der", GERMAN, 3), "--latency-unit", "char")
    assert code == 0 and printed.splitlines()[1].split()[1] != "100.00"


class TestLogsOfOthers:
    """OmniSTEval's log of a talk of two sentences, with each kind of references."""

    @pytest.fixture
    def talk(self, tmp_path):
        line = {
            "source": "ted_1.wav",
            "prediction": "Guten Morgen allerseits. Danke.",
            "delays": [900, 1500, 1900, 3000],
        }
        (tmp_path / "log.jsonl").write_text(json.dumps(line) + "\n")
        (tmp_path / "tst.yaml").write_text(
            "- {wav: ted_1, offset: 0, duration: 2}\n- {wav: ted_1, offset: 2, duration: 2}\n"
        )
        (tmp_path / "tst.de").write_text("Guten Morgen allerseits.\nDanke.\n")
        header, row = "audio\toffset_ms\tduration_ms\tsource\ttarget\n", "ted_1.wav\t{}\t2000\t\t{}\n"
        rows = row.format(0, "Guten Morgen allerseits."), row.format(2000, "Danke.")
        (tmp_path / "long.tsv").write_text("".join((header, *rows)))
        return tmp_path

    def test_table_and_yaml_say_the_same(self, talk, score):
        log, yaml, text = talk / "log.jsonl", talk / "tst.yaml", talk / "tst.de"
        printed = [
            score(log, "--references", talk / "long.tsv"),
            score(log, "--references", yaml, "--reference-text", text),
            score(log, "--references", yaml, "--tgt-lang", "de"),
        ]
        assert len({out for _, out, _ in printed}) == 1 and [code for code, _, _ in printed] == [0, 0, 0]
        assert "LongYAAL" in printed[0][1] and "StreamLAAL,Long|unit:word|segmenter:edits|version" in printed[0][1]

    def test_a_line_for_each_sentence(self, talk, score):
        fields = (("Guten Morgen allerseits.", [900, 1500, 1900]), ("Danke.", [1000]))
        lines = [
            {"source": f"{i}.wav", "prediction": text, "delays": delays} for i, (text, delays) in enumerate(fields)
        ]
        (talk / "log.jsonl").write_text("".join(json.dumps({**line, "source_length": 2000}) + "\n" for line in lines))
        given = (["--reference-text", talk / "tst.de"], ["--references", talk / "tst.yaml", "--tgt-lang", "de"])
        first, second = (score(talk / "log.jsonl", *words) for words in given)
        assert first == second and first[0] == 0 and "StartOffset" in first[1] and "100.00  100.00" in first[1]

    def test_durations_of_the_table_where_the_log_has_no_lengths(self, talk, score, caplog):
        lines = [{"source": f"{i}.wav", "prediction": "Danke.", "delays": [1000]} for i in range(2)]
        (talk / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        code, printed, _ = score(talk / "log.jsonl", "--references", talk / "tst.yaml", "--tgt-lang", "de")
        assert (code, caplog.text) == (0, "") and printed.splitlines()[1].split()[3:5] == ["1000.0", "1000.0"]
        code, printed, _ = score(talk / "log.jsonl", "--reference-text", talk / "tst.de")
        assert code == 0 and printed.splitlines()[1].split()[3] == "-"
        assert "no line has a source_length" in caplog.text

    def test_the_folder_of_omnisteval(self, talk, score):
        part = {"docid": 0, "segid": 0, "prediction": "Danke.", "reference": "Danke.", "emission_cu": [1000.0]}
        (talk / "out").mkdir()
        (talk / "out/instances.resegmented.jsonl").write_text(json.dumps({**part, "source_length": 2000.0}) + "\n")
        code, printed, _ = score(talk / "out")
        assert code == 0 and "segmenter:as-in-the-log" in printed

    def test_each_log_is_read_once(self, talk, score, monkeypatch):
        read, paths = Path.read_bytes, []
        monkeypatch.setattr(Path, "read_bytes", lambda path: (paths.append(path.name), read(path))[1])
        log, yaml = talk / "log.jsonl", talk / "tst.yaml"
        assert score(log, log, "--references", yaml, "--tgt-lang", "de")[0] == 0
        assert sorted(paths) == ["log.jsonl", "log.jsonl", "tst.de"]  # the references once for all
        paths.clear()
        assert score(talk / "log.jsonl", "--references", talk / "long.tsv")[0] == 0
        assert sorted(paths) == ["log.jsonl", "long.tsv"]

    def test_a_table_of_sentences_and_recordings_loses_no_column(self, talk, score, simuleval_run, tmp_path):
        part = {"docid": 0, "segid": 0, "prediction": "Danke.", "reference": "Danke.", "emission_cu": [1000.0]}
        (talk / "cut.jsonl").write_text(json.dumps({**part, "source_length": 2000.0}) + "\n")
        for runs in ((simuleval_run, talk / "cut.jsonl"), (talk / "cut.jsonl", simuleval_run)):
            assert score(*runs, "--tsv", tmp_path / "s.tsv")[0] == 0
            rows = {row["run"]: row for row in read_tsv(tmp_path / "s.tsv")}
            assert rows[str(simuleval_run)]["NumChunks"] == 7 and rows[str(talk / "cut.jsonl")]["LongYAAL"] == 1000

    def test_options_that_do_not_belong_together(self, talk, score):
        log, yaml, text = talk / "log.jsonl", talk / "tst.yaml", talk / "tst.de"
        for words, message in (
            ([log], "1 of 1 lines have no reference: give them (--references, or --reference-text)"),
            ([log, "--references", yaml], "needs its texts: give --reference-text, or --tgt-lang"),
            ([log, "--references", talk / "long.tsv", "--reference-text", text], "has texts of its own: leave it out"),
            ([log, "--reference-text", text], "holds 1 sentences, but there are 2 references"),
            ([log, "--reference-text", talk / "gone.de"], "cannot read"),
            ([yaml], "tst.yaml: line 1 is not a sentence of a log"),
            (
                [log, "--reference-text", text, "--segmenter", "mweralign"],
                "nothing is split without the",
            ),
        ):
            code, printed, error = score(*words)
            assert (code, printed) == (1, "") and message in error and error.count("\n") == 1

    def test_recognition_by_options_and_by_the_folder(self, folder, score, tmp_path):
        pytest.importorskip("jiwer")
        run, other = folder(**facts(tgt_lang="de", src_lang="de")), folder(**facts(tgt_lang="de"))
        for words in ([run], [other, "--src-lang", "de"]):
            code, printed, _ = score(*words)
            assert code == 0 and printed.split()[3:5] == ["WER", "CER"] and "WER,CER|case:mixed" in printed
        assert "WER" not in score(other)[1]
        code, printed, _ = score(other, run, "--tsv", tmp_path / "s.tsv")
        assert code == 0 and printed.splitlines()[1].split()[3] == "-"
        assert "was made with --src-lang de, not en" in score(run, "--src-lang", "en")[2]
