"""The latency scores against oracles, their definitions' properties, and SimulEval's own scorers."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leap_fairseq.scoring import latency
from leap_fairseq.scoring.instances import Instance
from leap_fairseq.scoring.latency import (
    LATENCY_SCORES,
    average_lagging,
    average_proportion,
    average_token_delay,
    differentiable_average_lagging,
    latencies,
    length_adaptive_average_lagging,
)
from leap_fairseq.scoring.units import unit_named


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


def instance(line, unit="word"):
    unit = unit_named(unit)
    values = {name: line[name] for name in ("index", "prediction", "reference", "delays", "elapsed", "source_length")}
    return Instance(**values, written=unit.written(line), unit=unit)


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
        assert list(latencies(offline, 4000, 4).values()) == [4000, 4000, 1, 4000, 4000 - 750, 4000, 0, 4, 1]
        assert list(latencies(perfect, 4000, 4).values())[:4] == [0, 0, 0.375, 0]

    def test_average_token_delay_by_hand(self):
        # Chunks of 600 and 700 ms: tokens end at 300, 600 | 900, 1200, 1300. The third word of the first chunk has no
        # token left and takes the last; the second chunk begins one word behind, and its word takes token 3.
        assert average_token_delay([600, 600, 600, 1300], 2000) == (300 + 0 + 0 + (1300 - 900)) / 4
        # Computing moves the words, not the speech: 50 ms for the first word, 150 more for the second.
        assert average_token_delay([600, 1300], 2000, elapsed=[650, 1500]) == ((650 - 300) + (1450 - 600)) / 2
        assert latencies([600, 1300], 2000, 2, [650, 1500])["ATD"] == 600
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


WORD = st.text("abäß", min_size=1, max_size=4)
STEP = st.floats(0, 900).map(lambda step: round(step, 1))


@st.composite
def log_lines(draw, unit):
    """A line as SimulEval logs it: words written together, delays up to the end of the source."""
    words = draw(st.lists(WORD, min_size=1, max_size=12))
    prediction = "".join(words) if unit == "char" else " ".join(words)
    count = len(prediction if unit == "char" else words)
    waits = draw(st.lists(st.one_of(st.just(0.0), STEP), min_size=count, max_size=count))
    delays = list(itertools.accumulate(waits))
    computed = itertools.accumulate(draw(st.lists(STEP, min_size=count, max_size=count)))
    length = max(1.0, delays[-1] - draw(STEP) if draw(st.booleans()) else delays[-1] + draw(STEP))
    times = {"delays": delays, "elapsed": [delay + time for delay, time in zip(delays, computed)]}
    reference = " ".join(draw(st.lists(WORD, min_size=1, max_size=12)))
    return fields(prediction=prediction, reference=reference, source_length=length, **times)


class TestAgainstSimulEval:
    @pytest.fixture(scope="class")
    def differences(self):
        """A function: the scores of a line that are not SimulEval's, plain and computation-aware."""
        scorers = pytest.importorskip("simuleval.evaluator.scorers.latency_scorer").LATENCY_SCORERS_DICT
        from simuleval.evaluator.instance import LogInstance

        def compare(line, unit):
            ours, theirs = instance(line, unit), {0: LogInstance(json.dumps(line), unit)}
            for aware in (False, True):
                for name, score in ours.latency(aware).items():
                    expected = scorers[name](computation_aware=aware)(theirs)
                    if score != pytest.approx(expected, rel=1e-9, abs=1e-6):
                        yield name + "_CA" * aware, score, expected

        return lambda line, unit: list(compare(line, unit))

    @pytest.mark.parametrize("unit", ["word", "char"])
    def test_random_logs(self, differences, unit):
        @settings(max_examples=60, deadline=None)
        @given(log_lines(unit))
        def check(line):
            assert not differences(line, unit)

        check()

    def test_constructed_lines(self, differences):
        for changes in (
            {},
            dict(delays=[1000.0] * 3, elapsed=[1300.0, 1300.0, 1400.0]),
            dict(prediction="a", delays=[280.0], elapsed=[290.5], reference="Grüße aus Köln , ja !"),
            dict(delays=[2000.0, 2100.0, 2100.0], elapsed=[2000.0, 2500.0, 2500.0]),
            # Computing that lasts beyond the next delays holds the words behind it up.
            dict(delays=[300.0, 600.0, 900.0], elapsed=[2300.0, 2610.0, 2930.0], source_length=4000.0),
        ):
            assert not differences(fields(**changes), "word")
        text = dict(prediction="abcdefghij", reference="eins zwei")
        times = {name: [step * i for i in range(1, 11)] for name, step in (("delays", 100.0), ("elapsed", 130.0))}
        assert not differences(fields(**text, **times), "char")

    def test_control_elapsed_times_as_they_are_give_another_delay(self, differences, monkeypatch):
        monkeypatch.setattr(latency, "_times_out", lambda delays, elapsed: elapsed)
        line = fields(delays=[300.0, 600.0, 900.0], elapsed=[2300.0, 2610.0, 2930.0])
        assert [name for name, _, _ in differences(line, "word")] == ["ATD_CA"]
