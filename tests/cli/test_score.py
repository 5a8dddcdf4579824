"""The command that scores runs: its table, its files, and how it chooses unit and tokenizer."""

import json
from argparse import Namespace

import pytest

from leap_fairseq.cli import main
from leap_fairseq.cli.score import ways_to_score
from leap_fairseq.report.tables import read_tsv


def test_tables(simuleval_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["score", str(simuleval_run), "--tsv", "s.tsv", "--json", "s.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 and "BLEU" in lines[0] and "tok:13a" in lines[2]
    (row,), (same,) = read_tsv("s.tsv"), json.loads((tmp_path / "s.json").read_text())
    assert row["BLEU"] == pytest.approx(100) and row["sentences"] == 3
    assert row == same and row["run"] == str(simuleval_run)


def test_a_missing_run_is_named(capsys):
    assert main(["score", "gone"]) == 1
    assert capsys.readouterr().err == "error: gone: no such file; give the --output folder of a simuleval run\n"


@pytest.mark.parametrize(
    "given, ways",
    [
        ({"tgt_lang": "de"}, ("word", "13a", None)),
        ({"tgt_lang": "zh-CN"}, ("char", "zh", None)),
        ({"tgt_lang": "zh", "latency_unit": "word", "sacrebleu_tokenizer": "char"}, ("word", "char", None)),
        ({"tgt_lang": "de", "latency_unit": "spm", "spm_model": "x.model"}, ("spm", "13a", "x.model")),
    ],
)
def test_ways_to_score(given, ways):
    none = dict.fromkeys(("latency_unit", "sacrebleu_tokenizer", "spm_model"))
    assert ways_to_score(Namespace(**{**none, **given})) == ways


def test_pieces_need_a_model(simuleval_run, capsys):
    assert main(["score", str(simuleval_run), "--latency-unit", "spm"]) == 1
    assert "--latency-unit spm needs --spm-model" in capsys.readouterr().err
