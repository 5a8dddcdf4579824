"""Half precision over long texts: nothing overflows, nothing is lost, and sums of 20,000 keys still grow."""

import pytest
import torch

from leap_fairseq.attention import (
    KINDS,
    LeapProportion,
    LinearAttentionState,
    causal_visibility,
    elu_plus_one,
    prefix_attention,
    relu,
    static_proportion,
)
from leap_fairseq.attention import blockwise as blockwise_module
from leap_fairseq.modules import AttentionSpec

LENGTH = 2048
LONG = 20_000
DTYPES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
# Of activations and, as fairseq's loss scaling chooses it, of the gradient of the output: with one for all, float16
# could hold neither the gradients of tiny activations nor those of large ones.
LOSS_SCALE = {1e-3: 2.0**7, 1.0: 1.0, 30.0: 2.0**-7}
SCALES = pytest.mark.parametrize("scale", LOSS_SCALE)
SHARPNESS = torch.tensor([0.5, 2.0])
EACH_KIND = pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.linear])


def assert_close(actual, expected, what):
    """Fails unless the tensor is finite and the norm of the difference is within 2 % of the norm expected."""
    assert torch.isfinite(actual).all(), f"{what}: not finite"
    # Below its normal numbers a type rounds to multiples of the smallest one; only float16 is close to those here.
    smallest = torch.finfo(actual.dtype).smallest_normal * torch.finfo(actual.dtype).eps
    limit = 0.02 * float(expected.norm()) + smallest / 2 * expected.numel() ** 0.5
    assert float((actual.float() - expected).norm()) <= limit, what


def random(*shape, scale=1.0, dtype=torch.float32, seed=0):
    return (torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale).to(dtype)


def core_inputs(kind, scale, dtype):
    """Queries and keys behind the feature map, values, and proportions, in the half type."""
    heads, key_dim = 2, 32
    q, k, v = (random(1, LENGTH, heads, key_dim, scale=scale, dtype=dtype, seed=n) for n in range(3))
    tensors = {"q": KINDS[kind].mapped(q * key_dim**-0.5, SHARPNESS), "k": KINDS[kind].mapped(k, SHARPNESS), "v": v}
    if KINDS[kind].proportions == "learned":
        torch.manual_seed(0)
        for name, x in (("query_proportion", tensors["q"]), ("key_proportion", tensors["k"])):
            tensors[name] = LeapProportion(x.shape[-1])(x.float()).detach().to(dtype)
    elif KINDS[kind].proportions == "static":
        positions = torch.arange(LENGTH).view(1, -1, 1).expand(1, -1, heads)
        for name in ("query_proportion", "key_proportion"):
            tensors[name] = static_proportion(positions, LENGTH).to(dtype)
    return tensors


def core_results(tensors, scale, dtype):
    """The output, and the gradient of every input."""
    leaves = {name: x.clone().requires_grad_() for name, x in tensors.items()}
    # It shrinks with the weights: what 0.1 would leave of tiny ones, float16 cannot hold.
    floor = 0.1 * min(1, scale) ** 2
    out = prefix_attention(**leaves, visible=causal_visibility(LENGTH, LENGTH), normalizer_floor=floor)
    cotangent = random(*out.shape, scale=LOSS_SCALE[scale], dtype=dtype, seed=9).to(out.dtype)
    return {"out": out.detach(), **dict(zip(leaves, torch.autograd.grad(out, list(leaves.values()), cotangent)))}


def assert_core_follows_float32(kind, scale, dtype):
    tensors = core_inputs(kind, scale, dtype)
    expected = core_results({name: x.float() for name, x in tensors.items()}, scale, dtype)
    for name, actual in core_results(tensors, scale, dtype).items():
        assert actual.dtype == dtype
        assert_close(actual, expected[name], name)


@DTYPES
@SCALES
@EACH_KIND
def test_the_core_follows_float32(kind, scale, dtype):
    assert_core_follows_float32(kind, scale, dtype)


@pytest.mark.parametrize("scale, dtype", [(1e-3, torch.float16), (1.0, torch.bfloat16), (30.0, torch.float16)])
def test_the_control_that_sums_in_half_precision_are_seen(monkeypatch, scale, dtype):
    assert_core_follows_float32("leap", scale, dtype)
    # Compiled code has no sums in half precision.
    monkeypatch.setattr("leap_fairseq.attention.backend.can_compile", lambda given: False)
    monkeypatch.setattr("leap_fairseq.attention.inputs.sum_dtype", lambda dtype: dtype)
    with pytest.raises(AssertionError, match="^(out|q|k|v)"):
        assert_core_follows_float32("leap", scale, dtype)


def module_results(kind, x, dtype, *, spread, cotangent):
    """Output, and all gradients as one vector, of weights that the half type holds."""
    torch.manual_seed(0)
    sizes = {"max_query_positions": LENGTH, "max_key_positions": LENGTH}
    module = AttentionSpec(kind, schedule=causal_visibility, **sizes).build(64, 2, self_attention=True)
    for name, parameter in module.named_parameters():
        if "LeaP" in name:
            parameter.data.mul_(spread)
        elif "scale" in name:
            # An exponential turns the rounding of large numbers, which are here by design, into a large error.
            parameter.data.div_(max(1, float(x.abs().max()) / 4))
    module.to(dtype).to(x.dtype)
    x = x.clone().requires_grad_()
    out = module(x, x, x, need_weights=False)[0]
    gradients = torch.autograd.grad(out, [x, *module.parameters()], cotangent.to(x.dtype))
    return out.detach(), torch.cat([gradient.flatten() for gradient in gradients])


def compare_modules(kind, scale, dtype, *, spread=1, loss_scale=None):
    """Output and gradients in the half type, and the same in float32 from the same numbers."""
    x = random(LENGTH, 1, 64, scale=scale, dtype=dtype)
    cotangent = random(*x.shape, scale=loss_scale or LOSS_SCALE[scale], dtype=dtype, seed=9)
    return (module_results(kind, x_, dtype, spread=spread, cotangent=cotangent) for x_ in (x, x.float()))


@DTYPES
@SCALES
@EACH_KIND
def test_the_module_follows_float32(kind, scale, dtype):
    """All gradients together: some alone are what is left of terms that cancel, as those of keys all but equal."""
    (out, gradients), (expected, expected_gradients) = compare_modules(kind, scale, dtype)
    assert out.dtype == gradients.dtype == dtype
    assert_close(out, expected, "out")
    assert_close(gradients, expected_gradients, "gradients")


@DTYPES
def test_proportions_near_0_and_1_neither_round_the_weights_away_nor_overflow(dtype):
    (out, gradients), (expected, _) = compare_modules("leap", 30.0, dtype, spread=3, loss_scale=1.0)
    assert_close(out, expected, "out")
    assert torch.isfinite(gradients).all()


@DTYPES
@pytest.mark.parametrize("feature_map", [relu, elu_plus_one])
def test_small_features_keep_their_digits(feature_map, dtype):
    """Sums of small features follow float32 only if the features themselves do."""
    x = torch.linspace(-7, 7, 101).to(dtype)
    leaves = [x.clone().requires_grad_(), x.float().requires_grad_()]
    features = [feature_map(leaf) for leaf in leaves]
    gradients = [torch.autograd.grad(f.sum(), leaf)[0] for f, leaf in zip(features, leaves)]
    for actual, expected in (features, gradients):
        torch.testing.assert_close(actual.detach().float(), expected.detach(), rtol=torch.finfo(dtype).eps, atol=0)


# The first key alone weighs 64, far above the floor of the normaliser, which must not stand in for a sum that is lost;
# and the sum of all, 40,000 in each feature and 160,000 with the values, is beyond float16.
KEY_DIM, KEY = 16, 2.0


def constant_keys(dtype, proportions):
    """Arguments of the core for 20,000 equal keys."""
    features = torch.full((1, LONG, 1, KEY_DIM), KEY, dtype=dtype)
    # Besides 4 there is 3: four times a rounded sum is the rounded sum of fours, so that a ratio of 4 would survive
    # two sums that have both stopped growing.
    v = torch.tensor([4.0, 3.0], dtype=dtype).expand(1, LONG, 1, 2)
    arguments = {"q": features, "k": features, "v": v}
    if proportions:
        ramp = static_proportion(torch.arange(LONG), LONG).view(1, -1, 1)
        arguments.update(query_proportion=ramp, key_proportion=ramp)
    return arguments


def all_at_once(arguments):
    visible = causal_visibility(LONG, LONG)
    return prefix_attention(**arguments, visible=visible, algorithm="blockwise")


def in_chunks(arguments, chunk=20):
    """As a stream: each chunk reads itself and the state, which then absorbs it."""
    features = 2 * KEY_DIM if "key_proportion" in arguments else KEY_DIM
    state = LinearAttentionState.zeros(1, 1, features, 2, dtype=arguments["k"].dtype)
    visible, outputs = causal_visibility(chunk, chunk), []
    for first in range(0, LONG, chunk):
        new = {name: x[:, first : first + chunk] for name, x in arguments.items()}
        outputs.append(prefix_attention(**new, visible=visible, initial_state=state))
        state = state.absorb(new["k"], new["v"], new.get("key_proportion"))
    return torch.cat(outputs, 1)


WAYS = pytest.mark.parametrize("compute", [all_at_once, in_chunks])


def assert_constant(out, dtype):
    assert out.dtype == dtype and out.shape == (1, LONG, 1, 2)
    expected = torch.tensor([4.0, 3.0]).expand(out.shape)
    torch.testing.assert_close(out.float(), expected, rtol=0.01, atol=0)


@WAYS
@DTYPES
@pytest.mark.parametrize("proportions", [False, True])
def test_twenty_thousand_equal_keys_give_their_value(compute, dtype, proportions):
    assert_constant(compute(constant_keys(dtype, proportions)), dtype)


@WAYS
@DTYPES
@pytest.mark.parametrize("proportions", [False, True])
def test_the_control_that_sums_kept_in_half_precision_stop_growing(monkeypatch, compute, dtype, proportions):
    absorb = LinearAttentionState.absorb

    def rounded(state, *args):
        return LinearAttentionState.computed(absorb(state, *args).kvz.to(dtype).float())

    def running_sums(sums, half_life, block_size):
        total, totals = torch.zeros_like(sums[:, :, 0]), []
        for block in sums.unbind(2):
            total = (total + block).to(dtype).float()
            totals.append(total)
        return torch.stack(totals, 2)

    monkeypatch.setattr(LinearAttentionState, "absorb", rounded)
    monkeypatch.setattr(blockwise_module, "_running_sums", running_sums)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_constant(compute(constant_keys(dtype, proportions)), dtype)
