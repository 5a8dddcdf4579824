"""Training and inference on the CPU by compiled code, which keeps a block of keys and the state in cache.

Without the library, or on another device, the algorithms in torch compute the same. Half types are computed in float32.

Shape legend: B batch, T queries, S keys, H heads, K key dimension, V value dimension, F = 2K (K without proportions).
"""

import ctypes
import math
from typing import Optional, Tuple

import torch
from torch import Tensor

from leap_fairseq.attention.arguments import Arguments
from leap_fairseq.attention.blockwise import blockwise
from leap_fairseq.attention.compiled_library import (
    GRADIENTS,
    INPUTS,
    LARGEST_HEAD,
    Problem,
    Strides,
    check_status,
    in_keys,
    in_memory,
    native_library,
)
from leap_fairseq.attention.inputs import sum_dtype, zero_padding


def can_compile(given: Arguments) -> bool:
    """Whether the library is there and knows such arguments."""
    return (
        given.q.device.type == "cpu"
        and max(given.q.shape[3], given.v.shape[3]) <= LARGEST_HEAD
        and native_library() is not None
    )


def compiled(given: Arguments, family: int = 0) -> Tensor:
    """Computes :func:`leap_fairseq.attention.prefix_attention` in O(T + S) by the library.

    Args:
        given: the arguments.
        family: which of :func:`leap_fairseq.attention.compiled_library.families` computes.

    Raises:
        ValueError: the library is missing or does not know such arguments.
    """
    if not can_compile(given):
        raise ValueError(
            f"the compiled algorithm is for the CPU and heads of at most {LARGEST_HEAD}, where the package was "
            'installed with a C++ compiler: choose "auto"'
        )
    if 0 in (*given.q.shape, given.v.shape[3]):
        # The library is for outputs that have to be computed.
        return blockwise(given)
    dtype = sum_dtype(given.q.dtype)
    tensors = [x.to(dtype) for x in (given.q, given.k, given.v)]
    angles = (
        *_angle(given.query_proportion, None, dtype),
        *_angle(given.key_proportion, given.key_padding_mask, dtype),
    )
    initial = None if given.initial_state is None else in_memory(given.initial_state.kvz, dtype)
    padding = None if given.key_padding_mask is None else given.key_padding_mask.contiguous()
    visible = given.visible.to("cpu", torch.int64).contiguous()
    options = (visible, padding, in_keys(given.half_life), given.normalizer_floor, family)
    out = _PrefixAttention.apply(*tensors, *angles, initial, *options)
    return out.to(given.v.dtype)


def _angle(proportion: Optional[Tensor], padding: Optional[Tensor], dtype: torch.dtype) -> Tuple:
    """Cosine and sine [B, T, H] of the angles, or None twice."""
    if proportion is None:
        return None, None
    angle = zero_padding(proportion, padding).to(dtype) * (math.pi / 2)
    return angle.cos(), angle.sin()


class _PrefixAttention(torch.autograd.Function):
    """The library as a function with gradients of q, k, v, the cosines and sines, and the initial state."""

    @staticmethod
    def forward(ctx, q, k, v, q_cos, q_sin, k_cos, k_sin, initial, visible, padding, half_life, floor, family):
        inputs = [x.resolve_neg() if x.stride(-1) == 1 else in_memory(x, x.dtype) for x in (q, k, v)]
        inputs += [None if x is None else x.contiguous() for x in (q_cos, q_sin, k_cos, k_sin, initial)]
        out = q.new_empty(*q.shape[:3], v.shape[-1])
        denominator = q.new_empty(q.shape[0], q.shape[2], q.shape[1])
        states = _empty_states(q, k, v, q_cos is not None) if any(ctx.needs_input_grad) else None
        ctx.save_for_backward(*inputs, visible, padding, half_life, out, denominator, states)
        ctx.floor, ctx.family = floor, family
        problem = _problem(inputs, visible, padding, half_life, out, denominator, states, floor)
        _run(problem, q.dtype, False, family)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, out_gradient):
        *inputs, visible, padding, half_life, out, denominator, states = ctx.saved_tensors
        problem = _problem(inputs, visible, padding, half_life, out, denominator, states, ctx.floor)
        out_gradient = in_memory(out_gradient, out.dtype)
        problem.out_gradient = out_gradient.data_ptr()
        if not ctx.needs_input_grad[INPUTS.index("initial")]:
            inputs[-1] = None
        # The library writes each element.
        gradients = [None if x is None else torch.empty(x.shape, dtype=x.dtype) for x in inputs]
        for name, gradient in zip(GRADIENTS, gradients):
            setattr(problem, name, None if gradient is None else gradient.data_ptr())
        _run(problem, out.dtype, True, ctx.family)
        return (*gradients, None, None, None, None, None)


def _empty_states(q: Tensor, k: Tensor, v: Tensor, reweighted: bool) -> Tensor:
    """Room for the states [B, H, N, F, V + 1] that the forward pass keeps for the backward pass."""
    features = q.shape[3] * (2 if reweighted else 1)
    return q.new_empty(q.shape[0], q.shape[2], native_library().leap_stretches(k.shape[1]), features, v.shape[3] + 1)


def _problem(inputs, visible, padding, half_life, out, denominator, states, floor) -> Problem:
    q, k, v, q_cos, _, k_cos, _, _ = inputs
    problem = Problem(q.shape[0], q.shape[2], q.shape[1], k.shape[1], q.shape[3], v.shape[3], q_cos is not None)
    named = {"visible": visible, "padding": padding, "half_life": half_life, **dict(zip(INPUTS, inputs))}
    for name, x in {**named, "out": out, "denominator": denominator, "states": states}.items():
        setattr(problem, name, None if x is None else x.data_ptr())
    for name, x in zip(("q", "k", "v", "q_angle", "k_angle"), (q, k, v, q_cos, k_cos)):
        if x is not None:
            setattr(problem, f"{name}_strides", Strides(*x.stride()[:3]))
    problem.floor, problem.threads = floor, torch.get_num_threads()
    return problem


def _run(problem: Problem, dtype: torch.dtype, backward: bool, family: int) -> None:
    doubles = int(dtype == torch.float64)
    check_status(native_library().leap_attend(ctypes.byref(problem), doubles, int(backward), family))
