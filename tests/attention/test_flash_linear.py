"""``algorithm="fla"``: what flash-linear-attention is asked for, beside a stand-in that computes what its kernels do.

The kernels need a GPU. With one, and with the extra installed, the last test holds them to ``naive``.
"""

import sys
import types

import pytest
import torch
from tolerances import assert_same

from leap_fairseq.attention import LinearAttentionState, causal_visibility, full_visibility, prefix_attention
from leap_fairseq.attention.flash_linear import installed


def causal_sums(q, k, v, scale, initial_state=None, normalize=True):
    """sum over j <= i of (q_i . k_j) v_j, [B, T, H, V], summed in float32 at least as the kernels do."""
    assert v.shape[-1] % 2 == 0, "the real ones refuse an odd number of columns in half types"
    assert scale == 1 and not normalize and q.is_contiguous() and k.is_contiguous() and v.is_contiguous()
    dtype, (q, k, v) = v.dtype, (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (q, k, v))
    sums = torch.einsum("bhts,bshv->bthv", torch.einsum("bthk,bshk->bhts", q, k).tril(), v)
    if initial_state is not None:
        sums = sums + torch.einsum("bthk,bhkv->bthv", q, initial_state.to(q))
    return sums.to(dtype), None


@pytest.fixture
def kernels(monkeypatch):
    """The module of the kernels, whose function a test may replace."""
    module = types.ModuleType("fla.ops.linear_attn")
    module.chunk_linear_attn = causal_sums
    for name in ("fla", "fla.ops"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "fla.ops.linear_attn", module)
    installed.cache_clear()
    yield module
    installed.cache_clear()


def run(algorithm, dtype=torch.float64, device="cpu", reweighted=True, visible=None, rounded=None, **options):
    """Output and gradients of a seeded attention with padding and a state before it; inputs first rounded to a type."""
    generator = torch.Generator().manual_seed(1)

    def rand(*shape):
        x = torch.rand(shape, generator=generator, dtype=torch.float64)
        return x.to(rounded or dtype).to(dtype).to(device).requires_grad_()

    leaves = [rand(2, 70, 2, dim) for dim in (8, 8, 6)]
    named = {name: rand(2, 70, 2) for name in ("query_proportion", "key_proportion")} if reweighted else {}
    padding = torch.zeros(2, 70, dtype=torch.bool, device=device)
    padding[1, :3] = padding[1, 60:] = True
    kvz = rand(2, 2, 16 if reweighted else 8, 7).detach()
    state = LinearAttentionState(kvz.to(torch.promote_types(dtype, torch.float32)))
    visible = causal_visibility(70, 70) if visible is None else visible
    out = prefix_attention(
        *leaves, visible, key_padding_mask=padding, initial_state=state, algorithm=algorithm, **named, **options
    )
    cotangent = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape).to(out)
    return [out, *torch.autograd.grad(out, [*leaves, *named.values()], cotangent)]


@pytest.mark.parametrize("reweighted", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_equals_naive(kernels, dtype, reweighted):
    expected = run("naive", reweighted=reweighted, rounded=dtype)
    for one, other in zip(run("fla", dtype, reweighted=reweighted), expected):
        assert one.dtype == dtype
        assert_same(one, other, dtype)


def test_the_control_that_other_sums_are_seen(kernels):
    kernels.chunk_linear_attn = lambda *x, **named: (causal_sums(*x, **named)[0] * 1.001 + 0.01, None)
    with pytest.raises(AssertionError):
        assert_same(run("fla")[0], run("naive")[0])


def test_what_it_does_not_know_is_named(kernels, monkeypatch):
    with pytest.raises(ValueError, match='"fla" is for causal attention, .* without half-life: choose "auto"'):
        run("fla", visible=full_visibility(70, 70))
    with pytest.raises(ValueError, match='without half-life: choose "auto"'):
        run("fla", half_life=torch.tensor([2.0, 9.0]))
    monkeypatch.setitem(sys.modules, "fla.ops.linear_attn", None)
    with pytest.raises(ValueError, match=r"needs flash-linear-attention \(.*\): pip install 'leap_fairseq\[gpu\]'"):
        run("fla")


def test_why_auto_leaves_float16_alone(kernels):
    """The kernels return sums in the type of the inputs, and those of 3,000 keys are beyond 65,504."""
    for dtype, finite in ((torch.bfloat16, True), (torch.float16, False)):
        q = torch.full((1, 3000, 1, 8), 2.0, dtype=dtype)
        out = prefix_attention(q, q, q, causal_visibility(3000, 3000), algorithm="fla")
        assert bool(out.isfinite().all()) == finite
        assert_same(prefix_attention(q, q, q, causal_visibility(3000, 3000)), q, dtype)


@pytest.mark.gpu
@pytest.mark.skipif(
    not torch.cuda.is_available() or not installed(),
    reason="needs a GPU and flash-linear-attention",
)
@pytest.mark.parametrize("reweighted", [True, False])
def test_the_kernels_themselves(reweighted):
    expected = run("naive", reweighted=reweighted, rounded=torch.bfloat16)
    for one, other in zip(run("fla", torch.bfloat16, "cuda", reweighted), expected):
        assert_same(one.cpu(), other, torch.bfloat16)
