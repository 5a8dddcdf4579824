"""A log of simulstream is read in the time of its length, as if its whole text were compared after each line."""

import os
import random
from pathlib import Path

import pytest

from leap_fairseq.scoring import simulstream_log
from leap_fairseq.scoring.log_lines import Line
from leap_fairseq.scoring.simulstream_log import simulstream_lines
from leap_fairseq.scoring.units import KEPT_SPACE, unit_named

MARKED = ("▁a", "▁bc", "d", "你", ".", "▁", "", "▁▁", "e▁", " ", "f g")
PLAIN = tuple(token.replace("▁", "") for token in MARKED)


def random_log(tokens, count, seed):
    """What is written, and how much of it is taken back first, line by line."""
    numbers, standing = random.Random(seed), []
    for second in range(count):
        kept = max(0, len(standing) - numbers.choice((0, 0, 0, 1, 3)))
        deleted, written = standing[kept:], numbers.choices(tokens, k=numbers.choice((0, 1, 4)))
        standing = standing[:kept] + written
        yield {
            "id": 0,
            "total_audio_processed": float(second),
            "computation_time": numbers.random(),
            "generated_tokens": written,
            "deleted_tokens": deleted,
        }


def read(log, unit):
    lines = [Line(Path("log"), number, fields) for number, fields in enumerate(log, start=2)]
    start = Line(Path("log"), 1, {"id": 0, "metadata": {"wav_name": "talk.wav"}})
    (recording,) = simulstream_lines([start, *lines], unit)
    return recording.fields


def whole_text(tokens, unit, marked):
    text = "".join(tokens).replace("▁", " ").strip() if marked else ("" if unit == "char" else " ").join(tokens)
    return {"spm": tokens, "word": text.split(), "char": list(text.replace(" ", KEPT_SPACE))}[unit]


def times_by_whole_texts(log, unit, marked):
    """Units with delays and elapsed times, ms, of a reader that looks at all of the text each time."""
    tokens, units, times = [], [], []
    for line in log:
        kept = tokens[: len(tokens) - len(line["deleted_tokens"])]
        delay = 1000 * line["total_audio_processed"]
        for tokens in (kept, kept + line["generated_tokens"]):
            before, units = units, whole_text(tokens, unit, marked)
            same = len(os.path.commonprefix([before, units]))
            times[same:] = [(delay, delay + 1000 * line["computation_time"])] * (len(units) - same)
    return units, times


@pytest.mark.parametrize("unit", ["word", "char", "spm"])
@pytest.mark.parametrize("tokens", [MARKED, PLAIN])
def test_times_are_those_of_whole_texts(unit, tokens):
    for seed in range(60):
        log = list(random_log(tokens, 20, seed))
        marked = any("▁" in token for line in log for token in line["generated_tokens"])
        units, times = times_by_whole_texts(log, unit, marked)
        found = read(log, unit_named(unit))
        assert found["prediction"] == ("".join(units) if unit == "char" else unit_named(unit).join(units))
        assert list(zip(found["delays"], found["elapsed"])) == times


def test_control_with_a_border_between_all_tokens_words_break(monkeypatch):
    monkeypatch.setattr(simulstream_log._Text, "_is_border", lambda text, before, behind: True)
    log = list(random_log(MARKED, 20, seed=0))
    assert read(log, unit_named("word"))["prediction"].split() != times_by_whole_texts(log, "word", True)[0]


@pytest.mark.parametrize("unit", ["word", "char", "spm"])
@pytest.mark.parametrize("tokens", [MARKED, PLAIN])
def test_a_change_costs_what_it_changes(unit, tokens, monkeypatch):
    looked_at, units = [], simulstream_log._Text._units
    monkeypatch.setattr(
        simulstream_log._Text,
        "_units",
        lambda text, some, **options: looked_at.extend(some) or units(text, some, **options),
    )
    log = list(random_log(tokens, 1000, seed=0))
    read(log, unit_named(unit))
    assert len(looked_at) < 10 * sum(len(line["generated_tokens"]) for line in log)
