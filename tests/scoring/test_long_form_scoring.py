"""Long recordings: StreamLAAL by hand and against sentences translated alone; what is warned of and refused."""

import json
import logging
import math

import pytest

from leap_fairseq.cli import command, score
from leap_fairseq.report.tables import read_tsv
from leap_fairseq.scoring.instances import WORDS, Instance
from leap_fairseq.scoring.long_form import (
    LONG_COLUMNS,
    score_long_run,
    split_recording,
    stream_elapsed,
    stream_laal,
)
from leap_fairseq.scoring.long_references import ReferenceSentence
from leap_fairseq.scoring.run import score_run
from leap_fairseq.scoring.settings import Settings
from leap_fairseq.scoring.units import KEPT_SPACE, Pieces, unit_named

HEADER = "audio\toffset_ms\tduration_ms\tsource\ttarget"

SENTENCES = (
    ("talk1", 1000, 2000, "Guten Morgen allerseits."),
    ("talk1", 4000, 3000, "Heute reden wir über das Wetter."),
    ("talk2", 500, 2500, "Es regnet seit gestern Abend."),
)
STREAMS = (
    ("Guten Morgen allerseits. Heute reden wir vom Wetter.", [2000, 2500, 3000, 5000, 5500, 6000, 7000, 7500]),
    ("Es regnet seit gestern Abend.", [1000, 1500, 2000, 2500, 3000]),
)


def log_line(index, prediction, delays, elapsed=None, source_length=8000.0, **others):
    elapsed = [delay + 100 * (i + 1) for i, delay in enumerate(delays)] if elapsed is None else elapsed
    fields = dict(index=index, prediction=prediction, delays=delays, elapsed=elapsed, source_length=source_length)
    return {**fields, "reference": "not looked at", **others}


@pytest.fixture
def files(tmp_path):
    """A function that writes a run and a table and returns both paths."""

    def write(lines=None, rows=SENTENCES):
        run, table = tmp_path / "run", tmp_path / "long.tsv"
        run.mkdir(exist_ok=True)
        lines = [log_line(index, *stream) for index, stream in enumerate(STREAMS)] if lines is None else lines
        (run / "instances.log").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        rows = ["\t".join((*map(str, row[:3]), "source", row[3])) for row in rows]
        table.write_text("".join(line + "\n" for line in (HEADER, *rows)), encoding="utf-8")
        return run, table

    return write


def written(prediction, delays, elapsed=None, source_length=9000.0, units=None, unit=WORDS):
    return Instance(0, prediction, "", delays, elapsed or delays, source_length, units or prediction.split(), unit)


def sentence(offset, duration, target):
    return ReferenceSentence("talk", offset, duration, "", target)


class TestScores:
    def test_by_hand(self, files):
        row = score_long_run(*files())
        assert tuple(row) == LONG_COLUMNS
        # Relative to the beginnings: 1000 1500 2000 | 1000 1500 2000 3000 (3500: behind the end) | 500 1000 ... 2500.
        first = (1000 + (1500 - 2000 / 3) + (2000 - 4000 / 3)) / 3
        second = sum(d - i * 3000 / 6 for i, d in enumerate((1000, 1500, 2000, 3000))) / 4
        third = sum(d - i * 2500 / 5 for i, d in enumerate((500, 1000, 1500, 2000, 2500))) / 5
        assert row["StreamLAAL"] == pytest.approx((first + second + third) / 3)
        # Each word took 100 ms of computing, however many came before.
        assert row["StreamLAAL_CA"] == pytest.approx(row["StreamLAAL"] + 100)
        assert (row["recordings"], row["sentences"], row["empty"]) == (2, 3, 0)
        assert 50 < row["BLEU"] < 100 and 50 < row["chrF"] < 100 and "tok:13a" in row["signature"]

    def test_equals_the_sentences_one_by_one(self, files, tmp_path):
        """Offset by offset, a right splitting gives the scores of sentences that were translated alone."""
        lines = []
        for index, (offset, duration, words) in enumerate(((1000, 2000, slice(3)), (4000, 3000, slice(3, 8)))):
            delays = [delay - offset for delay in STREAMS[0][1][words]]
            text = " ".join(STREAMS[0][0].split()[words])
            lines.append(log_line(index, text, delays, source_length=duration, reference=SENTENCES[index][3]))
        (tmp_path / "instances.log").write_text("".join(json.dumps(line) + "\n" for line in lines))
        alone = score_run(tmp_path)
        together = score_long_run(*files([log_line(0, *STREAMS[0])], SENTENCES[:2]))
        assert together["StreamLAAL"] == pytest.approx(alone["LAAL"])
        assert (together["BLEU"], together["chrF"]) == (alone["BLEU"], alone["chrF"])

    def test_control_other_offsets_are_noticed(self, files):
        right = score_long_run(*files())["StreamLAAL"]
        earlier = [(audio, offset - 200, duration, target) for audio, offset, duration, target in SENTENCES]
        assert score_long_run(*files(rows=earlier))["StreamLAAL"] == pytest.approx(right + 200)

    def test_words_before_their_sentence_have_no_delay(self, files, caplog):
        early, punctual = split_recording(
            written("a b c d", [500, 1500, 1800, 4000]), [sentence(1000, 1000, "a b"), sentence(2000, 2000, "c d")]
        )
        assert early.delays == [-500, 500] and punctual.delays == [-200, 2000]
        assert stream_laal([early, punctual]) == ((0 + 500 - 500) / 2 + (0 + 2000 - 1000) / 2) / 2
        rows = [("talk", 1000, 1000, "a b"), ("talk", 2000, 2000, "c d")]
        with caplog.at_level(logging.WARNING):
            score_long_run(*files([log_line(0, "a b c d", [500, 1500, 1800, 4000])], rows))
        assert "50 % of the words were written before the sentence" in caplog.text

    def test_sentences_without_words(self, files, caplog):
        rows = [*SENTENCES[:2], ("talk1", 7000, 900, "Danke."), SENTENCES[2]]
        full = score_long_run(*files())
        with caplog.at_level(logging.WARNING):
            row = score_long_run(*files(rows=rows))
        assert row["empty"] == 1 and row["sentences"] == 4 and row["BLEU"] < full["BLEU"]
        assert row["StreamLAAL"] == full["StreamLAAL"]
        assert "1 of 4 sentences got no word" in caplog.text
        nothing = score_long_run(*files([log_line(0, "", []), log_line(1, "", [])]))
        assert math.isnan(nothing["StreamLAAL"]) and math.isnan(nothing["StreamLAAL_CA"]) and nothing["empty"] == 3
        assert score_long_run(*files(rows=[*SENTENCES[:2], ("talk1", 7100, 0, ""), SENTENCES[2]]))["empty"] == 1

    def test_recordings_are_paired_by_index(self, files):
        right = score_long_run(*files())
        lines = [log_line(index, *stream) for index, stream in reversed(list(enumerate(STREAMS)))]
        assert score_long_run(*files(lines)) == right

    def test_names_go_before_numbers(self, files):
        right = score_long_run(*files())
        named = [
            log_line(index, *stream, source=[f"/wavs/talk{index + 1}.flac"]) for index, stream in enumerate(STREAMS)
        ]
        assert score_long_run(*files([{**named[0], "index": 1}, {**named[1], "index": 0}])) == right
        other = [{**line, "source": "elsewhere.wav"} for line in named]
        assert score_long_run(*files(other)) == right  # by numbers
        nameless = [{name: line[name] for name in line if name != "index"} for line in named]
        assert score_long_run(*files(nameless[::-1])) == right
        with pytest.raises(ValueError, match=r"\(OmniSTEval\) holds the recordings a, b, but .* talk1, talk2: .*names"):
            score_long_run(*files([{**line, "source": name} for line, name in zip(nameless, "ab")]))

    def test_characters(self, files):
        rows = [("talk", 0, 1000, "你 好。"), ("talk", 1000, 1000, "大家再见。")]
        lines = [log_line(0, "你好。大家再见。", [300, 600, 900, 1200, 1300, 1400, 1600, 1900])]
        row = score_long_run(*files(lines, rows), Settings(unit_named("char"), "zh"))
        assert row["BLEU"] == pytest.approx(100)
        first = sum(d - i * 1000 / 4 for i, d in enumerate((300, 600, 900))) / 3  # SimulEval counts inner spaces
        second = sum(d - i * 1000 / 5 for i, d in enumerate((200, 300, 400, 600, 900))) / 5
        assert row["StreamLAAL"] == pytest.approx((first + second) / 2)
        with pytest.raises(ValueError, match=r"line 1: .* 8 delays for 1 units \(word\).*--latency-unit"):
            score_long_run(*files(lines, rows))
        with pytest.raises(ValueError, match="language without spaces.*--tgt-lang zh"):
            score_long_run(*files([log_line(0, "你好。大家再见。", [300])], rows))

    def test_characters_of_a_language_with_spaces(self, files):
        """The parts of a text that keeps its spaces are the words'."""
        words, (text, delays) = score_long_run(*files()), STREAMS[0]
        lines = []
        for index, (text, delays) in enumerate(STREAMS):
            each = [delay for word, delay in zip(text.split(), delays) for _ in word + " "][:-1]
            lines.append(log_line(index, text.replace(" ", KEPT_SPACE), each))
        row = score_long_run(*files(lines), Settings(unit_named("char")))
        assert (row["BLEU"], row["chrF"]) == (words["BLEU"], words["chrF"])
        lines = [{**line, "prediction": line["prediction"].replace(KEPT_SPACE, "")} for line in lines]
        for line in lines:
            line["delays"] = line["elapsed"] = line["delays"][: len(line["prediction"])]
        with pytest.raises(ValueError, match="the references have spaces, the predictions none"):
            score_long_run(*files(lines), Settings(unit_named("char")))

    def test_pieces(self):
        class Halves(Pieces):
            def split(self, reference):
                return [piece for word in reference.split() for piece in ("\u2581" + word[:1], word[1:])]

        pieces = ["\u2581a", "b", "\u2581c", "d"]
        recording = written("ab cd", [1, 2, 3, 4], units=pieces, unit=Halves())
        parts = split_recording(recording, [sentence(0, 2, "ab"), sentence(2, 2, "cd")])
        assert [part.prediction for part in parts] == ["ab", "cd"] and parts[1].delays == [1, 2]
        assert stream_laal(parts) == 1
        with pytest.raises(ValueError, match="--spm-model"):
            split_recording(written("a", [1], units=["\u2581a"], unit=Pieces()), [sentence(0, 1, "a")])


class TestComputing:
    def test_only_the_computing_since_the_last_words_counts(self):
        # 70 ms for the first word, 30 for the next two together, 400 for the last.
        assert stream_elapsed([500, 900, 900, 1200], [570, 1000, 1000, 1700]) == [570, 930, 930, 1600]
        # Two writings after the end of the source, at the same delay.
        assert stream_elapsed([1000, 1000], [1100, 1150]) == [1100, 1050]
        assert stream_elapsed([], []) == []

    def test_a_cut_within_words_that_were_written_together(self):
        parts = split_recording(
            written("a b c", [900, 2000, 2000], [950, 2250, 2250]), [sentence(0, 1000, "a b"), sentence(1500, 500, "c")]
        )
        assert parts[0].elapsed == [950, 2200] and parts[1].elapsed == [700]

    def test_computing_does_not_add_up_over_a_recording(self, files):
        """The control: the times as logged grow with the recording."""
        words = [f"w{i}" for i in range(200)]
        delays = [1000.0 * i + 500 for i in range(200)]
        sentences = [sentence(10000 * i, 10000, " ".join(words[10 * i : 10 * i + 10])) for i in range(20)]
        elapsed = [delay + 50 * (i + 1) for i, delay in enumerate(delays)]
        parts = split_recording(written(" ".join(words), delays, elapsed), sentences)
        assert stream_laal(parts) == pytest.approx(500)
        assert stream_laal(parts, computation_aware=True) == pytest.approx(550)
        as_logged = split_recording(written(" ".join(words), elapsed), sentences)
        assert stream_laal(as_logged) > 2000

    @pytest.mark.parametrize("fast", [False, True])
    def test_in_real_time_a_word_came_when_it_came(self, files, fast):
        """A client that is 700 ms late all the time; sent as fast as it goes, the same times add up (the control)."""
        delays = [1000.0, 2000.0, 3000.0, 4000.0]
        line = log_line(0, "a b c d", delays, [delay + 700 for delay in delays])
        run, table = files([line], [("talk1", 0, 8000, "a b c d")])
        (run / "evaluation.json").write_text(json.dumps({"--fast": fast}), encoding="utf-8")
        row = score_long_run(run, table)
        for name in ("StreamLAAL", "LongLAAL", "LongYAAL"):
            assert (row[f"{name}_CA"] == pytest.approx(row[name] + 700)) is not fast, name

    def test_slower_than_speech_is_named(self, files, caplog):
        text, delays = STREAMS[0]
        slow = log_line(0, text, delays, [delay + 1100 * (i + 1) for i, delay in enumerate(delays)])
        with caplog.at_level(logging.WARNING):
            score_long_run(*files([slow, log_line(1, *STREAMS[1])]))
        assert "recording 0 took 8800 ms of computing for 8000 ms of speech" in caplog.text


class TestRuns:
    def test_other_recordings_than_the_table(self, files):
        for lines, found in (
            ([], "0 recordings"),
            ([log_line(1, *STREAMS[1])], "1 recordings"),
            ([log_line(index, *STREAMS[0]) for index in (0, 2)], r"2 recordings \(numbers 0 to 2\)"),
        ):
            with pytest.raises(ValueError, match=f"holds {found}.* sentences of 2 recordings.*one line per recording"):
                score_long_run(*files(lines))

    def test_sentences_behind_the_end_of_the_recording_are_named(self, files, caplog):
        lines = [log_line(index, *stream, source_length=3500.0) for index, stream in enumerate(STREAMS)]
        with caplog.at_level(logging.WARNING):
            score_long_run(*files(lines))
        assert "recording 0 is 3500 ms long, but a sentence of talk1 begins at 4000 ms" in caplog.text

    def test_command_line(self, files, tmp_path, monkeypatch, capsys):
        run, table = files()

        def call(*arguments):
            return command.main(score, list(map(str, arguments))), capsys.readouterr()

        monkeypatch.chdir(tmp_path)
        code, printed = call(run, run, "--references", table, "--tsv", "s.tsv", "--json", "s.json")
        assert code == 0 and "StreamLAAL_CA" in printed.out and "tok:13a" in printed.out
        rows = read_tsv(tmp_path / "s.tsv")
        assert list(rows[0]) == ["run", *LONG_COLUMNS] and len(rows) == 2
        assert json.loads((tmp_path / "s.json").read_text())[0]["sentences"] == 3
        for arguments in ((run, "--references", "gone.tsv"), ("gone", "--references", table)):
            code, printed = call(*arguments)
            assert code == 1 and printed.err.startswith("error: ") and printed.err.count("\n") == 1
