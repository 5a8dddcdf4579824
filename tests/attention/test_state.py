"""The recurrent state: any split gives the same sums, and no operation changes a state in place."""

import pytest
import torch
from tolerances import assert_same

from leap_fairseq.attention import LinearAttentionState


def make_keys(n=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    k = torch.rand(3, n, 2, 4, generator=generator)
    v = torch.randn(3, n, 2, 5, generator=generator)
    p = torch.rand(3, n, 2, generator=generator)
    return k, v, p


@pytest.mark.parametrize("half_life", [None, torch.tensor([1, 7])])
@pytest.mark.parametrize("splits", [[12], [1] * 12, [5, 7], [0, 3, 0, 9], [11, 1]])
def test_any_split_gives_the_same_state(splits, half_life):
    k, v, p = make_keys()
    whole = LinearAttentionState.zeros(3, 2, 4, 5).absorb(k, v, p, None, half_life)
    state, first = LinearAttentionState.zeros(3, 2, 4, 5), 0
    for n in splits:
        new = slice(first, first + n)
        state, first = state.absorb(k[:, new], v[:, new], p[:, new], None, half_life), first + n
    assert_same(state.kv_state, whole.kv_state)
    assert_same(state.z_state, whole.z_state)
    assert state.kv_state.shape == (3, 2, 8, 5) and state.z_state.shape == (3, 2, 8)


def test_operations_leave_the_state_alone():
    k, v, p = make_keys()
    state = LinearAttentionState.zeros(3, 2, 4, 5).absorb(k, v, p)
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
    state = LinearAttentionState.zeros(3, 2, 4, 5).absorb(k, v, p)
    expected = LinearAttentionState.zeros(4, 2, 4, 5).absorb(k[order], v[order], p[order])
    assert_same(state.reorder(order).kvz, expected.kvz)


def test_features_must_fit_the_state():
    k, v, p = make_keys()
    with pytest.raises(ValueError, match="holds 8 features a head, the tokens have 4"):
        LinearAttentionState.zeros(3, 2, 4, 5).absorb(k, v)
    plain = LinearAttentionState.zeros(3, 2, 4, 5, reweighted=False)
    with pytest.raises(ValueError, match="a plain one none"):
        plain.read(k, p)


def test_half_precision_state_is_float32():
    assert LinearAttentionState.zeros(1, 1, 2, 2, dtype=torch.bfloat16).kvz.dtype == torch.float32
    assert LinearAttentionState.zeros(1, 1, 2, 2, dtype=torch.float64).kvz.dtype == torch.float64
