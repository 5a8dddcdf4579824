"""``algorithm="triton"``: what it is chosen for, how it cuts a schedule, and the kernels themselves in the interpreter.

On a GPU, tests/gpu/test_attention.py holds the kernels to ``naive``. Without one, Triton's interpreter can run them,
far more slowly: TRITON_INTERPRET=1, with triton 3.6 and numpy 2.3 (seen to break: triton 3.9, numpy 2.5).
"""

import os
import types

import pytest
import torch
from tolerances import assert_same

from leap_fairseq.attention import (
    LinearAttentionState,
    causal_visibility,
    full_visibility,
    prefix_attention,
    segment_visibility,
    triton_attention,
    waitk_visibility,
)
from leap_fairseq.attention.arguments import Arguments
from leap_fairseq.attention.backend import choose_algorithm

SCHEDULES = {
    "causal": causal_visibility(300, 300),
    "waitk": waitk_visibility(70, 300, lagging=3, ratio=2),
    "segment": segment_visibility(150, 150, segment=9),
    "full": full_visibility(200, 90),
    "nothing first": (torch.arange(150) - 75).clamp(min=0),
}


def chosen(
    dtype=torch.bfloat16, device="cuda", visible=None, half_life=None, dim=64, key_dtype=None, batch=2, pace=None
):
    """What ``auto`` is for tensors on a device: of these, only what says where and what they are."""
    q = types.SimpleNamespace(device=torch.device(device), dtype=dtype, shape=(batch, 700, 2, dim))
    k = types.SimpleNamespace(device=torch.device(device), dtype=key_dtype or dtype, shape=(batch, 700, 2, dim))
    visible = causal_visibility(700, 700) if visible is None else visible
    return choose_algorithm(Arguments(q, k, k, visible, None, None, None, 0.1, None, half_life, pace=pace))


def test_auto_on_a_gpu(monkeypatch):
    monkeypatch.setattr(triton_attention, "installed", lambda: True)
    assert chosen() == chosen(torch.float16) == chosen(torch.float32) == "triton"
    assert chosen(half_life=torch.tensor([2.0, 9.0])) == "triton"
    assert chosen(half_life=torch.tensor([2.0, 9.0]), pace=torch.rand(2, 700, 2)) == "triton"
    assert chosen(visible=segment_visibility(700, 700, segment=9)) == "triton"
    assert chosen(visible=full_visibility(700, 700)) == chosen(torch.float64) == chosen(dim=128) == "blockwise"
    assert chosen(key_dtype=torch.float32) == "blockwise"
    assert chosen(batch=2**15 - 1) == "triton" and chosen(batch=2**15) == "blockwise"
    monkeypatch.setattr(triton_attention, "installed", lambda: False)
    assert chosen() == "blockwise"


def test_without_a_gpu_it_is_refused(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    q = torch.rand(1, 9, 1, 8)
    with pytest.raises(ValueError, match='triton needs a GPU, Triton, heads of at most 64, .*: choose "auto"'):
        prefix_attention(q, q, q, causal_visibility(9, 9), algorithm="triton")


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_tiles_of_a_schedule(name):
    """Each query is in one tile, with the block in which its visible keys end."""
    visible = SCHEDULES[name]
    q = torch.rand(1, len(visible), 1, 8)
    plan = triton_attention.make_plan(Arguments(q, q, q, visible, None, None, None, 0.1, None, None))
    found = []
    for block in range(plan.blocks):
        for tile in range(int(plan.tiles_of[block]), int(plan.tiles_of[block + 1])):
            of, first, count = plan.tiles[tile].tolist()
            assert of == block and 1 <= count <= triton_attention.TILE
            found += range(first, first + count)
            limits = plan.limits[first : first + count]
            assert (limits <= triton_attention.BLOCK).all() and (limits[visible[first : first + count] > 0] > 0).all()
            assert torch.equal(limits + block * triton_attention.BLOCK, visible[first : first + count].int())
    assert found == list(range(len(visible))) and int(plan.tiles_of[-1]) == len(plan.tiles)


needs_interpreter = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1", reason="TRITON_INTERPRET=1 runs the kernels without GPU"
)


@needs_interpreter
@pytest.mark.parametrize("half_life", [None, torch.tensor([3, 60])])
@pytest.mark.parametrize("name", ["causal", "waitk", "nothing first"])
def test_the_kernels_in_the_interpreter(name, half_life):
    inputs, more = make_inputs(SCHEDULES[name])
    assert_equals_naive(inputs, {**more, "half_life": half_life})


@needs_interpreter
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("reweighted, padded, continued", [(True, True, False), (False, False, True)])
@pytest.mark.parametrize("name", ["causal", "segment", "waitk", "full", "nothing first"])
def test_paces_in_the_interpreter(name, reweighted, padded, continued, dtype):
    inputs, more = make_inputs(SCHEDULES[name][:150], reweighted, padded, continued, paced=True, dtype=dtype)
    assert_equals_naive(inputs, {**more, "half_life": torch.tensor([3, 60])}, dtype)


@needs_interpreter
def test_paces_over_more_blocks_than_are_carried_at_once():
    """Blocks are carried 16 at a time; and one key that makes a head forget all before it leaves a time few digits."""
    inputs, more = make_inputs(causal_visibility(1100, 1100), reweighted=False, padded=False, paced=True, batch=1)
    inputs["pace"][:, 500] = 3e7
    more["half_life"] = torch.tensor([30, 900])
    assert_equals_naive(inputs, more)
    found = run("triton", inputs, more)["out"]
    del inputs["pace"]
    with pytest.raises(AssertionError):
        assert_same(found, run("naive", inputs, more)["out"], torch.float32)


def make_inputs(visible, reweighted=True, padded=True, continued=False, paced=False, batch=2, dtype=torch.float32):
    """Leaves by name, and further arguments; keys that no query sees, and junk where there is padding."""
    generator, queries, keys = torch.Generator().manual_seed(0), len(visible), int(visible[-1]) + 20

    def rand(*shape):
        return torch.rand(batch, *shape, generator=generator)

    inputs = {"q": rand(queries, 2, 8), "k": rand(keys, 2, 8), "v": rand(keys, 2, 5)}
    inputs = {name: x.to(dtype) for name, x in inputs.items()}
    if reweighted:
        inputs.update(query_proportion=rand(queries, 2), key_proportion=rand(keys, 2))
    if paced:
        # Some keys do not count at all.
        inputs["pace"] = 3 * rand(keys, 2).sub(0.2).relu()
    more = {"visible": visible}
    if padded:
        more["key_padding_mask"] = padding = torch.zeros(batch, keys, dtype=torch.bool)
        padding[-1, :9] = padding[-1, keys // 2 : keys // 2 + 9] = True
        for name in inputs.keys() & {"k", "v", "key_proportion", "pace"}:
            inputs[name][padding] = torch.inf
    if continued:
        more["initial_state"] = 9 * rand(2, 16 if reweighted else 8, 6)
    return inputs, more


def run(algorithm, inputs, more):
    """The output and all gradients; naive in float64."""
    types = {name: torch.float64 if algorithm == "naive" else x.dtype for name, x in inputs.items()}
    leaves = {name: x.to(types[name]).requires_grad_() for name, x in inputs.items()}
    if "initial_state" in more:
        state = more["initial_state"].to(torch.promote_types(types["q"], torch.float32))
        more = {**more, "initial_state": LinearAttentionState(state)}
    out = prefix_attention(**leaves, **more, algorithm=algorithm)
    cotangent = torch.linspace(-1, 1, out.numel()).to(out).view(out.shape) + out.detach()
    return {"out": out, **dict(zip(leaves, torch.autograd.grad(out, list(leaves.values()), cotangent)))}


def assert_equals_naive(inputs, more, dtype=torch.float32):
    found, expected = (run(name, inputs, more) for name in ("triton", "naive"))
    for name, x in expected.items():
        assert_same(found[name], x, dtype, name)
