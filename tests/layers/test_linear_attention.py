"""The plain layer: the equations, at once and in pieces, batches and their members, padding, sources, gradients."""

import doctest
from functools import partial

import pytest
import torch
from tolerances import assert_same

from leap_fairseq.attention import (
    KINDS,
    LinearAttentionState,
    causal_visibility,
    full_visibility,
    prefix_attention,
    segment_visibility,
    static_proportion,
    waitk_visibility,
)
from leap_fairseq.layers import LinearAttention, linear_attention
from leap_fairseq.layers.state import LayerState

LINEAR = [name for name, kind in KINDS.items() if kind.linear]
EACH_KIND = pytest.mark.parametrize("kind", LINEAR)
LENGTHS = {"max_query_positions": 50, "max_key_positions": 60}
WAITK = partial(waitk_visibility, lagging=2, ratio=3)
SEGMENTS = partial(segment_visibility, segment=4)
BATCH, DIM, HEADS = 3, 16, 2


def make(kind, schedule=full_visibility, *, cross=False, dtype=torch.float64, **options):
    torch.manual_seed(0)
    if cross:
        options = {"kdim": 6, "vdim": 6, "cross_attention": True, **options}
    layer = LinearAttention(DIM, HEADS, kind=kind, schedule=schedule, **LENGTHS, **options).eval().double()
    for name, parameter in layer.named_parameters():
        if "LeaP" in name:  # spread the proportions, which start out near one half
            parameter.data.mul_(3)
        elif "scale" in name:  # each head its own
            parameter.data.mul_(torch.linspace(0.5, 2, HEADS))
        elif "pace" in name:  # which begins at 1
            torch.nn.init.normal_(parameter)
        elif "bias" in name:  # so that padding that is not silenced after the projection shows
            torch.nn.init.normal_(parameter)
    return layer.to(dtype)


def random(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def written_out(layer, query, key, visible, padding=None, half_life=None):
    """The layer from its definition, by the algorithm that is written from the equations."""

    def heads(x):
        return x.unflatten(-1, (HEADS, DIM // HEADS))

    own = key is query
    kind = layer.kind
    inputs = ((layer.q_proj, query), (layer.k_proj, key), (layer.v_proj, key))
    q, k, v = (heads(projection(x)) for projection, x in inputs)
    q = q / (DIM // HEADS) ** 0.5 if kind.scale is None else q
    q, k = kind.mapped(q, layer.q_scale), kind.mapped(k, layer.k_scale)
    proportions = {}
    if kind.proportions == "learned":
        proportions = {"query_proportion": layer.q_LeaP(q), "key_proportion": layer.k_LeaP(k)}
    elif kind.proportions == "static":
        real = torch.ones(key.shape[:2], dtype=torch.bool) if padding is None else ~padding
        places = (real.cumsum(1) - 1).clamp(min=0)
        of_queries = places if own else torch.arange(query.shape[1]).expand(len(query), -1)
        for name, at, longest in (("query", of_queries, 50), ("key", places, 60)):
            proportions[f"{name}_proportion"] = static_proportion(at, longest).unsqueeze(-1).expand(-1, -1, HEADS)
    options = {"key_padding_mask": padding, "half_life": half_life, "slots": kind.slots, "contrast": layer.contrast}
    if layer.pace is not None:
        options["pace"] = (2 * (key @ layer.pace.weight.T + layer.pace.bias).tanh()).exp()
    out = prefix_attention(q, k, v, visible, algorithm="naive", **proportions, **options)
    return layer.out_proj(out.flatten(2))


def assert_same_with_gradients(layer, actual, expected, *inputs):
    assert_same(actual, expected, what="output")
    cotangent, leaves = random(*actual.shape, seed=9), [*inputs, *layer.parameters()]
    pairs = (torch.autograd.grad(out, leaves, cotangent) for out in (actual, expected))
    for number, (one, other) in enumerate(zip(*pairs)):
        assert_same(one, other, what=f"gradient {number}")


@EACH_KIND
@pytest.mark.parametrize("schedule", [full_visibility, causal_visibility, SEGMENTS], ids=["full", "causal", "segment"])
@pytest.mark.parametrize("length", [1, 2, 20])
@pytest.mark.parametrize("padded", [False, True])
def test_self_attention_is_the_equations(kind, schedule, length, padded):
    layer, x = make(kind, schedule), random(BATCH, length, DIM).requires_grad_()
    padding = torch.arange(length) >= torch.tensor([[length], [length // 2 + 1], [1]]) if padded else None
    out, state = layer(x, key_padding_mask=padding)
    assert state is None and out.shape == x.shape
    expected = written_out(layer, x, x, schedule(length, length), padding)
    assert_same_with_gradients(layer, out, expected, x)


@EACH_KIND
@pytest.mark.parametrize("schedule", [full_visibility, WAITK], ids=["full", "waitk"])
def test_cross_attention_is_the_equations(kind, schedule):
    layer = make(kind, schedule, cross=True)
    x, source = random(BATCH, 7, DIM).requires_grad_(), random(BATCH, 18, 6, seed=2).requires_grad_()
    padding = torch.arange(18) >= torch.tensor([[18], [9], [3]])
    out, state = layer(x, source, key_padding_mask=padding)
    assert state is None
    expected = written_out(layer, x, source, schedule(7, 18), padding)
    assert_same_with_gradients(layer, out, expected, x, source)


@pytest.mark.parametrize(
    "kind, options",
    [
        *((kind, {}) for kind in LINEAR),
        *((kind, {"half_life": half_life}) for kind, half_life in (("leap", "1-8"), ("relu", 3))),
        *((kind, {"half_life": "1-8", "learned_pace": True}) for kind in ("leap", "contrast", "slots")),
    ],
)
@pytest.mark.parametrize(
    "schedule, splits",
    [
        *((causal_visibility, splits) for splits in ([1] * 12, [12], [1, 3, 8], [8, 1, 1, 1, 1])),
        *((SEGMENTS, splits) for splits in ([4, 4, 4], [12], [8, 4])),
    ],
)
def test_pieces_are_the_whole(kind, options, schedule, splits):
    layer, x = make(kind, schedule, **options), random(BATCH, 12, DIM).requires_grad_()
    expected, _ = layer(x)
    assert_same(expected, written_out(layer, x, x, schedule(12, 12), half_life=layer.half_life))
    state, outputs = layer.zero_state(BATCH), []
    for piece in x.split(splits, dim=1):
        out, state = layer(piece, state=state)
        outputs.append(out)
    assert_same_with_gradients(layer, torch.cat(outputs, dim=1), expected, x)
    assert state.keys == state.queries == 12


@EACH_KIND
@pytest.mark.parametrize("half_life", [None, "1-8"])
def test_the_default_device_is_not_that_of_the_layer(kind, half_life):
    layer, x = make(kind, causal_visibility, half_life=half_life), random(BATCH, 12, DIM)
    expected, _ = layer(x)
    with torch.device("meta"):
        assert_same(layer(x)[0], expected)
        first, state = layer(x[:, :5], state=layer.zero_state(BATCH))
        second, _ = layer(x[:, 5:], state=state)
    assert_same(torch.cat((first, second), dim=1), expected)


@EACH_KIND
def test_padded_pieces_are_the_padded_whole(kind):
    layer, x = make(kind, causal_visibility), random(BATCH, 12, DIM)
    padding = torch.zeros(BATCH, 12, dtype=torch.bool)
    padding[0, :5] = padding[1, 10:] = padding[2, 3:6] = True
    expected, _ = layer(x, key_padding_mask=padding)
    state, outputs = layer.zero_state(BATCH), []
    for piece, mask in zip(x.split(4, dim=1), padding.split(4, dim=1)):
        out, state = layer(piece, key_padding_mask=mask, state=state)
        outputs.append(out)
    hidden = padding.unsqueeze(-1)
    assert_same(torch.cat(outputs, dim=1).masked_fill(hidden, 0), expected.masked_fill(hidden, 0))
    assert state.positions.tolist() == [7, 10, 9]


@EACH_KIND
@pytest.mark.parametrize("splits", [[20], [1] * 20, [3, 0, 17]])
def test_an_absorbed_source_is_the_whole_source(kind, splits):
    layer, x, source = make(kind, cross=True), random(BATCH, 5, DIM), random(BATCH, 20, 6, seed=2)
    padding = torch.arange(20) >= torch.tensor([[20], [11], [4]])
    state = layer.zero_state(BATCH)
    for piece, mask in zip(source.split(splits, dim=1), padding.split(splits, dim=1)):
        state = layer.absorb(piece, state, mask)
    outputs = []
    for token in x.split(1, dim=1):
        out, state = layer(token, state=state)
        outputs.append(out)
    assert_same(torch.cat(outputs, dim=1), layer(x, source, key_padding_mask=padding)[0])


@EACH_KIND
def test_absorbing_and_reading_in_turn_is_waitk(kind):
    layer, x, source = make(kind, WAITK, cross=True), random(BATCH, 6, DIM), random(BATCH, 21, 6, seed=2)
    expected, _ = layer(x, source)
    state, keyed, fed = layer.zero_state(BATCH), layer.zero_state(BATCH), 0
    for i in range(6):
        frames, fed = source[:, fed : 3 * (i + 2)], 3 * (i + 2)
        state = layer.absorb(frames, state)
        out, state = layer(x[:, i : i + 1], state=state)
        assert_same(out, expected[:, i : i + 1], what=f"absorbed {i}")
        # The same with the next frames as keys, of which the schedule says how many are seen.
        out, keyed = layer(x[:, i : i + 1], frames, state=keyed)
        assert_same(out, expected[:, i : i + 1], what=f"given {i}")


@EACH_KIND
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("junk", [0.7, float("inf"), float("nan")])
def test_a_batch_equals_its_members(kind, side, junk):
    """With anything in its padding, inf too: outputs and gradients."""
    layer, lengths = make(kind, causal_visibility), [5, 9, 16]
    x, padding = random(3, 16, DIM), torch.ones(3, 16, dtype=torch.bool)
    rows = [slice(16 - n, 16) if side == "left" else slice(0, n) for n in lengths]
    for number, row in enumerate(rows):
        padding[number, row] = False
    x = x.masked_fill(padding.unsqueeze(-1), junk).requires_grad_()
    batch, _ = layer(x, key_padding_mask=padding)
    members = [layer(x[number : number + 1, row])[0] for number, row in enumerate(rows)]
    together = torch.cat([batch[number, row] for number, row in enumerate(rows)])
    assert_same_with_gradients(layer, together, torch.cat(members, dim=1)[0], x)


def test_the_control_that_padding_without_a_mask_is_seen():
    layer, x = make("leap", causal_visibility), random(1, 9, DIM)
    assert not torch.allclose(layer(x)[0][:, 4:], layer(x[:, 4:])[0], atol=1e-3)


@EACH_KIND
@pytest.mark.parametrize("cross", [False, True])
def test_beam_search_reorders_the_state(kind, cross):
    layer = make(kind, full_visibility if cross else causal_visibility, cross=cross)
    order, x, source = torch.tensor([2, 0, 0, 1]), random(BATCH, 6, DIM), random(BATCH, 9, 6, seed=2)
    state = layer.zero_state(BATCH)
    state = layer.absorb(source, state) if cross else state
    _, state = layer(x[:, :5], state=state)
    out, state = layer(x[order, 5:], state=state.reorder(order))
    expected, _ = layer(x[order], source[order]) if cross else layer(x[order])
    assert_same(out, expected[:, 5:])
    assert len(state.positions) == 4


@EACH_KIND
@pytest.mark.parametrize("cross", [False, True])
def test_streams_of_any_age_are_computed_together(kind, cross):
    """Rows that began at different times, merged for some tokens and parted again, one of them reordered."""
    layer = make(kind, full_visibility if cross else causal_visibility, cross=cross)
    x, source, ages = random(3, 20, DIM), random(3, 9, 6, seed=2), [7, 0, 12]
    expected = [layer(x[n : n + 1], *([source[n : n + 1]] if cross else []))[0] for n in range(3)]
    states = []
    for n, age in enumerate(ages):
        state = layer.zero_state(1)
        state = layer.absorb(source[n : n + 1], state) if cross else state
        states.append(layer(x[n : n + 1, :age], state=state)[1] if age else state)
    merged = type(states[0]).merge(states)
    tokens = torch.cat([x[n : n + 1, age : age + 2] for n, age in enumerate(ages)])
    out, merged = layer(tokens, state=merged)
    for n, age in enumerate(ages):
        assert_same(out[n : n + 1], expected[n][:, age : age + 2], what=f"row {n}")
        alone, state = layer(x[n : n + 1, age + 2 : age + 3], state=merged.row(n))
        assert_same(alone, expected[n][:, age + 2 : age + 3], what=f"row {n} parted")
        assert state.queries == age + 3
    turned = merged.reorder(torch.tensor([2, 1]))
    out, _ = layer(torch.cat((x[2:3, 14:15], x[1:2, 2:3])), state=turned)
    assert_same(out, torch.cat((expected[2][:, 14:15], expected[1][:, 2:3])))


def test_streams_that_go_on_together_are_not_copied():
    """The rows of one state, in their order; all others are put together anew."""
    layer = make("leap", causal_visibility)
    state = layer(random(3, 4, DIM), state=layer.zero_state(3))[1]
    whole, rows = state.state.kvz, [state.row(n) for n in range(3)]
    narrow = [LayerState(LinearAttentionState.computed(row.state.kvz[..., :1]), row.positions) for row in rows]
    for some, same in ((rows, True), (rows[::-1], False), (rows[:2], False), ([rows[0]] * 3, False), (narrow, False)):
        merged = LayerState.merge(some).state.kvz
        assert torch.equal(merged, torch.cat([row.state.kvz for row in some]))
        assert (merged.data_ptr() == whole.data_ptr()) == same


def test_streams_that_see_differently_many_keys_are_refused():
    layer = make("leap", SEGMENTS)
    states = [layer(random(1, age, DIM), state=layer.zero_state(1))[1] for age in (4, 5)]
    merged = type(states[0]).merge(states)
    with pytest.raises(ValueError, match="see differently many of the next 4 keys: compute them one by one"):
        layer(random(2, 4, DIM), state=merged)


@EACH_KIND
def test_a_batch_may_be_empty(kind):
    layer, x = make(kind, causal_visibility), random(0, 3, DIM)
    assert layer(x)[0].shape == x.shape
    out, state = layer(x, state=layer.zero_state(0))
    assert out.shape == x.shape and state.keys == state.queries == 3


@EACH_KIND
def test_the_state_stays_as_it_was_and_as_large(kind):
    layer, x = make(kind, causal_visibility), random(BATCH, 40, DIM)
    _, state = layer(x[:, :3], state=layer.zero_state(BATCH))
    before, size = state.state.kvz.clone(), state.state.kvz.numel()
    for token in x.split(1, dim=1):
        _, after = layer(token, state=state)
        after.reorder(torch.tensor([1, 1, 0]))
        assert after is not state and after.state.kvz.numel() == size
    assert torch.equal(state.state.kvz, before) and state.keys == 3
    expected = KINDS[kind].state_features(DIM // HEADS), DIM // HEADS + 1
    assert state.state.kvz.shape[2:] == expected


def test_a_state_as_plain_data_and_without_its_graph(tmp_path):
    layer, x = make("leap", causal_visibility), random(BATCH, 12, DIM).requires_grad_()
    expected, _ = layer(x)
    _, state = layer(x[:, :7], state=layer.zero_state(BATCH))
    assert state.state.kvz.requires_grad and not state.detach().state.kvz.requires_grad
    torch.save(state.detach().to_plain(), tmp_path / "state.pt")
    loaded = type(state).from_plain(torch.load(tmp_path / "state.pt", weights_only=True), layer.zero_state(1))
    assert_same(layer(x[:, 7:], state=loaded)[0], expected[:, 7:])
    empty = loaded.without_keys()
    assert empty.queries == 7 and empty.keys == 0 and not empty.state.kvz.any() and not empty.positions.any()


@EACH_KIND
def test_weights_explain_the_output(kind):
    layer, x, source = make(kind, WAITK, cross=True), random(BATCH, 5, DIM), random(BATCH, 18, 6, seed=2)
    padding = torch.arange(18) >= torch.tensor([[18], [9], [3]])
    weights = layer.weights(x, source, key_padding_mask=padding)
    v = layer.v_proj(source).unflatten(-1, (HEADS, DIM // HEADS))
    expected = layer.out_proj(torch.einsum("bhts,bshk->bthk", weights, v).flatten(2))
    assert_same(layer(x, source, key_padding_mask=padding)[0], expected)
    last = layer.weights(x[:, 3:], source, key_padding_mask=padding, first_query=3)
    assert_same(last, weights[:, :, 3:])
    causal = make(kind, causal_visibility)
    assert (causal.weights(x).triu(1) == 0).all()


def test_dropout_drops_keys_in_training_alone():
    layer, x = make("leap", causal_visibility, dropout=0.5), random(1, 9, DIM)
    expected, _ = layer(x)
    layer.train()
    torch.manual_seed(0)
    mean = torch.stack([layer(x)[0] for _ in range(4000)]).mean(0)
    assert not torch.allclose(layer(x)[0], expected, atol=1e-2)
    assert (mean - expected).abs().max() < 0.08 * expected.abs().max()


@EACH_KIND
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precisions_follow(kind, dtype):
    x = random(2, 30, DIM)
    out, _ = make(kind, causal_visibility, dtype=dtype)(x.to(dtype))
    assert out.dtype == dtype
    assert_same(out.double(), make(kind, causal_visibility)(x)[0], dtype)


def test_the_example_of_the_documentation():
    torch.manual_seed(0)
    found = doctest.DocTestFinder().find(LinearAttention, module=linear_attention)
    examples = [test for test in found if test.examples]
    assert len(examples) == 1 and len(examples[0].examples) > 10
    assert doctest.DocTestRunner().run(examples[0]).failed == 0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"kind": "performer"}, "unknown linear attention 'performer': choose from leap, cosformer, relu, elu"),
        ({"kind": "softmax"}, "unknown linear attention 'softmax'"),
        ({"leap_factor": 3}, "leap_factor 3 does not divide the head dimension 8"),
        ({"num_heads": 5}, "embed_dim 16 is not divisible by 5"),
        ({"num_heads": 0}, "num_heads must be a whole number from 1 .*, got 0"),
        ({"normalizer_floor": 0}, "normalizer_floor 0 must be above 0"),
        ({"kind": "cosformer"}, "cosformer attention needs max_query_positions and max_key_positions"),
        ({"half_life": "9-2"}, "half-life '9-2'"),
        ({"half_life": 0}, "half-life '0' must be at least 1 token"),
        ({"half_life": 9, "cross_attention": True}, "half_life is for self-attention"),
        ({"learned_pace": True}, "learned_pace is for half-lives: give half_life, too"),
    ],
)
def test_wrong_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        LinearAttention(**{"embed_dim": 16, "num_heads": 2, **options})


def test_wrong_use_is_named():
    with pytest.raises(ValueError, match="cross-attention needs a key, or a state that has absorbed a source"):
        make("leap", cross=True)(random(1, 2, DIM))
    layer = make("leap")
    with pytest.raises(ValueError, match="self-attention has no source to absorb: .* cross_attention=True"):
        layer.absorb(random(1, 2, DIM), layer.zero_state(1))
