"""Logs of other tools: each says the same as SimulEval's, or is refused with file and line."""

import json
import math
import random

import pytest

from leap_fairseq.scoring.any_log import score_log
from leap_fairseq.scoring.instances import Part, read_any_log, read_instances
from leap_fairseq.scoring.log_formats import FORMATS, SIMULEVAL
from leap_fairseq.scoring.run import score_run
from leap_fairseq.scoring.settings import Settings
from leap_fairseq.scoring.units import unit_named

TEXT = "Der Zug kommt um zehn"
DELAYS = [500.0, 900.0, 900.0, 1300.0, 2000.0]
ELAPSED = [510.0, 950.0, 950.0, 1400.0, 2100.0]


def simuleval_1_1(index=0, **changes):
    times = {"delays": DELAYS, "elapsed": ELAPSED, "prediction_length": 5}
    source = {"source": [f"/wavs/{index}.wav", "samplerate: 16000 Hz"], "source_length": 2000.0}
    return {"index": index, "prediction": TEXT, **times, "reference": TEXT + " an", **source, **changes}


def simuleval_1_0(index=0, end=(2000.0, 2200.0), text=TEXT, **changes):
    """As version 1.0.2 wrote it: the end of the sentence is a word with times."""
    line = {**simuleval_1_1(index), **changes}
    times = {name: [*line[name], time] for name, time in zip(("delays", "elapsed"), end)}
    metric = {"sentence_bleu": 80.0, "latency": {"AL": 500.0}, "latency_ca": {"AL": 600.0}}
    scores = {"prediction_length": 6, "reference_length": 6, "metric": metric}
    return {**line, "prediction": f"{text} </s>", **times, **scores}


def omnisteval(index=0, **changes):
    line = simuleval_1_1(index, source=f"{index}.wav", **changes)
    return {name: line[name] for name in line if name not in ("index", "prediction_length")}


def without(line, *names):
    return {name: value for name, value in line.items() if name not in names}


@pytest.fixture
def log(tmp_path):
    """A function: writes lines to a file, returns it."""

    def write(*lines, name="log.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return path

    return write


class TestSimulEval:
    def test_the_end_of_a_sentence_is_no_word(self, log):
        expected = read_instances(log(simuleval_1_1(0), simuleval_1_1(1)))
        found = read_any_log(log(simuleval_1_0(0), simuleval_1_0(1), name="instances.log"))
        assert found.format.name == "SimulEval 1.0" and found.instances == expected
        assert score_run(log(simuleval_1_0())) == score_run(log(simuleval_1_1()))

    def test_a_sentence_that_was_broken_off_has_no_end(self, log):
        broken = {**simuleval_1_1(1), "metric": {}}
        assert read_instances(log(simuleval_1_0(0), broken)) == read_instances(log(simuleval_1_1(0), simuleval_1_1(1)))

    def test_characters(self, log):
        """1.0 sets spaces between what was written at once, and counts the characters in it."""
        times = dict(delays=[100.0, 100.0, 300.0], elapsed=[150.0, 150.0, 300.0], reference="你好吗")
        (found,) = read_instances(log(simuleval_1_0(end=(400.0, 450.0), text="你好 吗", **times)), unit_named("char"))
        assert (found.written, found.delays) == (["你", "好", "吗"], [100, 100, 300])

    def test_control_read_as_1_1_it_does_not_fit(self, log, monkeypatch):
        monkeypatch.setattr("leap_fairseq.scoring.log_formats.FORMATS", (SIMULEVAL,))
        (found,) = read_instances(log(simuleval_1_0()))
        assert found.prediction.endswith("</s>") and len(found.delays) == 6


class TestOmniSTEval:
    def test_the_same_as_simuleval(self, log):
        expected = score_run(log(simuleval_1_1(0), simuleval_1_1(1)))
        path = log(omnisteval(0), omnisteval(1))
        assert read_any_log(path).format.name == "OmniSTEval" and score_run(path) == expected

    def test_what_it_may_lack(self, log):
        expected = score_run(log(simuleval_1_1()))
        row = score_run(log(without(omnisteval(), "elapsed")))
        assert row["AL"] == expected["AL"] and math.isnan(row["AL_CA"]) and math.isnan(row["ATD_CA"])
        nameless = log(without(omnisteval(), "reference"))
        assert score_run(nameless, references=[TEXT + " an"]) == expected
        assert score_log(nameless, Settings(), [TEXT + " an"]) == expected
        with pytest.raises(ValueError, match="1 of 1 lines have no reference: .*--reference-text"):
            score_run(nameless)
        with pytest.raises(ValueError, match="holds 1 sentences, but there are 2 references"):
            score_run(nameless, references=["a", "b"])
        assert math.isnan(score_run(log(without(omnisteval(), "source_length")))["AL"])

    def test_characters_with_spaces(self, log):
        """There, a space is a character with a time."""
        given = dict(prediction="ab c", delays=[1.0, 2.0, 3.0, 4.0], elapsed=[1.0, 2.0, 3.0, 4.0], reference="ab c")
        (found,) = read_instances(log(omnisteval(**given)), unit_named("char"))
        assert found.written == ["a", "b", "\u00a0", "c"] and found.prediction == "ab c"

    @pytest.mark.parametrize(
        "changes, message",
        [
            ({"source": None}, "line 2: source is None, but must name the recording"),
            ({"source": "0.wav"}, "line 2: 0.wav is in line 1 already"),
            ({"delays": None}, "line 2: delays is None, but must be a list"),
            ({"delays": DELAYS[::-1]}, "line 2: delays: number 2 is 1300.0"),
            ({"elapsed": DELAYS[:4]}, "line 2: 5 delays but 4 elapsed times"),
            ({"prediction": TEXT + " an"}, "line 2: sentence 1 has 5 delays for 6 units"),
        ],
    )
    def test_wrong_lines(self, log, changes, message):
        with pytest.raises(ValueError, match=message):
            read_instances(log(omnisteval(0), {**omnisteval(1), **changes}))

    def test_parts_that_were_cut_there(self, log):
        cut = {"index": 0, "docid": 0, "segid": 0, "prediction": "a b", "reference": "a b", "source_length": 1000.0}
        times = {"emission_cu": [-200.0, 900.0], "emission_ca": [-100.0, 1000.0], "time_to_recording_end": 5000.0}
        empty = {"index": 1, "docid": 0, "segid": 1, "prediction": "", "reference": "c"}
        found = read_any_log(log({**cut, **times}, empty))
        first, second = found.instances
        assert found.format.is_cut and isinstance(first, Part) and first.rest == 5000 and second.rest == math.inf
        assert (first.delays, first.in_order, second.delays) == ([-200.0, 900.0], [-100.0, 1000.0], [])
        row = score_log(log({**cut, **times}, empty), Settings())
        assert row["LongLAAL"] == (-200 + 900 - 500) / 2 and row["StreamLAAL"] == (0 + 900 - 500) / 2
        assert (row["recordings"], row["sentences"], row["empty"]) == (1, 2, 1)
        with pytest.raises(ValueError, match="leave --references out"):
            score_log(log({**cut, **times}), Settings(), ["a b"])
        with pytest.raises(ValueError, match="line 1: time_to_recording_end is 'x'"):
            read_instances(log({**cut, **times, "time_to_recording_end": "x"}))


def start(name, stream=0):
    return {"id": stream, "metadata": {"wav_name": name}}


def write(seconds, written, deleted=(), stream=0, computing=0.25):
    times = {"total_audio_processed": seconds, "computation_time": computing}
    return {"id": stream, **times, "generated_tokens": list(written), "deleted_tokens": list(deleted)}


class TestSimulstream:
    def test_a_word_has_the_time_of_its_last_change(self, log):
        path = log(
            {"model_loading_time": 5.9},
            start("talks/ted_1.wav"),
            write(1.0, ["▁Gra", "zie", "."]),
            write(2.0, []),
            write(3.0, [",", "▁se"], ["."], computing=2.0),
            write(4.0, ["▁vi", "▁piace"]),
            write(4.5, [], ["▁piace"]),
        )
        found = read_any_log(path)
        (recording,) = found.instances
        assert found.format.name == "simulstream" and recording.recording == "ted_1"
        assert recording.written == ["Grazie,", "se", "vi"] and recording.source_length == 4500
        assert recording.delays == [3000, 3000, 4000] and recording.elapsed == [5000, 5000, 4250]

    def test_control_without_the_change_a_word_keeps_its_first_time(self, log, monkeypatch):
        path = log(start("a.wav"), write(1.0, ["▁Gra"]), write(2.0, ["zie"]))
        assert read_instances(path)[0].delays == [2000]
        monkeypatch.setattr("os.path.commonprefix", lambda pair: pair[0])
        assert read_instances(path)[0].delays == [1000]

    def test_streams_side_by_side(self, log):
        """A server numbers its streams by clients, and a number comes again."""
        path = log(
            start("a.wav", 7),
            start("b.wav", 8),
            write(1.0, ["▁b"], stream=8),
            write(2.0, ["▁a"], stream=7),
            start("c.wav", 7),
            write(3.0, ["▁c"], stream=7),
        )
        assert [(found.recording, found.prediction) for found in read_instances(path)] == [*zip("abc", "abc")]

    def test_words_and_characters_of_simuleval_agents(self, log):
        path = log(start("a.wav"), write(1.0, ["ein", "Zug"]), write(2.0, ["kommt"]))
        (words,) = read_instances(path)
        assert (words.prediction, words.delays) == ("ein Zug kommt", [1000, 1000, 2000])
        (characters,) = read_instances(log(start("a.wav"), write(1.0, "你 好")), unit_named("char"))
        assert (characters.prediction, characters.written) == ("你 好", ["你", "\u00a0", "好"])
        (pieces,) = read_instances(log(start("a.wav"), write(1.0, ["▁a", "b"])), unit_named("spm"))
        assert (pieces.prediction, pieces.written) == ("ab", ["▁a", "b"])

    @pytest.mark.parametrize(
        "line, message",
        [
            (write(2.0, ["▁c"], ["▁b"]), "line 3: deleted_tokens are not the last ones"),
            (write(2.0, ["▁c"], ["▁x", "▁a"]), "line 3: deleted_tokens are not the last ones"),
            (write(2.0, ["▁c"], stream=1), "line 3: no line before it says which recording 1 is"),
            (write(-1.0, []), "line 3: total_audio_processed is -1.0, but must be a number of seconds"),
            (write(2.0, [], computing=None), "line 3: computation_time is None"),
            ({**write(2.0, []), "generated_tokens": "ab"}, "line 3: generated_tokens is 'ab'"),
            (write(2.0, ["Ġc"]), "line 3: generated_tokens are of byte-level BPE"),
            (write(0.5, ["▁c"]), "line 1: delays: number 2 is 500.0"),
            (start("b/a.flac"), "line 3: a is in line 1 already"),
            ({"id": 0, "metadata": {}}, "line 3: metadata is {}, but must have a wav_name"),
            ({"id": [], "metadata": {"wav_name": "b"}}, r"line 3: id is \[\]"),
            ({"index": 0}, "line 3 has no id"),
            ([], "line 3 has no id"),
        ],
    )
    def test_wrong_lines(self, log, line, message):
        with pytest.raises(ValueError, match=message):
            read_instances(log(start("a.wav"), write(1.0, ["▁a"]), line))

    @pytest.mark.parametrize("unit", ["word", "char"])
    def test_equals_its_own_reader(self, log, unit):
        readers = pytest.importorskip("simulstream.metrics.readers")
        numbers = random.Random(1)
        for _ in range(40):
            lines, tokens = [start("talk.wav")], []
            for second in range(1, 12):
                deleted = tokens[len(tokens) - numbers.choice((0, 0, 1, 3)) :] if len(tokens) > 3 else []
                written = [numbers.choice(("▁a", "▁bc", "d", "e", ".", "▁")) for _ in range(numbers.choice((0, 1, 4)))]
                tokens = tokens[: len(tokens) - len(deleted)] + written
                lines.append(write(float(second), written, deleted, computing=numbers.random()))
            path = log(*lines)
            reader = object.__new__(readers.LogReader)
            reader.filepath, reader.latency_unit = path, unit
            reader.detokenizer = lambda tokens: "".join(tokens).replace("▁", " ").strip()
            reader.outputs_by_audio = reader._get_outputs()
            theirs, (ours,) = reader.final_outputs_and_latencies()["talk"], read_instances(path, unit_named(unit))
            assert ours.prediction.split() == theirs.final_text.split()
            assert ours.delays == [1000 * delay for delay in theirs.ideal_delays]
            assert ours.elapsed == pytest.approx([1000 * time for time in theirs.computational_aware_delays])


class TestUnknown:
    def test_an_empty_log_is_taken_as_simulevals(self, log):
        assert read_any_log(log()).format == SIMULEVAL

    @pytest.mark.parametrize("line", [{"hypothesis": "a", "id": 3}, {}, [], 3, None, {"prediction": "a"}])
    def test_what_is_known_is_told(self, log, line):
        with pytest.raises(ValueError, match="log.jsonl: line 1 .*as no log that is known") as caught:
            read_instances(log(line, simuleval_1_1()))
        assert all(f"{known.name}: " in str(caught.value) for known in FORMATS)

    def test_lines_of_another_tool_among_them(self, log):
        with pytest.raises(ValueError, match="line 2: index is missing"):
            read_instances(log(simuleval_1_1(), omnisteval()))
        with pytest.raises(ValueError, match="line 2 has no id"):
            read_instances(log(start("a"), simuleval_1_1()))
