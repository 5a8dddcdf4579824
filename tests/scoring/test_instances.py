"""Reading SimulEval's log: what is right is read, what cannot be right is refused with file and line."""

import json
import logging
import math
import re

import pytest

from leap_fairseq.cli import main
from leap_fairseq.scoring import log_lines
from leap_fairseq.scoring.instances import read_instances, read_log
from leap_fairseq.scoring.run import score_run
from leap_fairseq.scoring.units import unit_named

TEXT = "Der Zug kommt um zehn"


def line(index=0, **changes):
    values = {
        "index": index,
        "prediction": TEXT,
        "delays": [500.0, 900.0, 900.0, 1300.0, 2000.0],
        "elapsed": [510.0, 950.0, 950.0, 1400.0, 2100.0],
        "prediction_length": 5,
        "reference": TEXT + " an",
        "source": ["x.wav"],
        "source_length": 2000.0,
    }
    return {**values, **changes}


def write(folder, *lines):
    text = "".join((given if isinstance(given, str) else json.dumps(given)) + "\n" for given in lines)
    (folder / "instances.log").write_text(text, encoding="utf-8")
    return folder


class TestReading:
    def test_fields_and_order(self, tmp_path):
        folder = write(tmp_path, line(2), line(0, prediction="ü", delays=[1], elapsed=[1]), "")
        first, second = read_instances(folder)
        assert (first.index, first.prediction, first.delays, first.written) == (0, "ü", [1.0], ["ü"])
        assert second.elapsed == [510.0, 950.0, 950.0, 1400.0, 2100.0] and second.source_length == 2000
        assert read_instances(folder / "instances.log") == [first, second]

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="--output"):
            read_instances(tmp_path)

    def test_a_line_that_breaks_off(self, tmp_path, caplog):
        log = write(tmp_path, line()) / "instances.log"
        complete = log.read_bytes()
        for cut in ('{"index": 1, "predic', json.dumps(line(prediction="ü"), ensure_ascii=False)[:27]):
            log.write_bytes(complete + cut.encode("utf-8"))
            with pytest.raises(ValueError, match="line 2 breaks off.*finish the run"):
                read_instances(tmp_path)
            with caplog.at_level(logging.WARNING):
                assert list(read_log(log, allow_torn=True)) == [0]
            assert "line 2 breaks off and is left out" in caplog.text

    def test_a_recording_without_samples_has_no_words(self, tmp_path):
        nothing = dict(prediction="", delays=[], elapsed=[], source_length=0.0)
        (instance,) = read_instances(write(tmp_path, line(**nothing)))
        assert not instance.is_scorable
        with pytest.raises(ValueError, match=r"line 1: source_length is 0.0, but must be .* above 0"):
            read_instances(write(tmp_path, line(source_length=0.0)))


class TestUnits:
    def test_words(self, tmp_path):
        (instance,) = read_instances(write(tmp_path, line()))
        assert instance.written == TEXT.split() and instance.reference_length == 6

    def test_characters(self, tmp_path):
        given = dict(prediction="\u4f60 \u597d", reference=" \u4f60\u597d\u5417 \u670b\u53cb ")
        folder = write(tmp_path, line(**given, delays=[1, 2], elapsed=[1, 2]))
        (instance,) = read_instances(folder, unit_named("char"))
        assert instance.written == ["\u4f60", "\u597d"] and instance.reference_length == 6  # inner spaces count

    def test_pieces(self, tmp_path):
        given = dict(prediction="ein", delays=[1, 2], elapsed=[1, 2], prediction_spm=["\u2581e", "in"])
        (instance,) = read_instances(write(tmp_path, line(**given)), unit_named("spm"))
        assert instance.written == ["\u2581e", "in"]
        with pytest.raises(ValueError, match="--spm-model"):
            instance.latency()
        for changes, message in (({"prediction_spm": None}, "in pieces"), ({"prediction": "eine"}, "another text")):
            with pytest.raises(ValueError, match=f"line 1: .*{message}"):
                read_instances(write(tmp_path, line(**{**given, **changes})), unit_named("spm"))

    @pytest.mark.parametrize("name, other", [("word", "char"), ("char", "word")])
    def test_delays_that_do_not_fit_are_refused(self, tmp_path, name, other):
        """What gave an average lagging of minus four seconds."""
        count = len(unit_named(other).written(line()))
        times = [100.0 * number for number in range(1, count + 1)]
        folder = write(tmp_path, line(), line(1, delays=times, elapsed=times))
        folder = write(tmp_path, line(1, delays=times, elapsed=times))
        with pytest.raises(ValueError, match=rf"line 1: .* {count} delays for \d+ units \({name}\).*--latency-unit"):
            read_instances(folder, unit_named(name))
        assert len(read_instances(folder, unit_named(other))) == 1

    def test_unknown_units(self, tmp_path):
        with pytest.raises(ValueError, match="'syllable' is not one of word, char, spm .*--latency-unit"):
            unit_named("syllable")
        with pytest.raises(FileNotFoundError, match="--spm-model"):
            unit_named("spm", tmp_path / "gone.model")


NO_TIMES = (None, True, "500", -1, -1e-9, math.nan, math.inf, -math.inf, 1e308, 10**400, [], {})
NO_TEXTS = (None, True, 3, math.nan, [TEXT], {}, TEXT + " an", "")
NO_LISTS = (None, True, 500.0, "500", {}, [], [500.0], [500.0] * 6, [[500.0] * 5])
NO_INDICES = (None, True, "1", 1.0, -1, 10**400, math.nan, [], 0, 2, 7)


def mutations():
    """What replaces line 2 of a log, by a name: everything that may be wrong in each field, and in the line."""
    wrong = {name: NO_LISTS for name in ("delays", "elapsed")}
    wrong.update(index=NO_INDICES, prediction=NO_TEXTS, reference=NO_TEXTS[:6])
    wrong["source_length"] = (*NO_TIMES, 0, 0.0, 1e-320)
    for name, values in wrong.items():
        yield f"no {name}", {key: value for key, value in line(1).items() if key != name}
        for value in values:
            yield f"{name} {value!r:.20}", line(**{"index": 1, name: value})
    for name in ("delays", "elapsed"):
        good = line(1)[name]
        for place in range(5):
            for value in (*NO_TIMES, 0.0 if place else -0.5, 3000.0 if name == "delays" else 100.0):
                yield f"{name}[{place}] {value!r:.20}", line(1, **{name: [*good[:place], value, *good[place + 1 :]]})
        yield f"{name} backwards", line(1, **{name: good[::-1]})
    whole = json.dumps(line(1))
    for text in ("null", "3", "[]", '"text"', "{}", "{", whole[:-1], whole[1:], whole + "}", whole * 2, "[" * 100_000):
        yield f"the line {text[:20]}", text
    yield "a line too much", json.dumps(line(1)) + "\n" + json.dumps(line(1))


class TestWhatIsWrong:
    """A log of three sentences in which one thing is wrong: the reference's numbers, or an error with file and line."""

    @pytest.fixture
    def good(self, tmp_path):
        write(tmp_path, line(0), line(1), line(2))
        (tmp_path / "evaluation.json").write_text('{"sentences": 3}', encoding="utf-8")
        return score_run(tmp_path)

    def test_each_field_and_the_line(self, tmp_path, good):
        passed = {}
        for name, given in mutations():
            try:
                passed[name] = score_run(write(tmp_path, line(0), given, line(2)))
            except ValueError as error:
                # Another index is right in itself, and wrong among the others.
                assert re.search(r"instances.log: line [23]\b|: \d+ sentences are missing", str(error)), (name, error)
        assert not passed

    def test_control_unchecked_lines_pass(self, tmp_path, good, monkeypatch):
        monkeypatch.setattr(log_lines, "check", lambda *_: None)
        assert score_run(write(tmp_path, line(0), line(1, elapsed=[-1.0] * 5), line(2)))["LAAL_CA"] < good["LAAL_CA"]

    def test_what_is_unused_changes_nothing(self, tmp_path, good):
        plain = {name: value for name, value in line(1).items() if name not in ("source", "prediction_length")}
        for given in (plain, {**line(1), "metrics": math.nan}, "\n" + json.dumps(line(1), ensure_ascii=False) + "\n\r"):
            assert score_run(write(tmp_path, line(0), given, line(2))) == good

    def test_cut_anywhere(self, tmp_path, good):
        log = tmp_path / "instances.log"
        whole = log.read_bytes()
        for size in range(0, len(whole) - 1, 7):
            log.write_bytes(whole[:size])
            with pytest.raises(ValueError, match=r"line \d breaks off|sentences are missing"):
                score_run(tmp_path)
        log.write_bytes(whole[:-1])
        assert score_run(tmp_path) == good

    def test_bytes_that_are_no_text(self, tmp_path, good):
        log = tmp_path / "instances.log"
        log.write_bytes(log.read_bytes().replace(b"kommt", b"k\xf6mmt", 1))
        with pytest.raises(ValueError, match="line 1 is not a sentence .*utf-8"):
            score_run(tmp_path)

    def test_a_sentence_twice_names_both_lines(self, tmp_path):
        with pytest.raises(ValueError, match="line 3: sentence 0 is in line 1 already"):
            read_instances(write(tmp_path, line(0), line(1), line(0)))

    def test_sentences_that_are_missing(self, tmp_path, good):
        for lines, numbers in (([line(0), line(1)], "2"), ([line(1)], "0, 2"), ([line(i) for i in range(4)], "3")):
            with pytest.raises(ValueError, match=rf"\(index {numbers}\): finish the run"):
                score_run(write(tmp_path, *lines))
        (tmp_path / "evaluation.json").unlink()
        with pytest.raises(ValueError, match=r"2 sentences are missing \(index 6, 7\)"):
            score_run(write(tmp_path, line(5), line(8)))
        assert score_run(write(tmp_path, line(5), line(6)))["sentences"] == 2  # a part of a test set
        with pytest.raises(ValueError, match=r"999999994 sentences are missing \(index 6, 7, 8, 9, 10, ...\)"):
            score_run(write(tmp_path, line(5), line(10**9)))


def test_no_nan_is_printed(tmp_path, monkeypatch, capsys):
    """A run that wrote nothing has no latency; a number that is none is refused."""
    monkeypatch.chdir(tmp_path)
    nothing = dict(prediction="", delays=[], elapsed=[])
    write(tmp_path, line(0, **nothing), line(1, **nothing))
    assert main(["score", ".", "--tsv", "s.tsv", "--json", "s.json"]) == 0
    texts = [capsys.readouterr().out, *((tmp_path / name).read_text() for name in ("s.tsv", "s.json"))]
    assert not any(re.search(r"\bnan\b|\binf\b", text, re.IGNORECASE) for text in texts)
    assert texts[0].splitlines()[1].split().count("-") == 17 and '"LAAL": null' in texts[2]
    write(tmp_path, line(0, delays=[math.nan] * 5))
    assert main(["score", "."]) == 1
    printed = capsys.readouterr()
    assert not printed.out and "instances.log: line 1: delays: number 1 is nan" in printed.err
