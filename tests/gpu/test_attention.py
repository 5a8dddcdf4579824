"""Every algorithm that a GPU has equals ``naive`` on the CPU in float64, outputs and all gradients, in every type."""

import itertools

import pytest
import torch
from tolerances import assert_same

from leap_fairseq.attention import (
    ALGORITHMS,
    LinearAttentionState,
    causal_visibility,
    full_visibility,
    prefix_attention,
    segment_visibility,
    waitk_visibility,
)
from leap_fairseq.attention.arguments import Arguments
from leap_fairseq.attention.backend import choose_algorithm
from leap_fairseq.attention.flash_linear import installed

DTYPES = [torch.float32, torch.bfloat16, torch.float16]
SCHEDULES = {
    "causal": causal_visibility,
    "waitk": lambda t, s: waitk_visibility(t, s, lagging=3, ratio=2),
    "segment": lambda t, s: segment_visibility(t, s, segment=9),
    "full": full_visibility,
    "nothing first": lambda t, s: (torch.arange(t) - t // 2).clamp(0, s),
}
HEADS, KEY_DIM, VALUE_DIM = 3, 32, 24
HALF_LIFE = torch.tensor([3.0, 60.0, torch.inf])
# Those of the CPU alone, and of causal attention alone, are tested apart.
GENERAL = [name for name in ALGORITHMS if name not in ("compiled", "fla")] + ["auto"]


def make_inputs(t, s, dtype, reweighted=True, aged=False, continued=False, paced=False):
    """Leaves by name, rounded to a type, and further arguments; one row is padded on both sides, by inf."""
    generator = torch.Generator().manual_seed(0)

    def rand(*shape):
        return torch.randn(shape, generator=generator).to(dtype).double()

    leaves = {
        "q": rand(2, t, HEADS, KEY_DIM).relu() / 4,
        "k": rand(2, s, HEADS, KEY_DIM).relu(),
        "v": rand(2, s, HEADS, VALUE_DIM),
    }
    if reweighted:
        # Proportions are float32 whatever the inputs are, and so are paces.
        for name, length in (("query_proportion", t), ("key_proportion", s)):
            leaves[name] = torch.rand(2, length, HEADS, generator=generator).double()
    if paced:
        # Some keys do not count at all.
        leaves["pace"] = 3 * torch.rand(2, s, HEADS, generator=generator).sub(0.2).relu().double()
    padding = torch.zeros(2, s, dtype=torch.bool)
    padding[1, : s // 8] = padding[1, s - s // 4 :] = True
    for name in ("k", "v", "key_proportion", "pace"):
        if name in leaves:
            leaves[name][padding] = torch.inf
    features = KEY_DIM * (2 if reweighted else 1)
    state = torch.rand(2, HEADS, features, VALUE_DIM + 1, generator=generator).double() if continued else None
    return leaves, {"key_padding_mask": padding, "half_life": HALF_LIFE if aged else None, "initial_state": state}


def run(algorithm, inputs, visible, device, dtype):
    """The output and the gradient of every leaf, on the CPU in float64."""
    leaves, more = inputs
    sums = torch.promote_types(dtype, torch.float32)
    types = {name: dtype if name in ("q", "k", "v") else sums for name in leaves}
    given = {name: x.to(device, types[name]).requires_grad_() for name, x in leaves.items()}
    more = {name: None if x is None else x.to(device) for name, x in more.items()}
    if more["initial_state"] is not None:
        more["initial_state"] = LinearAttentionState(
            more["initial_state"].to(torch.promote_types(dtype, torch.float32))
        )
    out = prefix_attention(visible=visible, algorithm=algorithm, **given, **more)
    assert out.dtype == dtype and out.device.type == torch.device(device).type
    cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(out)
    gradients = torch.autograd.grad(out, list(given.values()), cotangent, allow_unused=True)
    found = {name: torch.zeros_like(x) if g is None else g for (name, x), g in zip(given.items(), gradients)}
    return {name: x.detach().double().cpu() for name, x in {"out": out, **found}.items()}


def assert_equals_naive(algorithm, inputs, visible, device, dtype):
    expected = run("naive", inputs, visible, "cpu", torch.float64)
    for name, found in run(algorithm, inputs, visible, device, dtype).items():
        assert_same(found, expected[name], dtype, name)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("algorithm", GENERAL)
def test_every_schedule_and_type(device, algorithm, schedule, dtype):
    for t, s in ((150, 150), (70, 333), (130, 65), (1, 40)):
        assert_equals_naive(algorithm, make_inputs(t, s, dtype), SCHEDULES[schedule](t, s), device, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reweighted, aged, continued", itertools.product([True, False], repeat=3))
@pytest.mark.parametrize("algorithm", GENERAL)
def test_proportions_half_lives_and_a_state_before(device, algorithm, reweighted, aged, continued, dtype):
    inputs = make_inputs(140, 150, dtype, reweighted, aged, continued)
    for schedule in ("causal", "waitk"):
        assert_equals_naive(algorithm, inputs, SCHEDULES[schedule](140, 150), device, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reweighted, continued", itertools.product([True, False], repeat=2))
@pytest.mark.parametrize("algorithm", GENERAL)
def test_paces(device, algorithm, reweighted, continued, dtype):
    for t, s in ((150, 150), (70, 333), (1, 40)):
        inputs = make_inputs(t, s, dtype, reweighted, aged=True, continued=continued, paced=True)
        for schedule in SCHEDULES.values():
            assert_equals_naive(algorithm, inputs, schedule(t, s), device, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("algorithm", [name for name in GENERAL if name not in ("naive", "state")])
def test_a_long_text(device, algorithm, dtype):
    assert_equals_naive(algorithm, make_inputs(1500, 1500, dtype), causal_visibility(1500, 1500), device, dtype)


@pytest.mark.skipif(not installed(), reason="needs flash-linear-attention")
@pytest.mark.parametrize("reweighted, continued", itertools.product([True, False], repeat=2))
def test_flash_linear_attention(device, reweighted, continued):
    inputs = make_inputs(150, 150, torch.bfloat16, reweighted, continued=continued)
    assert_equals_naive("fla", inputs, causal_visibility(150, 150), device, torch.bfloat16)


def test_the_control_that_a_shifted_schedule_is_seen(device):
    inputs = make_inputs(150, 150, torch.bfloat16)
    expected = run("naive", inputs, causal_visibility(150, 150), "cpu", torch.float64)
    found = run("auto", inputs, (causal_visibility(150, 150) + 1).clamp(max=150), device, torch.bfloat16)
    with pytest.raises(AssertionError):
        assert_same(found["out"], expected["out"], torch.bfloat16)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_auto_takes_what_fits(device, dtype):
    q = torch.zeros(1, 700, HEADS, KEY_DIM, device=device, dtype=dtype)
    chosen = choose_algorithm(Arguments(q, q, q, causal_visibility(700, 700), None, None, None, 0.1, None, None))
    assert chosen == "triton"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("half_life", [None, HALF_LIFE])
def test_a_state_step_by_step_equals_all_at_once(device, half_life, dtype):
    leaves, more = make_inputs(40, 40, dtype, aged=half_life is not None)
    x = {name: value.to(device, torch.float32 if "proportion" in name else dtype) for name, value in leaves.items()}
    padding = more["key_padding_mask"].to(device)
    state = LinearAttentionState.zeros(2, HEADS, 2 * KEY_DIM, VALUE_DIM, dtype=dtype, device=device)
    outs, age = [], None if half_life is None else half_life.to(device)
    for n in range(40):
        one = slice(n, n + 1)
        state = state.absorb(x["k"][:, one], x["v"][:, one], x["key_proportion"][:, one], padding[:, one], age)
        outs.append(state.read(x["q"][:, one], x["query_proportion"][:, one]))
    expected = run("naive", (leaves, more), causal_visibility(40, 40), "cpu", torch.float64)["out"]
    assert_same(torch.cat(outs, dim=1).double().cpu(), expected, dtype)
