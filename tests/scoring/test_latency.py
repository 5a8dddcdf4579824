"""The latency scores against oracles, their definitions' properties, and SimulEval's own scorers; reading its log."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leap_fairseq.scoring.instances import Instance, read_instances
from leap_fairseq.scoring.latency import (
    LATENCY_SCORES,
    average_lagging,
    average_proportion,
    average_token_delay,
    differentiable_average_lagging,
    latencies,
    length_adaptive_average_lagging,
)


def fields(**changes):
    values = {
        "index": 0,
        "prediction": "a b c",
        "delays": [500.0, 900.0, 1000.0],
        "elapsed": [510.0, 950.0, 1100.0],
        "prediction_length": 3,
        "reference": "a b c d",
        "source": ["x.wav"],
        "source_length": 1000.0,
    }
    return {**values, **changes}


def write_log(folder, *lines):
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (folder / "instances.log").write_text(text, encoding="utf-8")
    return folder


class TestScores:
    def test_oracle_of_a_hypothesis_that_ends_before_the_source(self):
        delays = [1400, 1680, 1960, 2240]
        assert average_lagging(delays, 4000, 20) == pytest.approx(1520)
        assert length_adaptive_average_lagging(delays, 4000, 20) == pytest.approx(1520)
        assert average_proportion(delays, 4000, 20) == pytest.approx(0.091)
        assert differentiable_average_lagging(delays, 4000, 20) == pytest.approx(1400)

    def test_oracle_of_a_hypothesis_longer_than_the_reference(self):
        delays = [2000] * 12 + [4000] * 12
        assert average_lagging(delays, 4000, 8) == pytest.approx(-846.1538, abs=1e-3)
        assert length_adaptive_average_lagging(delays, 4000, 8) == pytest.approx(1153.8462, abs=1e-3)
        assert average_proportion(delays, 4000, 8) == pytest.approx(2.25)
        assert differentiable_average_lagging(delays, 4000, 8) == pytest.approx(2000)

    def test_offline_and_perfect_translation(self):
        offline, perfect = [4000] * 4, [0, 1000, 2000, 3000]
        # ATD: the i-th word of an offline translation belongs to the i-th 300 ms of the speech.
        assert list(latencies(offline, 4000, 4).values()) == [4000, 4000, 1, 4000, 4000 - 750]
        assert list(latencies(perfect, 4000, 4).values())[:4] == [0, 0, 0.375, 0]

    def test_average_token_delay_by_hand(self):
        # Chunks of 600 and 700 ms: tokens end at 300, 600 | 900, 1200, 1300. The third word of the first chunk has no
        # token left and takes the last; the second chunk begins one word behind, and its word takes token 3.
        assert average_token_delay([600, 600, 600, 1300], 2000) == (300 + 0 + 0 + (1300 - 900)) / 4
        # Computing moves the words, not the speech.
        assert average_token_delay([600, 1300], 2000, times=[650, 1500]) == ((650 - 300) + (1500 - 600)) / 2
        assert latencies([600, 1300], 2000, 2, [650, 1500])["ATD"] == 625
        assert latencies([600, 1300], 2000, 2, [650, 1500])["AP"] == 2150 / 4000

    def test_first_word_after_the_source_is_the_whole_lag(self):
        assert average_lagging([5200, 5300], 5000, 2) == 5200

    @given(
        increments=st.lists(st.floats(0, 500), min_size=1, max_size=30),
        reference_length=st.integers(1, 30),
        source_length=st.floats(1, 8000),
    )
    def test_relations_of_the_scores(self, increments, reference_length, source_length):
        delays = [sum(increments[: i + 1]) for i in range(len(increments))]
        lagging = average_lagging(delays, source_length, reference_length)
        adaptive = length_adaptive_average_lagging(delays, source_length, reference_length)
        tolerance = 1e-6 * (abs(lagging) + source_length)
        assert adaptive >= lagging - tolerance
        if reference_length >= len(delays):
            assert adaptive == lagging
        assert adaptive <= max(delays) + tolerance
        later = [delay + 100 for delay in delays]
        differentiable = differentiable_average_lagging(delays, source_length)
        assert differentiable_average_lagging(later, source_length) == pytest.approx(differentiable + 100)

    @pytest.mark.parametrize("score", LATENCY_SCORES.values(), ids=LATENCY_SCORES)
    def test_wrong_arguments_are_named(self, score):
        with pytest.raises(ValueError, match="empty hypothesis"):
            score([], 1000, 3)
        with pytest.raises(ValueError, match="source_length is 0"):
            score([1], 0, 3)

    def test_reference_length_is_checked(self):
        with pytest.raises(ValueError, match="reference_length is 0"):
            average_lagging([1], 1000, 0)


class TestAgainstSimulEval:
    @pytest.fixture(scope="class")
    def scorers(self):
        module = pytest.importorskip("simuleval.evaluator.scorers.latency_scorer")
        return module.LATENCY_SCORERS_DICT

    def lines(self):
        yield fields()
        yield fields(index=1, delays=[1000.0] * 3, elapsed=[1300.0, 1300.0, 1400.0])
        yield fields(index=2, prediction="", delays=[], elapsed=[])
        yield fields(index=3, prediction="a", delays=[280.0], elapsed=[290.5], reference="Grüße aus Köln , ja !")
        yield fields(
            index=4,
            prediction=" ".join("abcdefghij"),
            delays=[100.0 * i for i in range(1, 11)],
            elapsed=[130.0 * i for i in range(1, 11)],
            reference="eins zwei",
        )
        yield fields(index=5, delays=[2000.0, 2100.0, 2100.0], elapsed=[2000.0, 2500.0, 2500.0])

    @pytest.mark.parametrize("unit", ["word", "char"])
    @pytest.mark.parametrize("computation_aware", [False, True])
    def test_every_sentence(self, scorers, tmp_path, unit, computation_aware):
        from simuleval.evaluator.instance import LogInstance

        lines = list(self.lines())
        ours = [i for i in read_instances(write_log(tmp_path, *lines)) if i.is_scorable]
        theirs = [LogInstance(json.dumps(line), unit) for line in lines if line["delays"]]
        assert len(ours) == len(theirs) == 5
        for name in LATENCY_SCORES:
            scorer = scorers[name](computation_aware=computation_aware)
            for our, their in zip(ours, theirs):
                if name != "ATD":
                    expected = scorer.compute(their)
                elif not computation_aware:  # theirs adds the time of computing in another way
                    expected = scorer({0: their})
                else:
                    continue
                assert our.latency(unit, computation_aware)[name] == pytest.approx(expected), name


class TestInstances:
    def test_fields_and_order(self, tmp_path):
        folder = write_log(tmp_path, fields(index=2), fields(index=0, prediction="ü", delays=[1], elapsed=[1]), "")
        first, second = read_instances(folder)
        assert (first.index, first.prediction, first.delays) == (0, "ü", [1.0])
        assert second.elapsed == [510.0, 950.0, 1100.0] and second.source_length == 1000
        assert read_instances(folder / "instances.log") == [first, second]

    def test_torn_last_line_is_left_out_with_a_warning(self, tmp_path, caplog):
        folder = write_log(tmp_path, fields())
        log = folder / "instances.log"
        complete = log.read_bytes()
        for cut in ('{"index": 1, "predic', json.dumps(fields(prediction="ü"), ensure_ascii=False)[:27]):
            log.write_bytes(complete + cut.encode("utf-8"))
            caplog.clear()
            with caplog.at_level(logging.WARNING):
                assert len(read_instances(folder)) == 1
            assert "line 2" in caplog.text

    def test_broken_line_before_the_last_is_an_error(self, tmp_path):
        with pytest.raises(ValueError, match="line 1 is not a sentence"):
            read_instances(write_log(tmp_path, '{"index": 1, "pre', fields()))
        with pytest.raises(ValueError, match="3 delays but 1 elapsed"):
            read_instances(write_log(tmp_path, fields(elapsed=[1.0]), fields()))
        with pytest.raises(ValueError, match="line 1"):
            read_instances(write_log(tmp_path, {"index": 0}, fields()))

    def test_a_sentence_twice(self, tmp_path, caplog):
        folder = write_log(tmp_path, fields(prediction="x y z"), fields(prediction="u v w"))
        with caplog.at_level(logging.WARNING):
            assert [instance.prediction for instance in read_instances(folder)] == ["u v w"]
        assert "again in line 2" in caplog.text

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="--output"):
            read_instances(tmp_path)

    def test_units(self):
        instance = Instance(0, "你 好", "你好吗 朋友", [1.0, 2.0], [1.0, 2.0], 10.0)
        assert instance.reference_length("char") == 6 and instance.reference_length("word") == 2
        assert instance.written() == ["你", "好"]
        assert Instance(0, "你好", "", [1.0, 2.0], [1.0, 2.0], 10.0).written() == ["你", "好"]
        assert Instance(0, "a", "", [1.0], [1.0], 10.0).reference_length() == 1
        with pytest.raises(ValueError, match="--latency-unit"):
            instance.reference_length("syllable")
        with pytest.raises(ValueError, match="--spm-model"):
            instance.reference_length("spm")
        assert Instance(0, "ein", "", [1.0, 2.0], [1.0, 2.0], 10.0, ["\u2581e", "in"]).written() == ["\u2581e", "in"]
        with pytest.raises(ValueError, match="2 delays"):
            Instance(0, "a b c", "", [1.0, 2.0], [1.0, 2.0], 10.0).written()
