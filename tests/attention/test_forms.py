"""Slots and contrast: the definitions; every algorithm and the state compute them; an hour of keys and empty slots."""

import pytest
import torch
from tolerances import assert_same

from leap_fairseq.attention import (
    LinearAttentionState,
    attention_weights,
    causal_visibility,
    full_visibility,
    hedgehog,
    prefix_attention,
    segment_visibility,
    waitk_visibility,
)
from leap_fairseq.attention.compiled_library import native_library
from leap_fairseq.attention.half_life import remaining

ALGORITHMS = ["blockwise", "state", *(["compiled"] if native_library() else []), "auto"]
EACH = pytest.mark.parametrize("algorithm", ALGORITHMS)
SCALE = torch.tensor([1.0, 4.0])
CONTRAST = torch.tensor([0.5, 0.9], dtype=torch.float64)
FORMS = {"slots": {"slots": True}, "contrast": {"contrast": CONTRAST}}
EACH_FORM = pytest.mark.parametrize("form", FORMS)
HALF_LIFE = torch.tensor([3.0, 40.0])
SCHEDULES = {
    "full": full_visibility,
    "causal": causal_visibility,
    "segment": lambda t, s: segment_visibility(t, s, segment=7),
    "waitk": lambda t, s: waitk_visibility(t, s, lagging=2, ratio=3),
    "nothing_first": lambda t, s: (torch.arange(t) - t // 2).clamp(0, s),
}


def inputs(t, s, dtype=torch.float64, padded=False):
    generator = torch.Generator().manual_seed(3)
    q, k, v = (torch.randn(2, n, 2, 4, generator=generator, dtype=torch.float64) for n in (t, s, s))
    x = {"q": hedgehog(q, SCALE), "k": hedgehog(k, SCALE), "v": v}
    padding = None
    if padded:
        padding = torch.arange(s) >= torch.tensor([[s], [s // 2]])
        x["k"][padding] = x["v"][padding] = torch.inf
    return {name: each.to(dtype).requires_grad_() for name, each in x.items()}, padding


def run(form, x, visible, algorithm, **options):
    """Output and gradients, by name."""
    leaves = {name: each.detach().clone().requires_grad_() for name, each in x.items()}
    form = {name: as_leaf(each, leaves["q"].dtype) for name, each in FORMS[form].items()}
    out = prefix_attention(**leaves, **form, visible=visible, algorithm=algorithm, **options)
    cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(out.dtype)
    leaves.update({name: each for name, each in form.items() if isinstance(each, torch.Tensor)})
    return {"out": out.detach(), **dict(zip(leaves, torch.autograd.grad(out, list(leaves.values()), cotangent)))}


def as_leaf(value, dtype):
    return value.to(dtype).clone().requires_grad_() if isinstance(value, torch.Tensor) else value


def assert_equal_runs(actual, expected):
    assert set(actual) == set(expected)
    for name, each in actual.items():
        assert_same(each, expected[name], what=name)


def test_each_slot_averages_and_the_query_mixes():
    def answer(query, left, k, v):
        slots = [(left * of_slot) @ v / (left * of_slot).sum() for of_slot in k.T]
        return sum(weight * slot for weight, slot in zip(query / query.sum(), slots))

    assert_definition("slots", answer)


def test_contrast_takes_away_a_share_of_the_average():
    def answer(query, left, k, v):
        asked, average = (left * weights for weights in (k @ query, k.sum(1)))
        return asked @ v / asked.sum() - CONTRAST[1] * average @ v / average.sum()

    assert_definition("contrast", answer)


def assert_definition(form, answer):
    """Of the first row and the second head: what `answer` makes of a query, fading, and the keys and values it sees."""
    x, _ = inputs(5, 9)
    q, k, v = (each.detach()[0, :, 1] for each in x.values())
    visible = waitk_visibility(5, 9, lagging=1, ratio=2)
    for half_life in (None, HALF_LIFE):
        expected = []
        for query, end in zip(q, visible.tolist()):
            left = 1 if half_life is None else remaining(half_life, torch.arange(end - 1, -1, -1), k)[1]
            expected.append(answer(query, left, k[:end], v[:end]))
        options = {"half_life": half_life, **FORMS[form]}
        out = prefix_attention(**x, visible=visible, algorithm="naive", **options)[0, :, 1]
        assert_same(out, torch.stack(expected))
        weights = attention_weights(x["q"], x["k"], visible, **options)
        assert_same(weights[0, 1] @ x["v"][0, :, 1], out, what="the weights")


@EACH
@EACH_FORM
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("t, s", [(1, 1), (2, 2), (65, 65), (130, 130), (1, 100), (65, 2), (63, 100)])
def test_equals_naive(form, algorithm, schedule, t, s):
    x, padding = inputs(t, s, padded=s > 1)
    visible = SCHEDULES[schedule](t, s)
    expected = run(form, x, visible, "naive", key_padding_mask=padding)
    assert_equal_runs(run(form, x, visible, algorithm, key_padding_mask=padding), expected)


@EACH
@EACH_FORM
def test_without_a_key_the_answer_is_zero(form, algorithm):
    x, _ = inputs(3, 0)
    visible = full_visibility(3, 0)
    assert_equal_runs(run(form, x, visible, algorithm), run(form, x, visible, "naive"))


@EACH_FORM
@pytest.mark.parametrize("algorithm", ["blockwise", "state", "auto"])
@pytest.mark.parametrize("schedule", ["causal", "segment", "full"])
def test_equals_naive_with_half_lives(form, algorithm, schedule):
    x, _ = inputs(130, 130)
    visible = SCHEDULES[schedule](130, 130)
    expected = run(form, x, visible, "naive", half_life=HALF_LIFE)
    assert_equal_runs(run(form, x, visible, algorithm, half_life=HALF_LIFE), expected)


@EACH
@pytest.mark.parametrize("schedule", ["causal", "waitk"])
def test_contrast_of_what_is_re_weighted(algorithm, schedule):
    x, padding = inputs(70, 100, padded=True)
    generator = torch.Generator().manual_seed(5)
    for name, length in (("query_proportion", 70), ("key_proportion", 100)):
        x[name] = torch.rand(2, length, 2, generator=generator, dtype=torch.float64)
    visible = SCHEDULES[schedule](70, 100)
    expected = run("contrast", x, visible, "naive", key_padding_mask=padding)
    assert_equal_runs(run("contrast", x, visible, algorithm, key_padding_mask=padding), expected)


@EACH_FORM
@pytest.mark.parametrize("algorithm", ["naive", *ALGORITHMS])
@pytest.mark.parametrize("half_life", [None, HALF_LIFE])
def test_continues_from_a_state(form, algorithm, half_life):
    x, t = {name: each.detach() for name, each in inputs(70, 70)[0].items()}, 70
    options = {"half_life": half_life, "algorithm": algorithm, **FORMS[form]}
    expected = prefix_attention(**x, visible=causal_visibility(t, t), **options)
    for cut in (1, 30, 64, 69):
        state = LinearAttentionState.zeros(2, 2, 8, 4, dtype=torch.float64)
        state = state.absorb(x["k"][:, :cut], x["v"][:, :cut], half_life=half_life)
        rest = {name: each[:, cut:] for name, each in x.items()}
        out = prefix_attention(**rest, visible=causal_visibility(t - cut, t - cut), initial_state=state, **options)
        assert_same(out, expected[:, cut:], what=f"cut at {cut}")


@EACH_FORM
def test_a_state_is_read(form):
    x, _ = inputs(6, 50)
    state = LinearAttentionState.zeros(2, 2, 8, 4, dtype=torch.float64).absorb(x["k"], x["v"])
    expected = prefix_attention(**x, visible=full_visibility(6, 50), algorithm="naive", **FORMS[form])
    assert_same(state.read(x["q"], **FORMS[form]), expected)
    with pytest.raises(AssertionError):
        assert_same(state.read(x["q"]), expected, what="the control without")


@EACH_FORM
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types(form, dtype):
    x, _ = inputs(70, 70)
    halves = {name: each.to(dtype) for name, each in x.items()}
    visible = causal_visibility(70, 70)
    expected = run(form, {name: each.double() for name, each in halves.items()}, visible, "naive")
    actual = run(form, halves, visible, "auto")
    assert all(each.dtype == dtype for each in actual.values())
    for name in ("out", "v"):
        assert_same(actual[name], expected[name], dtype=dtype, what=name)


def test_contrast_is_the_same_with_any_number_of_threads():
    x, padding = inputs(130, 130, padded=True)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(run("contrast", x, causal_visibility(130, 130), "auto", key_padding_mask=padding))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(each, results[1][name]) for name, each in results[0].items())


@EACH
def test_contrast_lets_a_key_stand_out(algorithm):
    """One key has half of its query's weight, 63 others the rest: without the average of all, little else is read."""
    k = torch.full((64, 2), 1.0)
    k[5] = torch.tensor([63.0, 0.0])
    x = {"q": torch.tensor([[[[1.0, 0.0]]]]), "k": k.view(1, 64, 1, 2), "v": torch.eye(64).view(1, 64, 1, 64)}
    options = {"visible": torch.tensor([64]), "algorithm": algorithm}
    weights = prefix_attention(**x, **options).flatten()
    assert_same(weights[[5, 0]], torch.tensor([1 / 2, 1 / 126]))
    contrasted = prefix_attention(**x, **options, contrast=torch.tensor([0.7])).flatten()
    assert contrasted[5] > 0.25 and contrasted[0].abs() < 1e-3 and contrasted.sum().item() == pytest.approx(0.3)


@EACH
def test_a_rare_key_is_found(algorithm):
    """One key of a feature among 999 of another: a query for both reads half of each; sums would read 0.1 % of it."""
    k = torch.tensor([[1.0, 0.0]]).repeat(1000, 1)
    k[500] = torch.tensor([0.0, 1.0])
    x = {"q": torch.ones(1, 1, 1, 2), "k": k.view(1, 1000, 1, 2), "v": k[:, 1].view(1, 1000, 1, 1)}
    found = [prefix_attention(**x, visible=torch.tensor([1000]), slots=slots, algorithm=algorithm) for slots in (1, 0)]
    assert_same(torch.cat(found).flatten(), torch.tensor([0.5, 0.001]))


@EACH
def test_empty_slots_are_left_out(algorithm):
    k = torch.tensor([1.0, 0.0, 0.0]).expand(1, 30, 1, 3)
    x = {"q": torch.ones(1, 1, 1, 3), "k": k, "v": torch.full((1, 30, 1, 2), 7.0)}
    results = run("slots", x, torch.tensor([30]), algorithm)
    assert_same(results["out"], torch.full((1, 1, 1, 2), 7.0))
    assert all(torch.isfinite(each).all() for each in results.values())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types_and_the_keys_of_an_hour(dtype):
    """90,000 frames, one of them alone in its slot, whose share is far below what float16 holds."""
    k = torch.zeros(1, 90_000, 1, 2, dtype=dtype)
    k[..., 0], k[0, 10, 0] = 100, torch.tensor([0, 1], dtype=dtype)
    v = torch.ones(1, 90_000, 1, 1, dtype=dtype)
    v[0, 10] = 3
    x = {"q": torch.tensor([0, 1], dtype=dtype).view(1, 1, 1, 2), "k": k, "v": v}
    state = LinearAttentionState.zeros(1, 1, 2, 1, dtype=dtype)
    for start in range(0, 90_000, 10_000):
        state = state.absorb(k[:, start : start + 10_000], v[:, start : start + 10_000])
    at_once = prefix_attention(**x, visible=torch.tensor([90_000]), slots=True)
    assert at_once.dtype == dtype and state.read(x["q"], slots=True).dtype == dtype
    # Its share of 1e-7 is below the smallest that counts in full; where a query asks for nothing else, it is read.
    assert_same(at_once, torch.full_like(at_once, 3.0), what="at once")
    assert_same(state.read(x["q"], slots=True), at_once, what="state")


def test_slots_have_no_proportions():
    x, _ = inputs(3, 3)
    proportions = {f"{side}_proportion": torch.full((2, 3, 2), 0.5) for side in ("query", "key")}
    with pytest.raises(ValueError, match="slots have no proportions"):
        prefix_attention(**x, visible=causal_visibility(3, 3), slots=True, **proportions)


def test_slots_have_no_contrast():
    x, _ = inputs(3, 3)
    with pytest.raises(ValueError, match="slots have no contrast"):
        prefix_attention(**x, visible=causal_visibility(3, 3), slots=True, contrast=CONTRAST)


def test_contrast_is_that_of_the_heads():
    x, _ = inputs(3, 3)
    with pytest.raises(ValueError, match="contrast"):
        prefix_attention(**x, visible=causal_visibility(3, 3), contrast=CONTRAST[:1])
    state = LinearAttentionState.zeros(2, 2, 8, 4, dtype=torch.float64).absorb(x["k"], x["v"])
    with pytest.raises(ValueError, match="contrast"):
        state.read(x["q"], contrast=CONTRAST[:1])
