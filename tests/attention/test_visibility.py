"""Schedules against their definitions, written out element by element."""

import pytest
import torch

from leap_fairseq.attention import (
    causal_visibility,
    full_visibility,
    segment_visibility,
    waitk_requirement,
    waitk_visibility,
)
from leap_fairseq.attention.proportions import LeapProportion, static_proportion


@pytest.mark.parametrize("t, s", [(1, 1), (7, 7), (7, 40), (40, 7), (5, 0)])
@pytest.mark.parametrize("first", [0, 3])
def test_schedules_equal_their_definition(t, s, first):
    rows = range(first, first + t)
    assert full_visibility(t, s, first).tolist() == [s] * t
    assert causal_visibility(t, s, first).tolist() == [min(s, i + 1) for i in rows]
    for c in (1, 2, 7, 100):
        assert segment_visibility(t, s, first, segment=c).tolist() == [min(s, (i // c + 1) * c) for i in rows]
    for r in (2, 7, 9):
        for k in (1, 3):
            expected = [min(s, (i + k) * r) for i in rows]
            assert waitk_visibility(t, s, first, lagging=k, ratio=r).tolist() == expected
            assert [min(s, waitk_requirement(i, k, r)) for i in rows] == expected


def test_continuing_equals_all_at_once():
    whole = waitk_visibility(12, 40, lagging=2, ratio=3)
    parts = [waitk_visibility(n, 40, first, lagging=2, ratio=3) for first, n in ((0, 5), (5, 0), (5, 7))]
    assert torch.equal(torch.cat(parts), whole)


def test_wrong_schedules_name_their_flag():
    with pytest.raises(ValueError, match="lagging 0 must be at least 1: set --waitk-lagging"):
        waitk_visibility(3, 4, lagging=0, ratio=2)
    with pytest.raises(ValueError, match="ratio 0 must be at least 1: set --fixed-pre-decision-ratio"):
        waitk_visibility(3, 4, lagging=1, ratio=0)
    with pytest.raises(ValueError, match="segment 0"):
        segment_visibility(3, 4, segment=0)


def test_leap_network_is_the_formula():
    torch.manual_seed(0)
    leap = LeapProportion(8, leap_factor=4)
    x = torch.rand(2, 5, 3, 8)
    w1, b1, w2, b2 = (leap.state_dict()[name] for name in ("0.weight", "0.bias", "2.weight", "2.bias"))
    assert w1.shape == (2, 8) and w2.shape == (1, 2)
    expected = torch.sigmoid(torch.relu(x @ w1.T + b1) @ w2.T + b2)[..., 0]
    torch.testing.assert_close(leap(x), expected)
    with pytest.raises(ValueError, match=r"leap_factor 3 does not divide the head dimension 8.*\[1, 2, 4, 8\]"):
        LeapProportion(8, leap_factor=3)


def test_static_proportion_stays_in_range():
    assert static_proportion(torch.tensor([0, 5, 10, 25]), 10).tolist() == [0.0, 0.5, 1.0, 1.0]
    with pytest.raises(ValueError, match="max_length 0"):
        static_proportion(torch.tensor([0]), 0)
