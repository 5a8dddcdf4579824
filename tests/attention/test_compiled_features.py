"""Hedgehog's features by the compiled library are those of the definition, with their gradients."""

import pytest
import torch
from tolerances import assert_same

from leap_fairseq.attention import compiled_features as module
from leap_fairseq.attention import hedgehog
from leap_fairseq.attention.compiled_library import families, native_library

pytestmark = pytest.mark.skipif(native_library() is None, reason="installed without a C++ compiler")

SCALE = (0.5, 1.0, 4.0)


def definition(x, scale):
    y = x * scale.unsqueeze(-1)
    return torch.cat((y, -y), dim=-1).softmax(-1) * (2 * x.shape[-1])


def make(tokens, key_dim, dtype):
    generator = torch.Generator().manual_seed(tokens + key_dim)
    x = 3 * torch.randn(2, tokens, len(SCALE), key_dim, generator=generator, dtype=dtype)
    return x.requires_grad_(), torch.tensor(SCALE, dtype=dtype, requires_grad=True)


def with_gradients(features, x, scale):
    cotangent = torch.randn(features.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return features, *torch.autograd.grad(features, [x, scale], cotangent.to(features.dtype))


@pytest.mark.parametrize("family", range(len(families())), ids=families())
@pytest.mark.parametrize("key_dim", [1, 3, 8, 20, 64, 130])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_size_of_a_head(family, key_dim, dtype):
    """With the code for each instruction set that this processor has; more chunks than one."""
    x, scale = make(600, key_dim, dtype)
    actual = with_gradients(module.compiled_hedgehog(x, scale, family), x, scale)
    for name, one, other in zip(("features", "x", "scale"), actual, with_gradients(definition(x, scale), x, scale)):
        assert_same(one, other, what=name)


def test_gradients_are_those_of_finite_differences():
    x, scale = make(4, 5, torch.float64)
    assert torch.autograd.gradcheck(module.compiled_hedgehog, (x, scale))


def test_queries_in_another_order_in_memory():
    x, scale = make(300, 16, torch.float32)
    turned = x.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    assert not turned.is_contiguous()
    for one, other in zip(
        with_gradients(module.compiled_hedgehog(turned, scale), turned, scale),
        with_gradients(module.compiled_hedgehog(x, scale), x, scale),
    ):
        assert torch.equal(one, other)


def test_the_number_of_threads_changes_nothing():
    x, scale = make(3000, 16, torch.float32)
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(with_gradients(module.compiled_hedgehog(x, scale), x, scale))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(one, other) for one, other in zip(*results))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_number(dtype):
    """A feature far below the others is as good as zero; a token that is not finite has no features, alone."""
    x, scale = (each.detach() for each in make(100, 8, dtype))
    x[0, 1] = 1e30
    x[0, 2] = 1e-30
    x[0, 3, :, :1] = 200
    x[0, 4, :, 3] = float("inf")
    x[0, 5, :, 7] = float("nan")
    features = module.compiled_hedgehog(x, scale)
    assert torch.allclose(features, definition(x, scale), rtol=1e-5, atol=1e-30, equal_nan=True)
    assert features[0, 4:6].isnan().all() and features[0, :4].isfinite().all() and features[1].isfinite().all()


def test_who_computes(monkeypatch):
    """The library; but for few tokens with gradients, torch."""
    called, run = [], module._run
    monkeypatch.setattr(module, "_run", lambda *given: called.append(given) or run(*given))
    x, scale = make(300, 16, torch.float32)
    expected = definition(x, scale)
    tokens = x.split(1, dim=1)
    assert_same(torch.cat([hedgehog(token, scale) for token in tokens], dim=1), expected)
    assert not called
    assert_same(hedgehog(x, scale), expected)
    assert len(called) == 1
    with torch.no_grad():
        assert_same(torch.cat([hedgehog(token, scale) for token in tokens], dim=1), expected)
    assert len(called) == 1 + len(tokens)
    assert_same(torch.cat([hedgehog(token.detach(), scale.detach()) for token in tokens], dim=1), expected)
    assert len(called) == 1 + 2 * len(tokens)
