"""Whatever the public functions of the core are given: the right result, or a ValueError; never a crash, never junk.

A call is drawn at random: sizes from 0 on, types, layouts in memory, options. Right calls must be answered as ``naive``
answers plain copies of them in float64; calls with a fault somewhere, by all algorithms alike.
"""

import math

import pytest
import torch
from drawn import OTHER_TYPES, TYPES, drawn
from hypothesis import given
from hypothesis import strategies as st
from tolerances import assert_same

from leap_fairseq.attention import (
    ALGORITHMS,
    LinearAttentionState,
    attention_weights,
    full_visibility,
    prefix_attention,
)
from leap_fairseq.attention.compiled_library import native_library


def negated(x):
    """The same numbers as torch keeps those that it has still to negate."""
    if x.dtype not in TYPES[:2]:
        return x
    return torch.complex(torch.zeros_like(x), -x).conj().imag


KNOW_ALL = ("auto", "naive", "blockwise", "state", *(["compiled"] if native_library() else []))
LAYOUTS = {
    "plain": lambda x: x,
    "turned": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
    "spread": lambda x: torch.stack((x, x), -1)[..., 0],
    "moved": lambda x: torch.cat((x.new_zeros(3), x.flatten()))[3:].view(x.shape),
    "expanded": lambda x: x[:1].expand_as(x) if len(x) else x,
    "negated": negated,
}
SHAPES = [
    lambda x: x[None],
    lambda x: x.flatten(),
    lambda x: torch.tensor(1).to(x.dtype),
    lambda x: x[:1],
    lambda x: x[..., :-1],
    lambda x: torch.cat((x, x)),
    lambda x: torch.cat((x, x), -1),
    lambda x: torch.cat((x, x), x.dim() // 2),
]
OBJECTS = [lambda x: x.to("meta"), lambda x: x.to_sparse(), lambda x: x.tolist(), lambda x: 1.0]


@st.composite
def calls(draw, faulty):
    """Arguments of prefix_attention."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    few = {"B": [2, 1, 0], "H": [2, 3, 0], "K": [4, 17, 0], "V": [3, 8, 0], "T": [5, 1, 0, 66, 130]}
    sizes = {letter: draw(st.sampled_from(several)) for letter, several in {**few, "S": few["T"]}.items()}
    dtype = draw(st.sampled_from(TYPES))

    def rand(letters, kind=dtype):
        x = torch.rand([sizes[letter] for letter in letters], generator=generator, dtype=torch.float64).to(kind)
        return LAYOUTS[draw(st.sampled_from([*LAYOUTS]))](x)

    reweighted = draw(st.booleans())
    arguments = {"q": rand("BTHK"), "k": rand("BSHK"), "v": rand("BSHV")}
    visible = torch.randint(0, sizes["S"] + 1, (sizes["T"],), generator=generator).sort().values
    small = sizes["S"] < 100
    arguments["visible"] = visible.to(draw(st.sampled_from([torch.int64, torch.int32, *[torch.uint8] * small])))
    if reweighted:
        arguments |= {"query_proportion": rand("BTH"), "key_proportion": rand("BSH")}
    if draw(st.booleans()):
        arguments["key_padding_mask"] = rand("BS", torch.float64) < 0.3
    if draw(st.booleans()):
        sizes |= {"F": sizes["K"] * (1 + reweighted), "W": sizes["V"] + 1}
        arguments["initial_state"] = rand("BHFW", torch.promote_types(dtype, torch.float32))
    if draw(st.booleans()):
        arguments["half_life"] = rand("H", torch.float32) * 9 + 1
        if draw(st.booleans()):
            arguments["pace"] = rand("BSH") * 3
    arguments["normalizer_floor"] = draw(st.sampled_from([0.1, 2.0, 1e-9]))
    if faulty:
        name = draw(st.sampled_from([*arguments]))
        arguments[name] = draw(st.sampled_from(faults_of(name, arguments[name], sizes["S"])))
    return arguments


def faults_of(name, x, num_keys):
    """What may be given in place of an argument; some of it is right nevertheless."""
    if name == "normalizer_floor":
        return [0.0, -1.0, math.nan, 1e-300, 1e-40, math.inf]
    shapes = [change(x) for change in SHAPES if x.dim() and 0 not in x.shape] + [x.new_zeros(2, 2)]
    wrong = [*shapes, *(x.to(other) for other in (*TYPES, *OTHER_TYPES)), *(change(x) for change in OBJECTS)]
    if name == "visible":
        wrong += [x + num_keys + 1, x - 1 - num_keys, x.flip(0), x.double()]
    if name in ("initial_state", "half_life"):
        wrong += [x * math.nan, x - math.inf, x * 1e-300]
    return wrong + [None]


def outcome(algorithm, arguments):
    """The output and, of floating inputs, the gradients; or the ValueError."""
    try:
        named = dict(arguments)
        if named.get("initial_state") is not None:
            named["initial_state"] = LinearAttentionState(named["initial_state"])
        leaves = [name for name in "qkv" if isinstance(named[name], torch.Tensor) and named[name].is_floating_point()]
        named |= {name: named[name].detach().requires_grad_() for name in leaves}
        out = prefix_attention(algorithm=algorithm, **named)
        return [out, *torch.autograd.grad(out.sum(), [named[name] for name in leaves])]
    except ValueError as error:
        return error


def copied(x):
    if not isinstance(x, torch.Tensor):
        return x
    return x.resolve_neg().contiguous().clone().to(torch.float64 if x.is_floating_point() else x.dtype)


def assert_outcomes(arguments, faulty):
    """That all algorithms answer alike, and right calls as naive does plain copies in float64."""
    expected = outcome("naive", arguments)
    if not faulty:
        truth = outcome("naive", {name: copied(x) for name, x in arguments.items()})
        for one, other in zip(expected, truth, strict=True):
            assert_same(one, other, arguments["v"].dtype)
    for algorithm in ("auto", *(name for name in ALGORITHMS if name != "naive")):
        actual = outcome(algorithm, arguments)
        if isinstance(expected, ValueError):
            assert isinstance(actual, ValueError), f"{algorithm} accepts what naive refuses: {expected}"
        elif isinstance(actual, ValueError):
            assert algorithm not in KNOW_ALL, actual
        else:
            for one, other in zip(actual, expected, strict=True):
                assert one.dtype == other.dtype
                assert_same(one, other, what=algorithm)


def each_call(examples, check=assert_outcomes):
    for faulty in (False, True):
        drawn(examples)(given(calls(faulty))(lambda arguments: check(arguments, faulty)))()  # noqa: B023


def assert_weights(arguments, faulty):
    """That the weights of inspection are those of the output, or refused as it is."""
    named = {name: x for name, x in arguments.items() if name not in ("v", "initial_state")}
    try:
        weights = attention_weights(**named)
    except ValueError:
        assert faulty
        return
    v = torch.rand(*named["k"].shape[:3], 2, dtype=torch.float64).to(named["q"].dtype)
    expected = prefix_attention(**named, v=v, algorithm="naive")
    mask = named.get("key_padding_mask")
    v = v if mask is None else v.masked_fill(mask[..., None, None], 0)
    assert_same(torch.einsum("bhts,bshv->bthv", weights, v.to(weights.dtype)).to(v.dtype), expected)


def test_prefix_attention():
    each_call(25)


def test_attention_weights():
    each_call(15, assert_weights)


@pytest.mark.slow
def test_prefix_attention_at_length():
    each_call(150)
    each_call(80, assert_weights)


def test_the_control_that_other_results_and_exceptions_are_seen(monkeypatch):
    right = ALGORITHMS["blockwise"]
    monkeypatch.setitem(ALGORITHMS, "blockwise", lambda given: right(given) * 1.1)
    with pytest.raises(AssertionError):
        each_call(20)
    monkeypatch.undo()
    # Compiled code is spared what would be wrong.
    monkeypatch.delitem(ALGORITHMS, "compiled")
    monkeypatch.setattr("leap_fairseq.attention.backend.can_compile", lambda given: False)
    monkeypatch.setattr("leap_fairseq.attention.arguments.check_keys", lambda *_: None)
    with pytest.raises((RuntimeError, AttributeError, TypeError, IndexError, AssertionError)):
        each_call(40)


@st.composite
def steps(draw):
    """A call for a state of two rows: sizes that fit it or not, and the faults of its tensors."""
    arguments = draw(calls(draw(st.booleans())))
    return {name: arguments.get(name) for name in (*"qkv", "query_proportion", "key_proportion", "key_padding_mask")}


def assert_state(arguments):
    """That a state of what fits the tokens reads as naive does, and that any state refuses what does not fit."""
    q, k, v, p_q, p_k, mask = arguments.values()
    dtype = k.dtype if isinstance(k, torch.Tensor) and k.dtype in TYPES else torch.float32
    factor = 1 if p_k is None else 2
    fitting = [1, 1, factor, 1]
    if all(isinstance(x, torch.Tensor) and x.dim() == 4 for x in (k, v)):
        fitting = [len(k), k.shape[2], factor * k.shape[3], v.shape[3]]
    for sizes in (fitting, [2, 2, 8, 3]):
        state = LinearAttentionState.zeros(*sizes, dtype=dtype)
        try:
            out = state.absorb(k, v, p_k, mask).read(q, p_q)
        except ValueError:
            continue
        visible = full_visibility(q.shape[1], k.shape[1])
        options = {"query_proportion": p_q, "key_proportion": p_k, "key_padding_mask": mask}
        expected = prefix_attention(q, k, v, visible, **options, algorithm="naive")
        assert_same(out, expected.to(out.dtype))
        one = [x if x is None else x[:, :1] for x in (q, k, v, p_q, p_k)]
        if all(x is None or x.shape[1] == 1 for x in one):
            out, after = state.step(*one)
            assert_same(out, state.absorb(one[1], one[2], one[4]).read(one[0], one[3]).to(out.dtype))
            assert_same(after.kvz, state.absorb(one[1], one[2], one[4]).kvz)


@drawn(40)
@given(steps())
def test_states(arguments):
    assert_state(arguments)


@pytest.mark.slow
@drawn(400)
@given(steps())
def test_states_at_length(arguments):
    assert_state(arguments)
