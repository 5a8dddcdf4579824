"""The recurrent state: any split gives the same sums, and no operation changes a state in place."""

import pytest
import torch
from tolerances import assert_same

from leap_fairseq.attention import LinearAttentionState, causal_visibility, full_visibility, prefix_attention
from leap_fairseq.attention.compiled_library import MOST_TOKENS, Tokens, can_step, families, native_library, step


def make_keys(n=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    k = torch.rand(3, n, 2, 4, generator=generator)
    v = torch.randn(3, n, 2, 5, generator=generator)
    p = torch.rand(3, n, 2, generator=generator)
    return k, v, p


@pytest.mark.parametrize(
    "half_life, paced", [(None, False), (torch.tensor([1, 7]), False), (torch.tensor([1, 7]), True)]
)
@pytest.mark.parametrize("splits", [[12], [1] * 12, [5, 7], [0, 3, 0, 9], [11, 1]])
def test_any_split_gives_the_same_state(splits, half_life, paced):
    k, v, p = make_keys()
    pace = 4 * make_keys(seed=1)[2] if paced else None
    whole = LinearAttentionState.zeros(3, 2, 8, 5).absorb(k, v, p, None, half_life, pace)
    state, first = LinearAttentionState.zeros(3, 2, 8, 5), 0
    for n in splits:
        new = slice(first, first + n)
        paces = pace[:, new] if paced else None
        state, first = state.absorb(k[:, new], v[:, new], p[:, new], None, half_life, paces), first + n
    assert_same(state.kv_state, whole.kv_state)
    assert_same(state.z_state, whole.z_state)
    assert state.kv_state.shape == (3, 2, 8, 5) and state.z_state.shape == (3, 2, 8)


def in_torch(*tensors):
    """The same numbers with a gradient, of which torch computes."""
    return [None if x is None else x.clone().requires_grad_() for x in tensors]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("reweighted", [True, False])
@pytest.mark.parametrize("floor, half_life", [(0.1, None), (1000.0, None), (0.1, torch.tensor([1, 7]))])
@pytest.mark.parametrize("contrast", [None, torch.tensor([0.5, 0.9])])
@pytest.mark.parametrize("queries, keys", [(1, 1), (9, 9), (3, 16)])
def test_a_step_absorbs_and_reads(dtype, reweighted, floor, half_life, contrast, queries, keys):
    """A token or a segment; also where the inputs are views, and with a gradient, where torch computes."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.rand(2, 3 * n, 2, d, generator=generator).to(dtype) for n, d in zip((queries, keys, keys), (4, 4, 5))
    )
    p_q, p_k = (torch.rand(2, 3 * n, 2, generator=generator).to(dtype) if reweighted else None for n in (queries, keys))
    state = LinearAttentionState.zeros(2, 2, 8 if reweighted else 4, 5, dtype=dtype)
    counts = (queries, keys, keys, queries, keys)
    for n in range(3):
        one = [None if x is None else x[:, n * m : (n + 1) * m] for x, m in zip((q, k, v, p_q, p_k), counts)]
        before = state.kvz.clone()
        options = {"half_life": half_life, "contrast": contrast}
        out, after = state.step(*one, floor, **options)
        expected_k, expected_v, expected_p = in_torch(one[1], one[2], one[4])
        expected_state = state.absorb(expected_k, expected_v, expected_p, half_life=half_life)
        expected = expected_state.read(*in_torch(one[0], one[3]), floor, contrast=contrast).detach()
        assert_same(state.absorb(one[1], one[2], one[4], half_life=half_life).kvz, expected_state.kvz.detach())
        assert_same(after.read(one[0], one[3], floor, contrast=contrast), expected, dtype)
        assert out.dtype == dtype and after.kvz.dtype == before.dtype
        assert_same(out, expected, dtype)
        assert_same(after.kvz, expected_state.kvz.detach())
        assert torch.equal(state.kvz, before)
        leaf = one[2].clone().requires_grad_()
        differentiable = state.step(one[0], one[1], leaf, *one[3:], floor, **options)[0]
        assert_same(differentiable, expected, dtype)
        assert torch.autograd.grad(differentiable.sum(), leaf)[0].abs().sum() > 0
        state = after


@pytest.mark.skipif(native_library() is None, reason="installed without a C++ compiler")
@pytest.mark.parametrize("family", range(len(families())), ids=families())
@pytest.mark.parametrize("key_dim, value_dim", [(1, 1), (3, 7), (32, 32), (20, 65)])
@pytest.mark.parametrize("queries, keys", [(0, 1), (2, 0), (1, 1), (7, 13), (64, 64)])
@pytest.mark.parametrize("reweighted", [True, False])
@pytest.mark.parametrize("paced", [True, False])
def test_compiled_steps_of_any_size(family, key_dim, value_dim, queries, keys, reweighted, paced):
    """With the code for each instruction set that this processor has."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.rand(2, n, 3, d, generator=generator) if n else None
        for n, d in ((queries, key_dim), (keys, key_dim), (keys, value_dim))
    )
    p_q, p_k = (torch.rand(2, n, 3, generator=generator) if n and reweighted else None for n in (queries, keys))
    kvz = torch.rand(2, 3, (2 if reweighted else 1) * key_dim, value_dim + 1, generator=generator)
    half_life = torch.tensor([0.5, 3.0, 100.0]) if keys else None
    pace = 4 * torch.rand(2, keys, 3, generator=generator) if keys and paced else None
    tokens = Tokens(kvz, q, k, v, p_q, p_k, 0.1, torch.tensor([0.3, 0.0, 0.9]) if queries else None, pace)
    assert can_step(tokens)
    out, after = step(tokens, half_life, family)
    state = LinearAttentionState(kvz)
    if keys:
        expected_k, expected_v, expected_p = in_torch(k, v, p_k)
        state = state.absorb(expected_k, expected_v, expected_p, half_life=half_life, pace=pace)
    assert_same(after, state.kvz.detach())
    assert (out is None) == (not queries)
    if queries:
        assert_same(out, state.read(*in_torch(q, p_q), 0.1, contrast=tokens.contrast).detach())


def test_longer_pieces_are_left_to_torch():
    k, v, p = make_keys(MOST_TOKENS + 1)
    kvz = torch.zeros(3, 2, 8, 6)
    assert not can_step(Tokens(kvz, None, k, v, None, p)) and not can_step(Tokens(kvz, k, None, None, p))
    out, after = LinearAttentionState.zeros(3, 2, 8, 5).step(k, k, v, p, p)
    assert_same(after.kvz, LinearAttentionState.zeros(3, 2, 8, 5).absorb(k, v, p).kvz)
    assert_same(
        out, prefix_attention(k, k, v, full_visibility(len(p[0]), len(p[0])), query_proportion=p, key_proportion=p)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_queries_of_another_type_than_the_values(dtype):
    """The answer has the type of the values, whatever computes it."""
    k, v, _ = make_keys()
    q, contrast, state = k.flip(1).to(dtype), torch.tensor([0.5, 0.9]), LinearAttentionState.zeros(3, 2, 4, 5)
    expected, _ = state.step(q.float(), k, v, contrast=contrast)
    for leaf in (v, v.clone().requires_grad_()):
        out, _ = state.step(q, k, leaf, contrast=contrast)
        assert out.dtype == torch.float32
        assert_same(out, expected)
    visible = causal_visibility(12, 12)
    expected = prefix_attention(q, k, v, visible, algorithm="naive")
    assert_same(prefix_attention(q, k, v, visible, algorithm="state"), expected)


def test_a_step_of_other_features_is_refused():
    k, v, p = make_keys(1)
    with pytest.raises(ValueError, match="holds 8 features a head, the tokens have 4"):
        LinearAttentionState.zeros(3, 2, 8, 5).step(k, k, v)


def test_operations_leave_the_state_alone():
    k, v, p = make_keys()
    state = LinearAttentionState.zeros(3, 2, 8, 5).absorb(k, v, p)
    before = state.kvz.clone()
    version = state.kvz._version
    state.absorb(k, v, p)
    state.read(k, p)
    reordered = state.reorder(torch.tensor([2, 0, 0]))
    reordered.kvz.add_(1)
    assert torch.equal(state.kvz, before) and state.kvz._version == version


def test_reorder_selects_the_batch():
    k, v, p = make_keys()
    order = torch.tensor([2, 0, 0, 1])
    state = LinearAttentionState.zeros(3, 2, 8, 5).absorb(k, v, p)
    expected = LinearAttentionState.zeros(4, 2, 8, 5).absorb(k[order], v[order], p[order])
    assert_same(state.reorder(order).kvz, expected.kvz)


def test_features_must_fit_the_state():
    k, v, p = make_keys()
    with pytest.raises(ValueError, match="holds 8 features a head, the tokens have 4"):
        LinearAttentionState.zeros(3, 2, 8, 5).absorb(k, v)
    plain = LinearAttentionState.zeros(3, 2, 4, 5)
    with pytest.raises(ValueError, match="a plain one none"):
        plain.read(k, p)


def test_half_precision_state_is_float32():
    assert LinearAttentionState.zeros(1, 1, 2, 2, dtype=torch.bfloat16).kvz.dtype == torch.float32
    assert LinearAttentionState.zeros(1, 1, 2, 2, dtype=torch.float64).kvz.dtype == torch.float64


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda kvz: kvz.to(torch.int8), "must be float32 or float64 .* got int8"),
        (lambda kvz: kvz.half(), "got float16"),
        (lambda kvz: kvz[0], r"\[B, H, F, V \+ 1\], got float32 \[2, 8, 6\]"),
        (lambda kvz: kvz[..., :0], "needs a last column"),
        (lambda kvz: kvz.to_sparse(), "sparse"),
        (lambda kvz: kvz * float("nan"), "must be finite"),
        (lambda kvz: kvz - float("inf"), "must be finite"),
        (lambda kvz: kvz.tolist(), "got list"),
    ],
)
def test_a_tensor_that_is_no_state(change, message):
    with pytest.raises(ValueError, match=message):
        LinearAttentionState(change(torch.ones(3, 2, 8, 6)))


@pytest.mark.parametrize(
    "change",
    [
        lambda kvz: kvz[:0],
        lambda kvz: kvz[:1],
        lambda kvz: torch.cat((kvz, kvz)),
        lambda kvz: kvz[:, :1],
        lambda kvz: kvz[..., 1:],
        lambda kvz: kvz.double(),
    ],
)
def test_a_state_of_other_tokens_is_refused_wherever_it_enters(change):
    """Native code would read and write beyond it."""
    k, v, p = make_keys()
    state = LinearAttentionState(change(torch.ones(3, 2, 8, 6)))
    one = [x[:, :1] for x in (k, k, v, p, p)]
    visible = causal_visibility(12, 12)
    options = {"query_proportion": p, "key_proportion": p, "initial_state": state}
    for use in (
        lambda: state.absorb(k, v, p),
        lambda: state.step(*one),
        lambda: prefix_attention(k, k, v, visible, **options),
        lambda: prefix_attention(k, k, v, visible, algorithm="naive", **options),
    ):
        with pytest.raises(ValueError, match="this state must be float32 \\[3, 2, 8, 6\\] on cpu"):
            use()


def test_how_a_state_lies_in_memory_does_not_matter():
    k, v, p = make_keys()
    kvz = torch.rand(3, 2, 8, 6, generator=torch.Generator().manual_seed(1))
    one = [x[:, :1] for x in (k, k, v, p, p)]
    expected = LinearAttentionState(kvz).step(*one)
    for other in (kvz.transpose(0, 3).contiguous().transpose(0, 3), torch.stack((kvz, kvz), -1)[..., 1]):
        assert not other.is_contiguous()
        actual = LinearAttentionState(other).step(*one)
        assert torch.equal(actual[0], expected[0]) and torch.equal(actual[1].kvz, expected[1].kvz)


@pytest.mark.parametrize("order", [[3], [-1], [0.5], [[0]]])
def test_an_order_that_leaves_the_batch(order):
    with pytest.raises(ValueError, match="new_order must"):
        LinearAttentionState.zeros(3, 2, 8, 5).reorder(torch.tensor(order))


def test_what_is_no_tensor_is_refused_by_its_name():
    """Before the library is asked whether it knows such tokens."""
    k, v, p = make_keys()
    state, half_life = LinearAttentionState.zeros(3, 2, 8, 5), torch.tensor([1, 7])
    for call, name in (
        (lambda: state.absorb(k, v, 1.0), "key_proportion"),
        (lambda: state.absorb(k, v, p, None, half_life, 2.0), "pace"),
        (lambda: state.read(k, 1.0), "query_proportion"),
        (lambda: state.step(k, k, v, p, 0.5), "key_proportion"),
        (lambda: state.read(k, p, contrast=0.5), "contrast"),
    ):
        with pytest.raises(ValueError, match=f"{name} must be floating"):
            call()
