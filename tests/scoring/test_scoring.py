"""A run as one row: values, empty hypotheses, warnings, what a language decides."""

import json
import logging
import math

import pytest

from leap_fairseq.scoring.languages import tokenizer_for, unit_for
from leap_fairseq.scoring.run import COLUMNS, score_run

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


def test_languages():
    assert [unit_for(name) for name in ("de", "zh", "zh-CN", "ja_JP", "ko")] == ["word", "char", "char", "char", "word"]
    assert [tokenizer_for(name) for name in ("de", "zh_TW", "ja", "ko")] == ["13a", "zh", "ja-mecab", "ko-mecab"]
