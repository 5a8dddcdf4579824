"""A run as one row: values, empty hypotheses, warnings, what a language decides."""

import json
import logging
import math
import sys

import pytest

from leap_fairseq.scoring.languages import is_unspaced, tokenizer_for, unit_for
from leap_fairseq.scoring.run import COLUMNS, score_run
from leap_fairseq.scoring.settings import Settings, settings_for
from leap_fairseq.scoring.units import KEPT_SPACE, unit_named

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
    assert " latency|unit:word|version:leap-fairseq" in row["signature"]


@pytest.mark.parametrize("fast", [False, True])
def test_in_real_time_every_score_is_as_late_as_the_words(run, fast):
    folder = run(sentence())
    (folder / "evaluation.json").write_text(json.dumps({"--fast": fast}), encoding="utf-8")
    row = score_run(folder)
    assert (row["ATD_CA"] == pytest.approx(row["ATD"] + 50)) is not fast  # the control: only the first word took 50 ms


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
    row = score_run(run(sentence(0), {**empty(1), "source_length": 0.0}))
    assert row["sentences"] == 2 and row["LAAL"] < 1000


def test_degenerate_policy_is_named(run, caplog):
    with caplog.at_level(logging.WARNING):
        score_run(run(sentence(), name="simultaneous"))
        assert "offline" not in caplog.text
        score_run(run(sentence(delays=[2500.0] * 7), name="late"))
    assert "100 % of the words" in caplog.text and "--test-waitk-lagging" in caplog.text


def test_options(run):
    folder = run(sentence())
    assert "tok:char" in score_run(folder, Settings(tokenizer="char"))["signature"]
    with pytest.raises(ValueError, match="choose one of .*13a"):
        score_run(folder, Settings(tokenizer="moses"))
    with pytest.raises(ValueError, match="no sentence"):
        score_run(run(name="nothing"))


def test_a_tokenizer_that_cannot_be_fetched_is_named(run, monkeypatch, tmp_path):
    def offline(*_):
        raise OSError("no network")

    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_spm.SACREBLEU_DIR", str(tmp_path))
    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(ValueError, match="tokenizer flores200 could not fetch its model .*no network.*--sacrebleu-tok"):
        score_run(run(sentence()), Settings(tokenizer="flores200"))


def test_languages():
    assert [unit_for(name) for name in ("de", "zh", "zh-CN", "ja_JP", "ko")] == ["word", "char", "char", "char", "word"]
    assert [tokenizer_for(name) for name in ("de", "zh_TW", "ja", "ko")] == ["13a", "zh", "ja-mecab", "ko-mecab"]
    assert all(map(is_unspaced, (["你今天怎么样 iPad 15"], ["こんにちは、ケルン"], ["สวัสดี"], ["你好吗", "ok"])))
    assert not any(map(is_unspaced, (["Grüße", "你"], ["안녕하세요 여러분"], ["привет"], ["", "3 !"], [])))


class TestRecognition:
    """Where what is written is what was said, errors are counted."""

    @pytest.fixture
    def rates(self, run):
        """A function: WER and CER of one text against another."""
        pytest.importorskip("jiwer")
        names = iter("abcdef")

        def of(prediction, reference):
            delays = [100.0 * (i + 1) for i in range(len(prediction.split()))]
            line = sentence(prediction=prediction, reference=reference, delays=delays)
            row = score_run(run(line, name=next(names)), Settings(language="en-GB", spoken="en"))
            assert list(row)[:4] == ["BLEU", "chrF", "WER", "CER"]
            assert "WER,CER|case:mixed|punct:yes|version:jiwer-" in row["signature"]
            return row["WER"], row["CER"]

        return of

    def test_by_hand(self, rates):
        assert rates("the cat sat", "the cat sat") == (0, 0)
        assert rates("the hat sat down", "the cat sat") == (pytest.approx(100 * 2 / 3), pytest.approx(100 * 6 / 11))
        assert rates("The cat.", "the cat") == (100, pytest.approx(100 * 2 / 7))  # as they are
        assert rates("", "the cat") == (100, 100)

    @pytest.mark.parametrize("language, spoken", [("de", "en"), (None, "en"), ("en", None), (None, None)])
    def test_a_translation_has_none(self, run, language, spoken):
        assert tuple(score_run(run(sentence()), Settings(language=language, spoken=spoken))) == COLUMNS

    def test_a_folder_remembers_the_language_of_the_speech(self, tmp_path):
        notes = Settings(language="de", spoken="de").notes()
        (tmp_path / "evaluation.json").write_text(json.dumps(notes))
        assert notes == {"--tgt-lang": "de", "--src-lang": "de"} and settings_for(tmp_path).is_recognition

    def test_a_missing_package_is_named(self, run, monkeypatch):
        monkeypatch.setitem(sys.modules, "jiwer", None)
        with pytest.raises(ImportError, match="need jiwer: pip install 'jiwer>=4'"):
            score_run(run(sentence()), Settings(language="de", spoken="de"))


class TestUntranslated:
    """Speech behind the last word is said where there is much of it, and ordinary runs cross no threshold."""

    def test_a_model_of_sentences_on_a_speech(self, run, caplog):
        speech = sentence(1, source_length=175_000.0)
        with caplog.at_level(logging.WARNING):
            row = score_run(run(sentence(0), speech, {**empty(2), "source_length": 30_000.0}))
        assert row["untranslated_s"] == pytest.approx(175 - 2.5 + 30)
        assert "202.5 s of speech follow the last word of 2 of 3 recordings" in caplog.text
        assert "--long-form" in caplog.text and "--max-len-b" in caplog.text

    @pytest.mark.parametrize("last, length, counts", [(60, 69, 0), (15, 29, 1), (95, 120, 0), (0, 9, 0), (19, 30, 1)])
    def test_both_thresholds(self, run, caplog, last, length, counts):
        delays = [1000.0 * last] * 7
        row = score_run(run(sentence(delays=delays, source_length=1000.0 * length)))
        assert row["untranslated_s"] == (length - last) * counts
        assert ("follow the last word" in caplog.text) == bool(counts)


@pytest.mark.parametrize("space, bleu", [(" ", None), (KEPT_SPACE, 100)])
def test_simuleval_logs_characters_with_kept_spaces_alone(run, space, bleu):
    """A perfect translation in characters, as SimulEval writes it down."""
    simuleval = pytest.importorskip("simuleval.evaluator.instance")
    from simuleval.data.segments import TextSegment

    heard = simuleval.TextOutputInstance(0, None, None)
    heard.latency_unit, times = "char", iter(range(100, 10_000, 100))
    heard.step_to_elapsed = heard.step_to_delay = lambda *_: float(heard.now)
    for word in HYPOTHESIS.replace(" ", f" {space}").split(" "):
        heard.now = next(times)
        heard.receive_prediction(TextSegment(content=word, finished=False))
    log = run({**sentence(prediction=heard.prediction, delays=heard.delays, lag=0)})
    if bleu is None:
        with pytest.raises(ValueError, match="the references have spaces, the predictions none"):
            score_run(log, Settings(unit_named("char")))
    else:
        row = score_run(log, Settings(unit_named("char")))
        assert row["BLEU"] == pytest.approx(bleu) and row["chrF"] == pytest.approx(100)
