"""Training and inference on the CPU by compiled code, which keeps a block of keys and the state in cache.

The library in ``native/`` is built when the package is installed and a C++ compiler is there; without it, or for what
it does not know (a half-life, a GPU), the algorithms in torch compute the same. Half types are computed in float32.

Shape legend: B batch, T queries, S keys, H heads, K key dimension, V value dimension, F = 2K (K without proportions).
"""

import ctypes
import functools
import itertools
import logging
import math
from pathlib import Path
from typing import List, Optional, Tuple

import torch
from torch import Tensor

from leap_fairseq.attention.inputs import Arguments, zero_padding, sum_dtype

logger = logging.getLogger(__name__)

LIBRARY = "_native*.so"
POINTERS = ("q", "k", "v", "q_cos", "q_sin", "k_cos", "k_sin")
GRADIENTS = ("dq", "dk", "dv", "dq_cos", "dq_sin", "dk_cos", "dk_sin")


family = 0
"""Which of :func:`families` computes."""


class _Strides(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "time", "head")]


class _Problem(ctypes.Structure):
    """The structure of the same name in ``native/problem.h``, field by field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("batch", "heads", "queries", "keys", "key_dim", "value_dim")),
        ("reweighted", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("visible", "padding", "initial")),
        ("floor", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in POINTERS),
        *((f"{name}_strides", _Strides) for name in ("q", "k", "v", "q_angle", "k_angle")),
        *((name, ctypes.c_void_p) for name in ("out", "denominator", "states", "out_gradient", *GRADIENTS)),
        ("threads", ctypes.c_int64),
    ]


class _Step(ctypes.Structure):
    """The structure of the same name in ``native/problem.h``, field by field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("batch", "heads", "key_dim", "value_dim", "reweighted")),
        ("floor", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "query_proportion", "key_proportion", "before")),
        *((name, ctypes.c_void_p) for name in ("after", "out")),
    ]


@functools.cache
def native_library() -> Optional[ctypes.CDLL]:
    """The compiled library, or None where there is none; says once which it is."""
    for path in sorted(Path(__file__).parent.glob(LIBRARY)):
        try:
            found = ctypes.CDLL(str(path))
            found.leap_family.restype = ctypes.c_char_p
            found.leap_stretches.restype, found.leap_stretches.argtypes = ctypes.c_int64, [ctypes.c_int64]
            for size, structure in ((found.leap_problem_size, _Problem), (found.leap_step_size, _Step)):
                size.restype = ctypes.c_int64
                if size() != ctypes.sizeof(structure):
                    raise OSError(f"{path} was built from other sources")
        except (OSError, AttributeError) as error:
            logger.warning("linear attention on the CPU: cannot load the compiled code, install again (%s)", error)
            break
        logger.info("linear attention on the CPU: compiled code for %s", found.leap_family(0).decode())
        return found
    else:
        logger.info("linear attention on the CPU: torch; a C++ compiler at installation makes it several times faster")
    return None


def families() -> List[str]:
    """The instruction sets that the library has code for and this processor knows, the best first."""
    library = native_library()
    names = map(library.leap_family, itertools.count()) if library is not None else ()
    return [name.decode() for name in itertools.takewhile(lambda name: name is not None, names)]


def can_compute(given: Arguments) -> bool:
    """Whether the library is there and knows such arguments."""
    initial = given.initial_state
    return (
        given.q.device.type == given.k.device.type == "cpu"
        and given.half_life is None
        and (initial is None or not initial.kvz.requires_grad)
        and native_library() is not None
    )


def compiled(given: Arguments) -> Tensor:
    """Computes :func:`leap_fairseq.attention.prefix_attention` in O(T + S) by the library.

    Raises:
        ValueError: the library is missing or does not know such arguments.
    """
    if not can_compute(given):
        raise ValueError(
            "the compiled algorithm is for the CPU, without half-life and without a gradient of the initial state, "
            'where the package was installed with a C++ compiler: choose "auto"'
        )
    dtype = sum_dtype(given.q.dtype)
    tensors = [x.to(dtype) for x in (given.q, given.k, given.v)]
    angles = (
        *_angle(given.query_proportion, None, dtype),
        *_angle(given.key_proportion, given.key_padding_mask, dtype),
    )
    initial = None if given.initial_state is None else given.initial_state.kvz.to(dtype).contiguous()
    padding = None if given.key_padding_mask is None else given.key_padding_mask.contiguous()
    visible = given.visible.to("cpu", torch.int64).contiguous()
    out = _PrefixAttention.apply(*tensors, *angles, visible, padding, initial, given.normalizer_floor)
    return out.to(given.v.dtype)


def can_step(kvz: Tensor, *tensors: Optional[Tensor]) -> bool:
    """Whether the library can compute a step of decoding with these: on the CPU, without gradients.

    Args:
        kvz: of the state.
        tensors: of the token, None where there is none.
    """
    given = [kvz, *(x for x in tensors if x is not None)]
    if any(x.device.type != "cpu" for x in given) or (torch.is_grad_enabled() and any(x.requires_grad for x in given)):
        return False
    return native_library() is not None


def step(
    kvz: Tensor, q: Tensor, k: Tensor, v: Tensor, p_q: Optional[Tensor], p_k: Optional[Tensor], floor: float
) -> Tuple[Tensor, Tensor]:
    """One more key, and one query that sees it and all before, by the library.

    Args:
        kvz: [B, H, F, V + 1], the state before, float32 or float64.
        q, k, v: [B, 1, H, K] twice and [B, 1, H, V].
        p_q, p_k: proportions [B, 1, H], or None.
        floor: the denominator is at least this.

    Returns:
        The output [B, 1, H, V] in the type of v, and the state behind it.
    """
    # They must outlive the call.
    given = [None if x is None else x.to(kvz.dtype).contiguous() for x in (q, k, v, p_q, p_k, kvz)]
    results = (torch.empty_like(given[5]), torch.empty_like(given[2]))
    sizes = (q.shape[0], q.shape[2], q.shape[3], v.shape[3], p_q is not None)
    pointers = (None if x is None else x.data_ptr() for x in (*given, *results))
    arguments = _Step(*sizes, floor, *pointers)
    native_library().leap_step(ctypes.byref(arguments), int(kvz.dtype == torch.float64))
    return results[1].to(v.dtype), results[0]


def _angle(proportion: Optional[Tensor], padding: Optional[Tensor], dtype: torch.dtype) -> Tuple:
    """Cosine and sine [B, T, H] of the angles, or None twice."""
    if proportion is None:
        return None, None
    angle = zero_padding(proportion, padding).to(dtype) * (math.pi / 2)
    return angle.cos(), angle.sin()


class _PrefixAttention(torch.autograd.Function):
    """The library as a function with gradients of q, k, v, and the cosines and sines."""

    @staticmethod
    def forward(ctx, q, k, v, q_cos, q_sin, k_cos, k_sin, visible, padding, initial, floor):
        inputs = [x if x is None or x.dim() < 4 or x.stride(-1) == 1 else x.contiguous() for x in (q, k, v)]
        inputs += [None if x is None else x.contiguous() for x in (q_cos, q_sin, k_cos, k_sin)]
        out = q.new_empty(*q.shape[:3], v.shape[-1])
        denominator = q.new_empty(q.shape[0], q.shape[2], q.shape[1])
        states = _empty_states(q, k, v, q_cos is not None) if any(ctx.needs_input_grad) else None
        ctx.save_for_backward(*inputs, visible, padding, initial, out, denominator, states)
        ctx.floor = floor
        _run(_problem(inputs, visible, padding, initial, out, denominator, states, floor), q.dtype, backward=False)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, out_gradient):
        *inputs, visible, padding, initial, out, denominator, states = ctx.saved_tensors
        problem = _problem(inputs, visible, padding, initial, out, denominator, states, ctx.floor)
        out_gradient = out_gradient.contiguous()
        problem.out_gradient = out_gradient.data_ptr()
        # Without a query there is nothing to compute; else the library writes each element.
        new = torch.empty if out.shape[1] else torch.zeros
        gradients = [None if x is None else new(x.shape, dtype=x.dtype) for x in inputs]
        for name, gradient in zip(GRADIENTS, gradients):
            setattr(problem, name, None if gradient is None else gradient.data_ptr())
        _run(problem, out.dtype, backward=True)
        return (*gradients, None, None, None, None)


def _empty_states(q: Tensor, k: Tensor, v: Tensor, reweighted: bool) -> Tensor:
    """Room for the states [B, H, N, F, V + 1] that the forward pass keeps for the backward pass."""
    features = q.shape[3] * (2 if reweighted else 1)
    return q.new_empty(q.shape[0], q.shape[2], native_library().leap_stretches(k.shape[1]), features, v.shape[3] + 1)


def _problem(inputs, visible, padding, initial, out, denominator, states, floor) -> _Problem:
    q, k, v, q_cos, _, k_cos, _ = inputs
    problem = _Problem(q.shape[0], q.shape[2], q.shape[1], k.shape[1], q.shape[3], v.shape[3], q_cos is not None)
    named = {"visible": visible, "padding": padding, "initial": initial, **dict(zip(POINTERS, inputs))}
    for name, x in {**named, "out": out, "denominator": denominator, "states": states}.items():
        setattr(problem, name, None if x is None else x.data_ptr())
    for name, x in zip(("q", "k", "v", "q_angle", "k_angle"), (q, k, v, q_cos, k_cos)):
        if x is not None:
            setattr(problem, f"{name}_strides", _Strides(*x.stride()[:3]))
    problem.floor, problem.threads = floor, torch.get_num_threads()
    return problem


def _run(problem: _Problem, dtype: torch.dtype, backward: bool) -> None:
    native_library().leap_prefix_attention(ctypes.byref(problem), int(dtype == torch.float64), int(backward), family)
