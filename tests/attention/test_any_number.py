"""Whatever the schedules, feature maps and proportions of the core are given: their definition, or a ValueError."""

import math
from functools import partial

import pytest
import torch
from drawn import OTHER_TYPES, TYPES, drawn
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_same

from leap_fairseq.attention import (
    KINDS,
    LeapProportion,
    LinearAttentionState,
    causal_visibility,
    elu_plus_one,
    full_visibility,
    hedgehog,
    relu,
    segment_visibility,
    spread_half_lives,
    static_proportion,
    waitk_requirement,
    waitk_visibility,
)

FEW = st.integers(0, 9)
HUGE = [2**31, 2**61, 2**62, 2**63 - 1, 2**64]
NUMBERS = st.one_of(FEW, st.sampled_from([*HUGE, -1, -(2**40), 1.5, math.nan, "3", None]))
SIZES = st.one_of(FEW, st.sampled_from([-1, -(2**63), 2**64, 1.5, math.inf, "3", None]))
SHAPES = st.lists(st.integers(0, 4), max_size=5)


def whole(*numbers, least=0):
    return all(isinstance(number, int) and number >= least for number in numbers)


def assert_defined(schedule, definition, count, keys, first, **options):
    """That a schedule is its definition, in numbers that do not overflow; or refuses what is none."""
    right = whole(count, keys, first) and whole(*options.values(), least=1)
    try:
        visible = schedule(count, keys, first, **options)
    except ValueError:
        # Right numbers are refused only where their products are beyond 64 bits.
        assert not right or max(keys, first, math.prod(options.values()) * (first + count + 9)) > 2**60
        return
    assert right, "accepted"
    assert visible.dtype == torch.int64 and visible.tolist() == [min(keys, definition(first + i)) for i in range(count)]


@drawn(200)
@given(SIZES, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_schedules(count, keys, first, one, other):
    assert_defined(full_visibility, lambda i: keys, count, keys, first)
    assert_defined(causal_visibility, lambda i: i + 1, count, keys, first)
    assert_defined(segment_visibility, lambda i: (i // one + 1) * one, count, keys, first, segment=one)
    assert_defined(waitk_visibility, lambda i: (i + one) * other, count, keys, first, lagging=one, ratio=other)


def test_the_control_that_a_schedule_that_overflows_is_seen():
    def wrapped(count, keys, first, *, lagging, ratio):
        return waitk_requirement(torch.arange(first, first + count), lagging, ratio).clamp(max=keys)

    with pytest.raises(AssertionError):
        assert_defined(wrapped, lambda i: (i + 2**40) * 2**30, 3, 10, 0, lagging=2**40, ratio=2**30)


def hedgehog_defined(x, scale):
    """Per head, without the shift that keeps an exponential from overflowing: float64 holds e^200."""
    up, down = ((sign * scale.double().unsqueeze(-1) * x).exp() for sign in (1, -1))
    total = up.sum(-1, keepdim=True) + down.sum(-1, keepdim=True)
    return torch.cat((up, down), -1) / total * 2 * x.shape[-1]


@drawn(80)
@given(SHAPES, st.sampled_from([*TYPES, *OTHER_TYPES]), st.floats(-100, 100))
def test_feature_maps(shape, dtype, scale):
    x = (torch.linspace(-1, 1, math.prod(shape), dtype=torch.float64).view(shape) * scale).to(dtype)
    definitions = {relu: lambda y: y.clamp(min=0), elu_plus_one: lambda y: torch.where(y > 0, y + 1, y.exp())}
    if len(shape) > 1 and math.prod(shape):
        sharpness = torch.linspace(0.5, 2, shape[-2], dtype=torch.float64)
        definitions[partial(hedgehog, scale=sharpness.float())] = lambda y: hedgehog_defined(y, sharpness.float())
    for feature_map, definition in definitions.items():
        if dtype in OTHER_TYPES:
            with pytest.raises(ValueError, match="queries and keys must be floating"):
                feature_map(x)
        else:
            assert feature_map(x).dtype == dtype
            assert_same(feature_map(x), definition(x.double()), dtype)


@drawn(80)
@given(SHAPES, st.sampled_from([*TYPES, *OTHER_TYPES]), NUMBERS)
def test_static_proportions(shape, dtype, max_length):
    positions = torch.arange(math.prod(shape)).view(shape).to(dtype)
    try:
        proportion = static_proportion(positions, max_length)
    except ValueError:
        assert dtype not in (torch.int32, torch.int64) or not whole(max_length, least=1) or max_length > 2**60
        return
    assert_same(proportion, (positions.double() / max_length).clamp(max=1).float())


@drawn(60)
@given(st.one_of(SIZES, st.just(4)), SIZES, SHAPES, st.sampled_from([*TYPES, *OTHER_TYPES]))
def test_learned_proportions(head_dim, leap_factor, shape, dtype):
    try:
        leap = LeapProportion(head_dim, leap_factor)
    except ValueError:
        assert not whole(head_dim) or not whole(leap_factor, least=1) or head_dim % leap_factor
        return
    try:
        proportion = leap(torch.zeros((*shape, head_dim), dtype=dtype))
    except ValueError:
        assert dtype != torch.float32
        return
    assert proportion.shape == tuple(shape) and bool(((proportion > 0) & (proportion < 1)).all())


@drawn(80)
@given(st.one_of(st.text("0123456789-.e", max_size=8), st.sampled_from(["8-99", "9" * 400, "1-" + "9" * 5000])), SIZES)
def test_half_lives(text, heads):
    try:
        half_lives = spread_half_lives(text, heads)
    except ValueError:
        ends = [end.lstrip("0") for end in text.split("-")]
        # Of up to 18 digits, which int64 holds.
        right = len(ends) <= 2 and all(end.isdecimal() and len(end) <= 18 for end in ends)
        assert not right or int(ends[0]) > int(ends[-1]) or not whole(heads) or heads > 2**60
        return
    assert whole(heads) and half_lives.shape == (heads,) and bool((half_lives >= 1).all())
    assert bool((half_lives[1:] >= half_lives[:-1]).all())


@drawn(80)
@given(st.lists(SIZES, min_size=4, max_size=4), st.sampled_from([*TYPES, *OTHER_TYPES]))
def test_new_states(sizes, dtype):
    try:
        state = LinearAttentionState.zeros(*sizes, dtype=dtype)
    except ValueError:
        assert not whole(*sizes) or dtype in OTHER_TYPES or max(sizes) > 2**60
        return
    assert state.kv_state.shape == tuple(sizes) and state.z_state.shape == tuple(sizes[:3])
    assert state.kvz.dtype == torch.promote_types(dtype, torch.float32) and not state.kvz.any()


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_features_of_any_head(kind):
    expected = {"leap": 6, "cosformer": 6, "relu": 3, "elu": 3, "hedgehog": 6, "leap_hedgehog": 12}
    expected.update(contrast=6, slots=6, softmax=3)
    assert [kind.state_features(size) for size in (0, 3)] == [0, expected[kind.name]]
