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


def chosen(dtype=torch.bfloat16, device="cuda", visible=None, half_life=None, dim=64, key_dtype=None, batch=2):
    """What ``auto`` is for tensors on a device: of these, only what says where and what they are."""
    q = types.SimpleNamespace(device=torch.device(device), dtype=dtype, shape=(batch, 700, 2, dim))
    k = types.SimpleNamespace(device=torch.device(device), dtype=key_dtype or dtype, shape=(batch, 700, 2, dim))
    visible = causal_visibility(700, 700) if visible is None else visible
    return choose_algorithm(Arguments(q, k, k, visible, None, None, None, 0.1, None, half_life))


def test_auto_on_a_gpu(monkeypatch):
    monkeypatch.setattr(triton_attention, "installed", lambda: True)
    assert chosen() == chosen(torch.float16) == chosen(torch.float32) == "triton"
    assert chosen(half_life=torch.tensor([2.0, 9.0])) == "triton"
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


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="TRITON_INTERPRET=1 runs the kernels without GPU")
@pytest.mark.parametrize("half_life", [None, torch.tensor([3, 60])])
@pytest.mark.parametrize("name", ["causal", "waitk", "nothing first"])
def test_the_kernels_in_the_interpreter(name, half_life):
    visible, generator = SCHEDULES[name], torch.Generator().manual_seed(0)
    queries, keys = len(visible), int(visible[-1]) + 20
    shapes = [(2, queries, 2, 8), (2, keys, 2, 8), (2, keys, 2, 5), (2, queries, 2), (2, keys, 2)]
    inputs = [torch.rand(shape, generator=generator) for shape in shapes]
    padding = torch.zeros(2, keys, dtype=torch.bool)
    padding[1, :9] = True
    found = {}
    for algorithm, dtype in (("triton", torch.float32), ("naive", torch.float64)):
        q, k, v, p_q, p_k = leaves = [x.to(dtype).requires_grad_() for x in inputs]
        more = {"query_proportion": p_q, "key_proportion": p_k, "key_padding_mask": padding, "half_life": half_life}
        out = prefix_attention(q, k, v, visible, algorithm=algorithm, **more)
        found[algorithm] = [out, *torch.autograd.grad(out.square().sum(), leaves)]
    for one, other in zip(found["triton"], found["naive"]):
        assert_same(one, other, torch.float32)
