"""Every algorithm equals ``naive``, outputs and all gradients; and broken variants are seen to fail."""

import functools
import itertools

import pytest
import torch
from tolerances import assert_same

from leap_fairseq.attention import (
    ALGORITHMS,
    KINDS,
    LinearAttentionState,
    attention_weights,
    causal_visibility,
    full_visibility,
    prefix_attention,
    segment_visibility,
    static_proportion,
    waitk_visibility,
)
from leap_fairseq.attention import blockwise as blockwise_module
from leap_fairseq.attention.backend import cheapest_algorithm
from leap_fairseq.attention.compiled_library import native_library

LENGTHS = [1, 2, 63, 64, 65, 100]
COMPILED = pytest.param(
    "compiled", marks=pytest.mark.skipif(native_library() is None, reason="installed without a compiler")
)
FAST = [*(name for name in ALGORITHMS if name not in ("naive", "compiled", "triton", "fla")), "auto", COMPILED]
SCHEDULES = {
    "full": full_visibility,
    "causal": causal_visibility,
    "segment": lambda t, s: segment_visibility(t, s, segment=7),
    "waitk": lambda t, s: waitk_visibility(t, s, lagging=2, ratio=3),
    "waitk_slow": lambda t, s: waitk_visibility(t, s, lagging=1, ratio=1),
    "nothing_first": lambda t, s: (torch.arange(t) - t // 2).clamp(0, s),
}
FEATURE_MAPS = {kind.feature_map.__name__: kind.mapped for kind in KINDS.values() if kind.linear}
SCALE = torch.tensor([0.5, 2.0])
HALF_LIFE = torch.tensor([2, 50])
PROPORTIONS = ["leap", "cosformer", "none"]


def make_inputs(t, s, *, proportion="leap", feature_map="relu", padding=None, dtype=torch.float64, seed=0, pace=False):
    """Leaf tensors with gradients, and the keyword arguments of prefix_attention."""
    generator = torch.Generator().manual_seed(seed)
    batch, heads, key_dim, value_dim = 2, 2, 4, 3

    def rand(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

    tensors = {
        "q": FEATURE_MAPS[feature_map](rand(batch, t, heads, key_dim), SCALE),
        "k": FEATURE_MAPS[feature_map](rand(batch, s, heads, key_dim), SCALE),
        "v": rand(batch, s, heads, value_dim),
    }
    if proportion == "leap":
        tensors["query_proportion"] = torch.sigmoid(rand(batch, t, heads))
        tensors["key_proportion"] = torch.sigmoid(rand(batch, s, heads))
    elif proportion == "cosformer":
        for name, n in (("query_proportion", t), ("key_proportion", s)):
            tensors[name] = static_proportion(torch.arange(n), 100).to(dtype)[None, :, None].repeat(batch, 1, heads)
    if pace:
        tensors["pace"] = (2 * rand(batch, s, heads)).exp()
    mask = None
    if padding is not None and s > 1:
        mask = torch.zeros(batch, s, dtype=torch.bool)
        hidden = s // 2
        mask[1, :hidden] = padding == "left"
        mask[1, s - hidden :] = padding == "right"
        for name in ("k", "v", "key_proportion", "pace"):
            if name in tensors:
                tensors[name][mask] = float("inf")
    return {name: x.requires_grad_() for name, x in tensors.items()}, mask


def run(algorithm, tensors, visible, mask=None, **options):
    """Output and the gradient of every input under a fixed random cotangent."""
    leaves = {name: x.detach().clone().requires_grad_() for name, x in tensors.items()}
    named = {name: x for name, x in leaves.items() if name not in ("q", "k", "v")}
    out = prefix_attention(
        leaves["q"], leaves["k"], leaves["v"], visible, key_padding_mask=mask, algorithm=algorithm, **named, **options
    )
    cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(out.dtype)
    gradients = torch.autograd.grad(out, list(leaves.values()), cotangent, allow_unused=True)
    zeros = {n: torch.zeros_like(x) if g is None else g for (n, x), g in zip(leaves.items(), gradients)}
    return {"out": out.detach(), **zeros}


@functools.lru_cache(maxsize=8)
def case(schedule, t, s, half_life=None, **drawn):
    """Arguments of `run`, and what naive makes of them in float64; once for all algorithms, which follow each other."""
    visible = SCHEDULES[schedule](t, s)
    tensors, mask = make_inputs(t, s, **drawn)
    options = {"visible": visible, "mask": mask, "half_life": None if half_life is None else torch.tensor(half_life)}
    reference = {name: x.detach().double().requires_grad_() for name, x in tensors.items()}
    return {"tensors": tensors, **options}, run("naive", reference, **options)


def assert_equal_runs(actual, expected, dtype=None):
    for name in expected:
        assert_same(actual[name], expected[name], dtype, name)


@pytest.mark.parametrize("algorithm", FAST)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(
    "t, s", [(n, n) for n in LENGTHS] + [(1, 100), (2, 65), (65, 2), (63, 100), (100, 63), (64, 1)]
)
def test_equals_naive_for_every_schedule_and_length(algorithm, schedule, t, s):
    given, expected = case(schedule, t, s, padding="right")
    assert_equal_runs(run(algorithm, **given), expected)


@pytest.mark.parametrize("algorithm", FAST)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("t, s", [(n, n) for n in (1, 2, 64, 65, 300)] + [(1, 100), (65, 2), (63, 300), (300, 63)])
def test_equals_naive_with_half_lives(algorithm, schedule, t, s):
    for half_life in ((2, 50), (20.0, torch.inf)):
        given, expected = case(schedule, t, s, half_life, padding="right")
        assert_equal_runs(run(algorithm, **given), expected)


@pytest.mark.parametrize("algorithm", FAST)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("t, s", [(1, 1), (65, 65), (130, 130), (1, 100), (63, 300), (300, 63)])
@pytest.mark.parametrize("proportion, padding", [("leap", "right"), ("none", "left")])
def test_equals_naive_with_paces(algorithm, schedule, t, s, proportion, padding):
    """Keys that count for e**-6 to e**6 others, of which some forget all before them."""
    for half_life in ((1, 50), (20.0, torch.inf)):
        given, expected = case(schedule, t, s, half_life, proportion=proportion, padding=padding, pace=True)
        assert_equal_runs(run(algorithm, **given), expected)


@pytest.mark.parametrize("algorithm", FAST)
@pytest.mark.parametrize(
    "options", [{"contrast": torch.tensor([0.4, 0.9])}, {"slots": True}, {"normalizer_floor": 9.0}]
)
def test_equals_naive_with_paces_and_contrast_or_slots(algorithm, options):
    """Also where the floor is the denominator, and when a query comes matters to it."""
    tensors, mask = make_inputs(130, 130, proportion="none", feature_map="elu_plus_one", padding="left", pace=True)
    for contrast in (options.get("contrast"), None if "slots" in options else torch.tensor([0.2, 0.0])):
        given = {**tensors, **({} if contrast is None else {"contrast": contrast.double()})}
        more = {name: x for name, x in options.items() if name != "contrast"}
        given = {name: x.detach().requires_grad_() for name, x in given.items()}
        visible, fading = segment_visibility(130, 130, segment=9), {"half_life": HALF_LIFE}
        expected = run("naive", given, visible, mask, **fading, **more)
        assert_equal_runs(run(algorithm, given, visible, mask, **fading, **more), expected)


@pytest.mark.parametrize("algorithm", ["naive", *FAST])
def test_paces_are_what_keys_count_for(algorithm):
    """Of whole numbers, what padding that many keys long counts for; a pace of 1 is none, one of 0 no key at all."""
    pace, t = torch.tensor([2, 1, 3, 1, 1, 2]), 6
    tensors, _ = make_inputs(t, t, feature_map="elu_plus_one", proportion="none")
    places = pace.cumsum(0) - 1
    long = {name: x.new_zeros(2, int(pace.sum()), *x.shape[2:]) for name, x in tensors.items()}
    for name, x in tensors.items():
        long[name][:, places] = x.detach()
    mask = torch.ones(2, int(pace.sum()), dtype=torch.bool)
    mask[:, places] = False
    expected = run("naive", long, causal_visibility(len(mask[0]), len(mask[0])), mask, half_life=HALF_LIFE)["out"]
    paces = pace.double().view(1, -1, 1).expand(2, -1, 2)
    visible = causal_visibility(t, t)
    out = run(algorithm, {**tensors, "pace": paces}, visible, half_life=HALF_LIFE)["out"]
    assert_same(out, expected[:, places])
    even = run(algorithm, {**tensors, "pace": torch.ones_like(paces)}, visible, half_life=HALF_LIFE)
    assert_equal_runs(
        {n: x for n, x in even.items() if n != "pace"}, run("naive", tensors, visible, half_life=HALF_LIFE)
    )
    still = run(algorithm, {**tensors, "pace": torch.zeros_like(paces)}, visible, half_life=HALF_LIFE)["out"]
    assert_same(still, run("naive", tensors, visible)["out"])


@pytest.mark.parametrize("algorithm", FAST)
def test_paces_of_half_types(algorithm):
    tensors, mask = make_inputs(130, 130, padding="right", dtype=torch.bfloat16, feature_map="elu_plus_one", pace=True)
    reference = {name: x.detach().double() for name, x in tensors.items()}
    visible = causal_visibility(130, 130)
    expected = run("naive", reference, visible, mask, half_life=HALF_LIFE)["out"]
    assert_same(run(algorithm, tensors, visible, mask, half_life=HALF_LIFE)["out"].double(), expected, torch.bfloat16)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"pace": torch.ones(2, 5, 2)}, "a pace needs half-lives"),
        ({"pace": torch.ones(2, 4, 2), "half_life": HALF_LIFE}, r"pace must be floating \[2, 5, 2\] on cpu, got"),
        ({"pace": torch.ones(2, 5, 2).long(), "half_life": HALF_LIFE}, "pace must be floating"),
    ],
)
def test_paces_that_cannot_be(given, message):
    tensors, _ = make_inputs(5, 5, proportion="none")
    with pytest.raises(ValueError, match=message):
        prefix_attention(**tensors, visible=causal_visibility(5, 5), **given)


@pytest.mark.parametrize("algorithm", ["naive", *FAST])
def test_a_half_life_without_end_forgets_nothing_and_a_short_one_all_but_the_newest(algorithm):
    t = 100
    visible = causal_visibility(t, t)
    tensors, _ = make_inputs(t, t, feature_map="elu_plus_one")
    endless = run(algorithm, tensors, visible, half_life=torch.full((2,), torch.inf))
    assert_equal_runs(endless, run("naive", tensors, visible))
    newest = run(algorithm, tensors, visible, half_life=torch.full((2,), 0.02))["out"]
    assert_same(newest, tensors["v"].detach(), what="the newest value alone")


def schedules(num_queries, ends):
    """Every schedule of so many queries whose prefixes end at these places."""
    return map(torch.tensor, itertools.combinations_with_replacement(ends, num_queries))


@pytest.mark.parametrize("algorithm", FAST)
def test_equals_naive_at_every_schedule_of_whole_tiles(algorithm):
    """Four tiles of queries over four blocks of keys, of which some end no prefix."""
    tensors, _ = make_inputs(256, 256)
    with torch.no_grad():
        for of_tiles in schedules(4, range(0, 257, 64)):
            visible = of_tiles.repeat_interleave(64)
            expected = prefix_attention(**tensors, visible=visible, algorithm="naive")
            assert_same(prefix_attention(**tensors, visible=visible, algorithm=algorithm), expected, what=str(of_tiles))


@pytest.mark.parametrize("half_life", [None, HALF_LIFE])
@pytest.mark.parametrize("t, s", [(5, 5), (4, 7)])
def test_blockwise_equals_naive_at_every_schedule(monkeypatch, t, s, half_life):
    monkeypatch.setattr(blockwise_module, "BLOCK", 2)
    tensors, _ = make_inputs(t, s)
    with torch.no_grad():
        for visible in schedules(t, range(s + 1)):
            options = {**tensors, "visible": visible, "half_life": half_life}
            expected = prefix_attention(**options, algorithm="naive")
            assert_same(prefix_attention(**options, algorithm="blockwise"), expected, what=str(visible))


def test_weights_halve_with_each_half_life():
    k = torch.ones(1, 9, 2, 4)
    weights = attention_weights(k[:, :1], k, torch.tensor([9]), half_life=HALF_LIFE.clamp(max=4))
    assert_same(weights[0, :, 0, 4] * 2, weights[0, :, 0, 8] * torch.tensor([0.5, 1.0]), what="half")


@pytest.mark.parametrize("algorithm", FAST)
@pytest.mark.parametrize("feature_map, proportion", itertools.product(FEATURE_MAPS, PROPORTIONS))
@pytest.mark.parametrize("padding", [None, "left", "right"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_equals_naive_for_every_kind_and_padding(algorithm, feature_map, proportion, padding, dtype):
    drawn = {"proportion": proportion, "feature_map": feature_map, "padding": padding, "dtype": dtype}
    # The denominators of left padded prefixes differ by orders of magnitude; float64 is the reference of float32.
    for schedule in ("causal", "full", "segment", "waitk"):
        # Of two blocks of keys, and of segments the last of which is cut.
        given, expected = case(schedule, 72, 72, **drawn)
        assert_equal_runs(run(algorithm, **given), expected, dtype)


@pytest.mark.parametrize("algorithm", ["naive", *FAST])
def test_inf_in_padding_reaches_nothing(algorithm):
    t = s = 65
    visible = causal_visibility(t, s)
    for padding in ("left", "right"):
        junk, mask = make_inputs(t, s, padding=padding)
        clean = {n: x.detach().masked_fill(torch.isinf(x.detach()), 0.5).requires_grad_() for n, x in junk.items()}
        actual, expected = run(algorithm, junk, visible, mask), run(algorithm, clean, visible, mask)
        assert_equal_runs(actual, expected)
        assert (actual["k"][mask] == 0).all() and (actual["v"][mask] == 0).all()


@pytest.mark.parametrize("algorithm", ["naive", *FAST])
def test_no_visible_key_gives_zeros_and_finite_gradients(algorithm):
    tensors, _ = make_inputs(5, 4)
    visible = torch.tensor([0, 0, 1, 1, 4])
    result = run(algorithm, tensors, visible)
    assert (result["out"][:, :2] == 0).all() and (result["out"][:, 2:] != 0).any()
    all_padded, _ = make_inputs(3, 4)
    mask = torch.ones(2, 4, dtype=torch.bool)
    result = run(algorithm, all_padded, full_visibility(3, 4), mask)
    assert all((x == 0).all() for name, x in result.items())


@pytest.mark.parametrize("algorithm", ["naive", *FAST])
def test_floor_is_active_below_and_only_below(algorithm):
    tensors, _ = make_inputs(65, 65)
    visible = causal_visibility(65, 65)
    small = {n: (x.detach() * 1e-2 if n in "qk" else x.detach()).requires_grad_() for n, x in tensors.items()}
    assert_equal_runs(run(algorithm, small, visible), run("naive", small, visible))
    leaves = {name: x.detach() for name, x in small.items()}
    weights = attention_weights(leaves.pop("q"), leaves.pop("k"), visible, **{n: leaves[n] for n in leaves if n != "v"})
    assert (weights.sum(-1) < 0.999).any()
    # A floor of 1e-9 lets the same weights sum to one, and a floor of 10 halves what a floor of 5 gives.
    at_five, at_ten = (run(algorithm, small, visible, normalizer_floor=f)["out"] for f in (5.0, 10.0))
    assert_same(at_ten * 2, at_five, what="floor")


@pytest.mark.parametrize("algorithm", ["naive", *FAST])
@pytest.mark.parametrize("schedule", ["causal", "full", "segment", "waitk"])
def test_constant_values_stay_constant(algorithm, schedule):
    tensors, _ = make_inputs(65, 100, feature_map="elu_plus_one")
    tensors["v"] = torch.ones_like(tensors["v"]).requires_grad_()
    out = run(algorithm, tensors, SCHEDULES[schedule](65, 100))["out"]
    assert_same(out, torch.ones_like(out), what="constant")


@pytest.mark.parametrize("algorithm", ["naive", *FAST])
def test_future_keys_have_zero_gradient(algorithm):
    tensors, _ = make_inputs(70, 100)
    visible = waitk_visibility(70, 100, lagging=3, ratio=2)
    leaves = {name: x.detach().clone().requires_grad_() for name, x in tensors.items()}
    named = {n: leaves[n] for n in ("query_proportion", "key_proportion")}
    out = prefix_attention(leaves["q"], leaves["k"], leaves["v"], visible, algorithm=algorithm, **named)
    for target in (0, 10, 30):
        grads = torch.autograd.grad(out[:, target].sum(), [leaves["k"], leaves["v"]], retain_graph=True)
        seen = int(visible[target])
        for grad in grads:
            assert (grad[:, seen:] == 0).all() and (grad[:, :seen] != 0).any()


@pytest.mark.parametrize("algorithm", ["naive", *FAST])
@pytest.mark.parametrize("half_life, pace", [(None, False), (HALF_LIFE, False), (HALF_LIFE, True)])
def test_continues_from_a_state(algorithm, half_life, pace):
    t = 65
    tensors, mask = make_inputs(t, t, padding="left", pace=pace)
    expected = run("naive", tensors, causal_visibility(t, t), mask, half_life=half_life)["out"]
    x = {name: value.detach() for name, value in tensors.items()}
    for cut in range(0, t + 1, 8):
        state = LinearAttentionState.zeros(2, 2, 8, 3, dtype=torch.float64)
        paces = [x["pace"][:, part] if pace else None for part in (slice(cut), slice(cut, None))]
        keys = (x[name][:, :cut] for name in ("k", "v", "key_proportion"))
        state = state.absorb(*keys, mask[:, :cut], half_life, paces[0])
        out = prefix_attention(
            x["q"][:, cut:],
            x["k"][:, cut:],
            x["v"][:, cut:],
            causal_visibility(t - cut, t - cut),
            query_proportion=x["query_proportion"][:, cut:],
            key_proportion=x["key_proportion"][:, cut:],
            key_padding_mask=mask[:, cut:],
            initial_state=state,
            half_life=half_life,
            pace=paces[1],
            algorithm=algorithm,
        )
        assert_same(out, expected[:, cut:], what=f"cut at {cut}")


@pytest.mark.parametrize("algorithm", ["naive", *FAST])
def test_autocast_leaves_the_sums_alone(algorithm):
    n = 1000
    ones = torch.ones(1, n, 1, 2)
    visible = torch.tensor([n - 1, n])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert (ones[0, :, 0] @ ones[0, 0, 0]).dtype == torch.bfloat16
        out = prefix_attention(ones[:, :2], ones, ones * 1.001, visible, algorithm=algorithm)
        state = LinearAttentionState.zeros(1, 1, 2, 2).absorb(ones, ones)
        weights = attention_weights(ones[:, :2], ones, visible)
    assert_same(out, torch.full_like(out, 1.001), torch.float32)
    assert_same(state.kvz, torch.full_like(state.kvz, float(n)), torch.float32)
    assert_same(weights.sum(-1), torch.ones(1, 1, 2), torch.float32)


@pytest.mark.parametrize("algorithm", ["naive", *FAST])
@pytest.mark.parametrize("half_life", [None, HALF_LIFE])
def test_the_default_device_is_not_that_of_the_tensors(algorithm, half_life):
    """As with ``torch.set_default_device("cuda")``; what would be made elsewhere by mistake has no numbers here."""
    tensors, mask = make_inputs(130, 130, padding="left")
    results = []
    for device in ("cpu", "meta"):
        with torch.device(device):
            visible = waitk_visibility(130, 130, lagging=1, ratio=2)
            options = {"visible": visible, "key_padding_mask": mask, "half_life": half_life, "algorithm": algorithm}
            out = prefix_attention(**tensors, **options)
            results.append([out, *torch.autograd.grad(out, list(tensors.values()), out)])
    for here, elsewhere in zip(*results):
        assert torch.equal(here, elsewhere)


def test_broken_variants_fail(monkeypatch):
    """The equality gate is not asleep: a mask off by one, an unsilenced padding and a lost state are all caught."""
    tensors, mask = make_inputs(65, 65, padding="left")
    visible = causal_visibility(65, 65)
    expected = run("naive", tensors, visible, mask)
    assert_equal_runs(run("blockwise", tensors, visible, mask), expected)

    intact = blockwise_module.plan_tiles
    monkeypatch.setattr(
        blockwise_module, "plan_tiles", lambda *a: (lambda p: p._replace(limit=p.limit + 1))(intact(*a))
    )
    with pytest.raises(AssertionError):
        assert_equal_runs(run("blockwise", tensors, visible, mask), expected)
    monkeypatch.setattr(blockwise_module, "plan_tiles", intact)

    long, _ = make_inputs(200, 200)
    options = {"visible": causal_visibility(200, 200), "half_life": HALF_LIFE}
    aged = run("naive", long, **options)
    assert_equal_runs(run("blockwise", long, **options), aged)
    monkeypatch.setattr(blockwise_module, "_running_sums", lambda sums, half_life, size: sums.cumsum(2))
    with pytest.raises(AssertionError):
        assert_equal_runs(run("blockwise", long, **options), aged)
    monkeypatch.undo()

    monkeypatch.setattr("leap_fairseq.attention.inputs.zero_padding", lambda x, m: x)
    with pytest.raises(AssertionError):
        assert_equal_runs(run("blockwise", tensors, visible, mask), expected)
    monkeypatch.undo()

    monkeypatch.setattr(LinearAttentionState, "absorb", lambda self, *a: self)
    with pytest.raises(AssertionError):
        assert_equal_runs(run("state", tensors, visible, mask), expected)


def test_auto_counts_operations():
    assert cheapest_algorithm(waitk_visibility(40, 360, lagging=5, ratio=9), 64, 128, 64) == "naive"
    assert cheapest_algorithm(causal_visibility(2048, 2048), 64, 128, 64) == "blockwise"
    assert cheapest_algorithm(full_visibility(1, 5000), 64, 128, 64) == "naive"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"algorithm": "quadratic"}, "unknown algorithm 'quadratic'.*'naive'"),
        ({"visible": torch.tensor([2, 1, 3])}, "must not decrease"),
        ({"visible": torch.tensor([1, 2, 5])}, r"runs from 1 to 5.*\[0, 4\]"),
        ({"visible": torch.tensor([1, 2])}, r"visible.* must be integer \[3\], got int64 \[2\]"),
        ({"key_proportion": None}, "come together"),
        (
            {"query_proportion": torch.zeros(2, 3)},
            r"query_proportion must be floating \[2, 3, 2\] on cpu, got float32 \[2, 3\]",
        ),
        ({"normalizer_floor": 0.0}, "--normalizer-floor"),
        ({"half_life": torch.tensor([1.0, 0.0])}, r"half_life must be \[2\], a number of keys above 0"),
        ({"half_life": torch.tensor([1.0])}, r"half_life must be \[2\]"),
        (
            {"key_padding_mask": torch.zeros(2, 3, dtype=torch.bool)},
            r"key_padding_mask .* must be bool \[2, 4\]",
        ),
        ({"k": torch.zeros(2, 4, 2, 5)}, r"k must be float64 \[2, S, 2, 4\] on cpu, got float32 \[2, 4, 2, 5\]"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    tensors, _ = make_inputs(3, 4)
    arguments = {**tensors, "visible": torch.tensor([1, 2, 4]), **change}
    with pytest.raises(ValueError, match=message):
        prefix_attention(**arguments)
