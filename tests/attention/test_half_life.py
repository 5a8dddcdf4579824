"""Half-lives as an option: a number or a range over the heads."""

import pytest
import torch
from tolerances import assert_same

from leap_fairseq.attention import spread_half_lives
from leap_fairseq.attention.half_life import remaining


@pytest.mark.parametrize(
    "text, heads, expected",
    [("64", 3, [64, 64, 64]), ("4-256", 4, [4, 16, 64, 256]), ("8-2048", 1, [8]), ("1-3", 3, [1, 2, 3])],
)
def test_a_range_is_spread_geometrically(text, heads, expected):
    assert spread_half_lives(text, heads).tolist() == expected


@pytest.mark.parametrize("text", ["0", "8-4", "0-4", "fast", "-4", "1.5", "4-8-16", "", "4-"])
def test_what_is_no_half_life_is_named(text):
    with pytest.raises(ValueError, match=f"half-life '{text}'"):
        spread_half_lives(text, 4)


def test_half_after_a_half_life_and_a_millionth_after_twenty():
    left = remaining(torch.tensor([10, 100]), torch.tensor([[-5, 0, 10, 200]]), torch.zeros(1))
    assert_same(left, torch.tensor([[[1, 1, 0.5, 2**-20]], [[1, 1, 2**-0.1, 0.25]]]), torch.float32)
    assert remaining(torch.tensor([torch.inf]), torch.tensor([3]), torch.zeros(1)).tolist() == [[1.0]]
