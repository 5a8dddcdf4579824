"""A new feature map is one function and one entry of the table: all that computes attention then has it."""

import pytest
import torch
from tolerances import assert_same

from leap_fairseq.attention import ALGORITHMS, KINDS, AttentionKind, causal_visibility, prefix_attention
from leap_fairseq.attention.compiled_library import native_library
from leap_fairseq.layers import LayerState, LinearAttention
from leap_fairseq.modules import AttentionSpec, MultiheadLinearAttention


def squared(x):
    """The feature map: ``max(x, 0) ** 2``."""
    return x.clamp(min=0).square()


@pytest.fixture(params=[None, "learned", "static"])
def kind(request, monkeypatch):
    """The name of a new kind, with each source of proportions."""
    monkeypatch.setitem(KINDS, "squared", AttentionKind("squared", squared, request.param))
    return "squared"


def random(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_the_algorithms(kind):
    q, k, v = (squared(random(2, 70, 2, 8)), squared(random(2, 70, 2, 8) * 2), random(2, 70, 2, 8))
    proportions = {}
    if KINDS[kind].proportions:
        proportions = {f"{side}_proportion": random(2, 70, 2).sigmoid() for side in ("query", "key")}
    visible, missing = causal_visibility(70, 70), {"fla", "triton", *(() if native_library() else ("compiled",))}
    expected = prefix_attention(q, k, v, visible, algorithm="naive", **proportions)
    for algorithm in ("auto", *(set(ALGORITHMS) - missing)):
        assert_same(prefix_attention(q, k, v, visible, algorithm=algorithm, **proportions), expected, what=algorithm)


def test_the_layer_and_the_module(kind):
    """At once, step by step, and streams of different ages in a batch; the module has the numbers of the layer."""
    options = {"schedule": causal_visibility, "max_query_positions": 30, "max_key_positions": 30}
    torch.manual_seed(0)
    layer = LinearAttention(16, 2, kind=kind, **options).double().eval()
    torch.manual_seed(0)
    module = AttentionSpec(kind, **options).build(16, 2, self_attention=True).double().eval()
    assert type(module) is MultiheadLinearAttention and module.kind is KINDS[kind]
    x = random(3, 12, 16)
    expected, _ = layer(x)
    q, k = (projection(x).unflatten(-1, (2, 8)) for projection in (layer.q_proj, layer.k_proj))
    weights = (squared(q / 8**0.5).transpose(1, 2) @ squared(k).permute(0, 2, 3, 1)).tril()
    if not KINDS[kind].proportions:
        assert_same(layer.weights(x), weights / weights.sum(-1, keepdim=True).clamp(min=0.1), what="the equation")
    assert_same(module(*[x.transpose(0, 1)] * 3, need_weights=False)[0].transpose(0, 1), expected, what="module")

    state, fairseqs = layer.zero_state(3), {}
    for i, token in enumerate(x.split(1, dim=1)):
        out, state = layer(token, state=state)
        assert_same(out, expected[:, i : i + 1], what=f"layer, token {i}")
        step = module(*[token.transpose(0, 1)] * 3, incremental_state=fairseqs, need_weights=False)[0]
        assert_same(step.transpose(0, 1), out, what=f"module, token {i}")

    ages = (3, 0, 8)
    states = [
        layer(x[n : n + 1, :age], state=layer.zero_state(1))[1] if age else layer.zero_state(1)
        for n, age in enumerate(ages)
    ]
    tokens = torch.cat([x[n : n + 1, age : age + 1] for n, age in enumerate(ages)])
    out, _ = layer(tokens, state=LayerState.merge(states))
    assert_same(out, torch.cat([expected[n : n + 1, age : age + 1] for n, age in enumerate(ages)]), what="ages")
