"""A source that each step gives again: whether it is the one that was read, and how often that is asked."""

from contextlib import contextmanager

import pytest
import torch
from tolerances import assert_same
from torch.utils._python_dispatch import TorchDispatchMode

from leap_fairseq.attention import full_visibility
from leap_fairseq.modules import AttentionSpec
from leap_fairseq.modules.source_memory import Seen, SourceMemory

EACH_KIND = pytest.mark.parametrize("kind", ["leap", "softmax"])
ORDER = torch.tensor([2, 0, 0])


def layers(kind, count=1):
    torch.manual_seed(0)
    spec = AttentionSpec(kind, schedule=full_visibility, max_query_positions=50, max_key_positions=50)
    sizes = {"encoder_decoder_attention": True, "kdim": 16, "vdim": 16}
    return [spec.build(32, 4, **sizes).eval() for _ in range(count)]


def source():
    """Keys, values and padding of three rows."""
    padding = torch.arange(9) >= torch.tensor([[9], [7], [5]])
    return torch.randn(9, 3, 16), torch.randn(9, 3, 16), padding


def attend(module, x, key, value, padding, **options):
    return module(x, key, value, key_padding_mask=padding, need_weights=False, static_kv=True, **options)[0]


@EACH_KIND
@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("changed", ["key", "value", "padding"])
@pytest.mark.parametrize("reordered", [False, True])
def test_a_change_in_place_is_seen(kind, inference, changed, reordered):
    (module,) = layers(kind)
    with torch.inference_mode(inference), torch.no_grad():
        (key, value, padding), x, state = source(), torch.randn(2, 3, 32), {}
        given = dict(zip(("key", "value", "padding"), (key, value, padding)))
        attend(module, x[:1], **given, incremental_state=state)
        given["padding"][:, 3:] = True if changed == "padding" else given["padding"][:, 3:]
        if changed != "padding":
            given[changed].neg_()
        if reordered:
            module.reorder_incremental_state(state, ORDER)
            given = {name: each[ORDER] if name == "padding" else each[:, ORDER] for name, each in given.items()}
        assert_same(attend(module, x[1:], **given, incremental_state=state), attend(module, x, **given)[1:])


class Count(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls.append(function)
        return function(*args, **(kwargs or {}))


@contextmanager
def counted(operation, times):
    with Count() as count:
        yield
    assert count.calls.count(operation) == times


@EACH_KIND
@torch.no_grad()
def test_layers_compare_and_reorder_their_source_once(kind):
    """Of a beam search: three layers are given the same tensors, in each step new ones."""
    modules, state, (key, _, padding) = layers(kind, 3), {}, source()
    aten, order = torch.ops.aten, torch.tensor([0, 1, 2])
    for step in range(3):
        key, padding = key.clone(), padding.clone()
        x = torch.randn(1, 3, 32)
        # The keys, and the padding.
        with counted(aten.equal.default, 2 if step else 0):
            for module in modules:
                attend(module, x, key, key, padding, incremental_state=state)
        assert len({id(held) for held in state.values() if isinstance(held, SourceMemory)}) == 1
        with Count() as count:
            for module in modules:
                module.reorder_incremental_state(state, order)
        # A state is two tensors; of the source, keys and padding.
        assert kind == "softmax" or count.calls.count(aten.index_select.default) == 3 * 2 + 2


def test_what_was_found_for_other_tensors_is_found_anew():
    key, value, padding = source()
    memory = SourceMemory.of(key, value, padding)
    same = [each.clone() for each in (key, value, padding)]
    assert memory.begins(*same, 9) and memory.begins(*same, 9)
    same[0][-1] += 1
    assert not memory.begins(*same, 9) and memory.begins(*same, 8)
    order = ORDER.clone()
    assert torch.equal(memory.reorder(order).value, value[:, ORDER])
    order.fill_(1)
    assert torch.equal(memory.reorder(order).value, value[:, order])
    assert SourceMemory.of(key, value, padding, [None, memory]) is memory
    value.neg_()
    assert SourceMemory.of(key, value, padding, [None, memory]) is not memory
    assert not memory.begins(key, value, padding, 9) and not memory.reorder(ORDER).begins(*memory.seen.tensors, 9)


def test_in_inference_mode_nothing_is_known_to_be_the_same():
    with torch.inference_mode():
        key = torch.randn(3, 1, 2)
        seen = Seen.of(key, None)
        assert seen.unchanged() and not seen.are(key, None)
    assert Seen.of(None, torch.ones(1)).versions == (0, 0)
