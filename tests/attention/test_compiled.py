"""The compiled code beside its equality with ``naive`` (test_algorithms.py): gradients, layouts, threads, fallback."""

import ctypes
import functools
import itertools
import logging
import shutil
from pathlib import Path

import pytest
import torch
from tolerances import assert_same

from leap_fairseq.attention import (
    LinearAttentionState,
    causal_visibility,
    full_visibility,
    prefix_attention,
    segment_visibility,
    waitk_visibility,
)
from leap_fairseq.attention import compiled_library as module
from leap_fairseq.attention.backend import ALGORITHMS
from leap_fairseq.attention.compiled import compiled

built = pytest.mark.skipif(module.native_library() is None, reason="installed without a C++ compiler")


def make(t, s, heads=2, key_dim=20, value_dim=12, batch=2, dtype=torch.float64):
    generator = torch.Generator().manual_seed(t + s)

    def rand(*shape):
        return torch.rand(shape, generator=generator, dtype=dtype).requires_grad_()

    sizes = ((t, key_dim), (s, key_dim), (s, value_dim))
    q, k, v = (rand(batch, length, heads, dim) for length, dim in sizes)
    return q, k, v, {"query_proportion": rand(batch, t, heads), "key_proportion": rand(batch, s, heads)}


def cotangent_of(out):
    return torch.randn(out.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(out.dtype)


def everything(q, k, v, proportions, visible, algorithm, **options):
    """Output and gradients."""
    out = prefix_attention(q, k, v, visible, algorithm=algorithm, **proportions, **options)
    leaves = {"q": q, "k": k, "v": v, **proportions}
    state = options.get("initial_state")
    if state is not None and state.kvz.requires_grad:
        leaves["initial_state"] = state.kvz
    gradients = torch.autograd.grad(out, list(leaves.values()), cotangent_of(out))
    return {"out": out, **dict(zip(leaves, gradients))}


def assert_all_same(actual, expected):
    for (name, one), other in zip(actual.items(), expected.values(), strict=True):
        assert_same(one, other, what=name)


@built
@pytest.mark.parametrize(
    "visible, s",
    [
        (causal_visibility(70, 70), 70),
        (segment_visibility(70, 66, segment=9), 66),
        (waitk_visibility(30, 90, lagging=2, ratio=3), 90),
        (torch.tensor([0, 0, 3, 65, 65, 128]), 130),
    ],
)
@pytest.mark.parametrize(
    "half_life, paced", [(None, False), (torch.tensor([20.0]), False), (torch.tensor([3.0]), True)]
)
def test_gradients_are_those_of_finite_differences(visible, s, half_life, paced):
    q, k, v, proportions = make(len(visible), s, heads=1, key_dim=3, value_dim=2, batch=1)
    kvz = torch.rand(1, 1, 6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    padding = torch.zeros(1, s, dtype=torch.bool)
    padding[0, 1] = padding[0, s - 1] = True

    if paced:
        proportions["pace"] = torch.linspace(0.1, 4, s, dtype=torch.float64).view(1, s, 1).requires_grad_()

    def function(*tensors):
        options = {"initial_state": LinearAttentionState(tensors[3]), "half_life": half_life}
        options.update(zip(proportions, tensors[4:]))
        return prefix_attention(*tensors[:3], visible, algorithm="compiled", key_padding_mask=padding, **options)

    assert torch.autograd.gradcheck(function, (q, k, v, kvz, *proportions.values()))


@built
@pytest.mark.parametrize("family", module.families())
@pytest.mark.parametrize("key_dim, value_dim", [(1, 1), (3, 5), (16, 16), (20, 12), (64, 64), (130, 33)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_size_of_a_head(family, key_dim, value_dim, dtype, monkeypatch):
    """With the code for each instruction set that this processor has."""
    chosen = functools.partial(compiled, family=module.families().index(family))
    monkeypatch.setitem(ALGORITHMS, "compiled", chosen)
    q, k, v, proportions = make(130, 130, 3, key_dim, value_dim, dtype=dtype)
    state = LinearAttentionState(torch.rand(2, 3, 2 * key_dim, value_dim + 1, dtype=dtype))
    visible = causal_visibility(130, 130)
    reference = [x.detach().double().requires_grad_() for x in (q, k, v, *proportions.values())]
    expected = everything(
        *reference[:3],
        dict(zip(proportions, reference[3:])),
        visible,
        "naive",
        initial_state=LinearAttentionState(state.kvz.double()),
    )
    actual = everything(q, k, v, proportions, visible, "compiled", initial_state=state)
    assert_all_same(actual, {name: x.to(dtype) for name, x in expected.items()})


@built
@pytest.mark.parametrize("family", module.families())
@pytest.mark.parametrize("key_dim, value_dim", [(1, 1), (20, 12), (64, 64)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("contrast", [None, torch.tensor([0.3, 0.0, 0.9])])
def test_paces_by_each_instruction_set(family, key_dim, value_dim, dtype, contrast, monkeypatch):
    """Over more than a stretch of keys, of which each counts for 0 to 5 others, and a few for all others together."""
    chosen = functools.partial(compiled, family=module.families().index(family))
    monkeypatch.setitem(ALGORITHMS, "compiled", chosen)
    q, k, v, _ = make(600, 600, 3, key_dim, value_dim, dtype=dtype)
    pace = 5 * torch.rand(2, 600, 3, dtype=dtype)
    pace[:, ::50] = 1e7
    given = {"pace": pace.requires_grad_()}
    if contrast is not None:
        given["contrast"] = contrast.to(dtype).requires_grad_()
    visible, half_life = segment_visibility(600, 600, segment=5), torch.tensor([1.0, 90.0, 2000.0])
    reference = [x.detach().double().requires_grad_() for x in (q, k, v, *given.values())]
    expected = everything(*reference[:3], dict(zip(given, reference[3:])), visible, "naive", half_life=half_life)
    given = {name: x.detach().requires_grad_() for name, x in given.items()}
    actual = everything(q, k, v, given, visible, "compiled", half_life=half_life)
    assert_all_same(actual, {name: x.to(dtype) for name, x in expected.items()})


@pytest.fixture
def nothing_is_left_unwritten():
    """New memory holds nan until something is written there."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(1).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


STRETCHES = {
    "causal": (causal_visibility(1100, 1100), 1100),
    "keys that no query sees": (segment_visibility(1100, 1300, segment=90), 1300),
    "fewer queries than blocks": (waitk_visibility(150, 1350, lagging=5, ratio=9), 1350),
    "a stretch in which no prefix ends": (torch.tensor([0, 0, 3, 70, 70, *[1200] * 200]), 1210),
    "all in the last block": (full_visibility(90, 1100), 1100),
    "nothing is seen": (torch.zeros(5, dtype=torch.long), 600),
}


@functools.cache
def stretches(name, reweighted, aging, initial):
    """Arguments of `everything`, and what naive makes of them; once, whether the state has a gradient or not."""
    visible, s = STRETCHES[name]
    q, k, v, proportions = make(len(visible), s, heads=3, key_dim=8, value_dim=5)
    padding = torch.zeros(2, s, dtype=torch.bool)
    padding[0, s - 40 :] = padding[1, 520] = padding[1, 0] = True
    given = (q, k, v, proportions if reweighted else {}, visible)
    options = {"key_padding_mask": padding, "half_life": torch.tensor([1.0, 90.0, 2000.0]) if aging else None}
    if initial:
        kvz = torch.rand(2, 3, 8 * (1 + reweighted), 6, dtype=torch.float64, requires_grad=True)
        options["initial_state"] = LinearAttentionState(kvz)
    return given, options, head_by_head(*given, **options)


def head_by_head(q, k, v, proportions, visible, key_padding_mask, half_life, initial_state=None):
    """As `everything` by naive; weights of all heads at once are memory that the system clears each time."""
    leaves = {"q": q, "k": k, "v": v, **proportions}
    if initial_state is not None:
        leaves["initial_state"] = initial_state.kvz
    out = torch.empty(*q.shape[:3], v.shape[-1], dtype=v.dtype)
    gradients = {name: torch.zeros_like(x) for name, x in leaves.items()}
    cotangent = cotangent_of(out)
    for row, head in itertools.product(range(len(q)), range(q.shape[2])):
        one = slice(row, row + 1), slice(None), slice(head, head + 1)
        parts = {name: x[one[::2] if name == "initial_state" else one] for name, x in leaves.items()}
        options = {name: parts[name] for name in proportions}
        if initial_state is not None:
            options["initial_state"] = LinearAttentionState(parts["initial_state"])
        if half_life is not None:
            options["half_life"] = half_life[one[2]]
        part = prefix_attention(
            *(parts[name] for name in "qkv"),
            visible,
            key_padding_mask=key_padding_mask[one[0]],
            algorithm="naive",
            **options,
        )
        out[one] = part.detach()
        for name, gradient in zip(leaves, torch.autograd.grad(part, list(leaves.values()), cotangent[one])):
            gradients[name] += gradient
    return {"out": out, **gradients}


@built
@pytest.mark.parametrize("name", STRETCHES)
@pytest.mark.parametrize("initial", [None, "given", "with a gradient"])
@pytest.mark.parametrize("reweighted", [False, True])
@pytest.mark.parametrize("aging", [False, True])
def test_stretch_after_stretch(name, initial, reweighted, aging, nothing_is_left_unwritten):
    (*given, proportions, visible), options, expected = stretches(name, reweighted, aging, bool(initial))
    options, expected = dict(options), dict(expected)
    if initial == "given":
        options["initial_state"] = LinearAttentionState(options["initial_state"].kvz.detach())
        del expected["initial_state"]
    assert_all_same(everything(*given, proportions, visible, "compiled", **options), expected)
    with torch.no_grad():
        out = prefix_attention(*given, visible, algorithm="compiled", **proportions, **options)
    assert_same(out, expected["out"], what="out without a backward pass")


@built
def test_layout_of_the_inputs_does_not_matter():
    q, k, v, proportions = make(70, 90)
    visible = full_visibility(70, 90)
    expected = everything(q, k, v, proportions, visible, "compiled")
    turned = [x.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_() for x in (q, k, v)]
    spread = [torch.stack((x.detach(), x.detach()), -1)[..., 0].requires_grad_() for x in (q, k, v)]
    for inputs in (turned, spread):
        assert not inputs[0].is_contiguous()
        assert_all_same(everything(*inputs, proportions, visible, "compiled"), expected)


@built
def test_number_of_threads_and_batch_do_not_matter():
    q, k, v, proportions = make(600, 600, heads=5)
    visible, threads = causal_visibility(600, 600), torch.get_num_threads()
    results = []
    try:
        for number in (1, 2, 5, 16):
            torch.set_num_threads(number)
            results.append(everything(q, k, v, proportions, visible, "compiled"))
    finally:
        torch.set_num_threads(threads)
    for result in results[1:]:
        assert all(torch.equal(one, results[0][name]) for name, one in result.items())
    alone = [x[1:].detach().requires_grad_() for x in (q, k, v)]
    out = prefix_attention(*alone, visible, algorithm="compiled", **{n: p[1:] for n, p in proportions.items()})
    assert torch.equal(out[0], results[0]["out"][1])


@built
def test_states_are_kept_for_gradients_alone(monkeypatch):
    q, k, v, _ = make(70, 70)
    options = {"visible": causal_visibility(70, 70), "contrast": torch.ones(2, dtype=q.dtype, requires_grad=True)}
    expected = prefix_attention(q, k, v, **options)
    monkeypatch.setattr("leap_fairseq.attention.compiled._empty_states", lambda *sizes: pytest.fail("room for states"))
    with torch.no_grad():
        assert_same(prefix_attention(q, k, v, **options), expected)
    with pytest.raises(pytest.fail.Exception, match="room for states"):
        prefix_attention(q, k, v, **options)


@built
def test_empty_and_one():
    for t, s in ((0, 5), (1, 1)):
        q, k, v, proportions = make(t, s)
        visible = full_visibility(t, s)
        assert_all_same(
            everything(q, k, v, proportions, visible, "compiled"), everything(q, k, v, proportions, visible, "naive")
        )


@built
def test_auto_takes_it_where_it_can(monkeypatch):
    q, k, v, proportions = make(20, 20)
    visible, calls = causal_visibility(20, 20), []

    def noted(name):
        function = ALGORITHMS[name]
        return lambda given: calls.append(name) or function(given)

    for name in ("compiled", "naive", "blockwise"):
        monkeypatch.setitem(ALGORITHMS, name, noted(name))
    prefix_attention(q, k, v, visible, **proportions)
    prefix_attention(q, k, v, visible, half_life=torch.ones(2), **proportions)
    state = LinearAttentionState(torch.rand(2, 2, 40, 13, dtype=torch.float64).requires_grad_())
    prefix_attention(q, k, v, visible, initial_state=state, **proportions)
    assert calls == ["compiled"] * 3
    monkeypatch.setattr("leap_fairseq.attention.compiled.native_library", lambda: None)
    prefix_attention(q, k, v, visible, **proportions)
    assert calls == ["compiled"] * 3 + ["naive"]
    with pytest.raises(ValueError, match='installed with a C.. compiler: choose "auto"'):
        prefix_attention(q, k, v, visible, algorithm="compiled", **proportions)


@built
def test_the_library_refuses_what_cannot_be():
    """Beside the checks in Python: no pointers, sizes that are none, a schedule that leaves the keys."""
    library, visible, numbers = module.native_library(), torch.tensor([1, 2]), torch.zeros(64)

    def status(sizes=(1, 1, 2, 2, 4, 4), given=visible, numbers=numbers, family=0, **changed):
        problem = module.Problem(*sizes, False, given.data_ptr(), floor=0.1, threads=1)
        for name in ("q", "k", "v", "out", "denominator"):
            setattr(problem, name, numbers.data_ptr() or None)
        for name, value in changed.items():
            setattr(problem, name, value)
        return library.leap_attend(ctypes.byref(problem), 0, changed.get("out_gradient") is not None, family)

    assert status() == 0
    for sizes in (
        (0, 1, 2, 2, 4, 4),
        (1, 1, -2, 2, 4, 4),
        (1, 1, 2, 1, 4, 4),
        (1, 1, 2, 2, 8193, 4),
        (2**62, 1, 2, 2, 4, 4),
    ):
        assert status(sizes) == 1
    assert status(given=visible.flip(0)) == status(given=visible - 2) == status(numbers=torch.zeros(0)) == 1
    assert status(family=99) == status(family=-1) == status(threads=0) == status(reweighted=1) == 1
    assert status(out_gradient=numbers.data_ptr()) == 1
    for sizes in ((1, 1, 1, 0, 4, 4), (1, 1, 0, 1, 4, 4), (0, 1, 0, -1, 4, 4), (0, 1, 1, 1, 8193, 4)):
        assert library.leap_step(ctypes.byref(module.Step(*sizes, 0, 0.1)), 0, 0) == 1
    nothing = module.Step(0, 1, 1, 1, 4, 4, 0, 0.1)
    assert library.leap_step(ctypes.byref(nothing), 0, 0) == 0
    assert library.leap_step(ctypes.byref(nothing), 0, 99) == 1
    for number, error in ((1, ValueError), (2, MemoryError)):
        with pytest.raises(error, match="compiled code"):
            module.check_status(number)


@built
def test_heads_beyond_the_library_are_left_to_torch():
    q = torch.rand(1, 2, 1, module.LARGEST_HEAD + 1)
    visible = causal_visibility(2, 2)
    assert_same(prefix_attention(q, q, q, visible), prefix_attention(q, q, q, visible, algorithm="naive"))
    with pytest.raises(ValueError, match=f"heads of at most {module.LARGEST_HEAD}"):
        prefix_attention(q, q, q, visible, algorithm="compiled")


@pytest.fixture
def elsewhere(monkeypatch):
    """A function: makes the package look for its library in another folder."""

    def look(folder):
        module.native_library.cache_clear()
        monkeypatch.setattr(module, "__file__", str(folder / "compiled_library.py"))

    yield look
    monkeypatch.undo()
    module.native_library.cache_clear()


def test_without_the_library_torch_computes_and_says_so_once(elsewhere, tmp_path, caplog):
    elsewhere(tmp_path)
    q, k, v, proportions = make(20, 20)
    visible = causal_visibility(20, 20)
    with caplog.at_level(logging.INFO):
        outs = [prefix_attention(q, k, v, visible, **proportions) for _ in range(2)]
    assert_same(outs[0], prefix_attention(q, k, v, visible, algorithm="naive", **proportions), what="out")
    assert caplog.text.count("linear attention on the CPU: torch; a C++ compiler at installation") == 1
    with pytest.raises(ValueError, match="was installed with a C"):
        prefix_attention(q, k, v, visible, algorithm="compiled", **proportions)


def test_a_library_that_cannot_be_loaded_is_named(elsewhere, tmp_path, caplog):
    (tmp_path / module.LIBRARY).write_bytes(b"\x7fELF torn")
    elsewhere(tmp_path)
    assert module.native_library() is None
    assert "cannot load the compiled code, install again" in caplog.text


@built
def test_a_library_of_other_sources_than_those_beside_it_is_refused(elsewhere, tmp_path, caplog):
    """As after an update of a clone without another installation: the answers would be those of before."""
    (tmp_path / module.LIBRARY).symlink_to(Path(module.__file__).with_name(module.LIBRARY))
    sources = shutil.copytree(Path(module.__file__).with_name("native"), tmp_path / "native")
    elsewhere(tmp_path)
    assert module.native_library() is not None and not caplog.text
    with open(sources / "step.h", "a") as file:
        file.write("// mended\n")
    elsewhere(tmp_path)
    assert module.native_library() is None
    assert "was built from other sources" in caplog.text


@built
def test_the_library_of_another_python_is_not_looked_at(elsewhere, tmp_path, caplog):
    """A folder that a container shares with its host, or that two environments are installed from."""
    (tmp_path / "_native.another.so").write_bytes(b"\x7fELF torn")
    (tmp_path / module.LIBRARY).symlink_to(Path(module.__file__).with_name(module.LIBRARY))
    elsewhere(tmp_path)
    assert module.native_library() is not None and not caplog.text
