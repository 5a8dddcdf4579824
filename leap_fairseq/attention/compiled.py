"""Training and inference on the CPU by compiled code, which keeps a block of keys and the state in cache.

Without the library, or on another device, the algorithms in torch compute the same. Half types are computed in float32.

Shape legend: B batch, T queries, S keys, H heads, K key dimension, V value dimension, F = 2K (K without proportions).
"""

import ctypes
import math
from typing import Dict, Optional, Tuple

import torch
from torch import Tensor

from leap_fairseq.attention.arguments import Arguments
from leap_fairseq.attention.blockwise import blockwise
from leap_fairseq.attention.compiled_library import (
    INPUTS,
    LARGEST_HEAD,
    Problem,
    Strides,
    check_status,
    in_half_lives,
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


def can_contrast(given: Arguments) -> bool:
    """Whether the library also takes away the contrast: of keys that are neither re-weighted nor absorbed before."""
    return can_compile(given) and given.query_proportion is given.initial_state is None and not given.nothing


def compiled(given: Arguments, family: int = 0) -> Tensor:
    """Computes :func:`leap_fairseq.attention.prefix_attention` in O(T + S) by the library.

    Args:
        given: the arguments; with contrast where :func:`can_contrast` says so.
        family: which of :func:`leap_fairseq.attention.compiled_library.families` computes.

    Raises:
        ValueError: the library is missing or does not know such arguments.
    """
    if not can_compile(given):
        raise ValueError(
            f"the compiled algorithm is for the CPU and heads of at most {LARGEST_HEAD}, where the package was "
            'installed with a C++ compiler: choose "auto"'
        )
    if given.nothing:
        # The library is for outputs that have to be computed.
        return blockwise(given)
    dtype = sum_dtype(given.q.dtype)
    tensors = [x.to(dtype) for x in (given.q, given.k, given.v)]
    angles = (
        *_angle(given.query_proportion, None, dtype),
        *_angle(given.key_proportion, given.key_padding_mask, dtype),
    )
    initial = None if given.initial_state is None else in_memory(given.initial_state.kvz, dtype)
    contrast = None if given.contrast is None else in_memory(given.contrast, dtype)
    padding = None if given.key_padding_mask is None else given.key_padding_mask.contiguous()
    visible = given.visible.to("cpu", torch.int64).contiguous()
    options = (visible, padding, in_keys(given.half_life), given.normalizer_floor, family)
    inputs = (*tensors, *angles, initial, contrast, in_half_lives(given.fading))
    if not torch.is_grad_enabled():
        # The function is not told, and would keep states for the gradient of a parameter.
        inputs = (None if x is None else x.detach() for x in inputs)
    out = _PrefixAttention.apply(*inputs, *options)
    return out.to(given.v.dtype)


def _angle(proportion: Optional[Tensor], padding: Optional[Tensor], dtype: torch.dtype) -> Tuple:
    """Cosine and sine [B, T, H] of the angles, or None twice."""
    if proportion is None:
        return None, None
    angle = zero_padding(proportion, padding).to(dtype) * (math.pi / 2)
    return angle.cos(), angle.sin()


class _PrefixAttention(torch.autograd.Function):
    """The library as a function with gradients of all but what is visible, padded and faded."""

    @staticmethod
    def forward(
        ctx, q, k, v, q_cos, q_sin, k_cos, k_sin, initial, contrast, clock, visible, padding, half_life, floor, family
    ):
        inputs = [x.resolve_neg() if x.stride(-1) == 1 else in_memory(x, x.dtype) for x in (q, k, v)]
        inputs += [None if x is None else x.contiguous() for x in (q_cos, q_sin, k_cos, k_sin, initial, contrast)]
        named = dict(zip(INPUTS, inputs), visible=visible, padding=padding, half_life=half_life, clock=clock)
        trained = any(ctx.needs_input_grad)
        named["out"] = out = q.new_empty(*q.shape[:3], v.shape[3])
        named["denominator"] = q.new_empty(q.shape[0], q.shape[2], q.shape[1])
        if contrast is not None:
            named["contrasted"] = out = torch.empty_like(out) if trained else out
            named["mass"] = q.new_empty(k.shape[0], k.shape[2], k.shape[1])
        if trained:
            named["states"] = _empty_states(q, k, v, q_cos is not None)
            # What is made of the answers, the gradients do not need.
            ctx.names = [name for name in named if name != "contrasted"]
            ctx.save_for_backward(*map(named.get, ctx.names))
            ctx.floor, ctx.family = floor, family
        _run(named, floor, False, family)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, out_gradient):
        named = dict(zip(ctx.names, ctx.saved_tensors))
        named["out_gradient"] = out_gradient = in_memory(out_gradient, named["out"].dtype)
        shapes = {name: named[name].shape for name in INPUTS if named[name] is not None}
        if not ctx.needs_input_grad[INPUTS.index("initial")]:
            shapes.pop("initial", None)
        if "contrast" in shapes:
            shapes["contrast"] = (out_gradient.shape[0], out_gradient.shape[2])
        # The library writes each element.
        gradients = {name: out_gradient.new_empty(shape) for name, shape in shapes.items()}
        if named["clock"] is not None:
            gradients["clock"] = torch.zeros_like(named["clock"])
        _run({**named, **{f"d{name}": x for name, x in gradients.items()}}, ctx.floor, True, ctx.family)
        if "contrast" in gradients:
            gradients["contrast"] = gradients["contrast"].sum(0)
        return (*map(gradients.get, (*INPUTS, "clock")), None, None, None, None, None)


def _empty_states(q: Tensor, k: Tensor, v: Tensor, reweighted: bool) -> Tensor:
    """Room for the states [B, H, N, F, V + 1] that the forward pass keeps for the backward pass."""
    features = q.shape[3] * (2 if reweighted else 1)
    return q.new_empty(q.shape[0], q.shape[2], native_library().leap_stretches(k.shape[1]), features, v.shape[3] + 1)


def _run(named: Dict[str, Optional[Tensor]], floor: float, backward: bool, family: int) -> None:
    """Has the library compute; tensors by the names of :class:`Problem`."""
    q, k, v = (named[name] for name in "qkv")
    problem = Problem(q.shape[0], q.shape[2], q.shape[1], k.shape[1], q.shape[3], v.shape[3])
    problem.reweighted, problem.floor, problem.threads = named["q_cos"] is not None, floor, torch.get_num_threads()
    for name, x in named.items():
        if x is not None:
            setattr(problem, name, x.data_ptr())
    for name, x in {"q": q, "k": k, "v": v, "q_angle": named["q_cos"], "k_angle": named["k_cos"]}.items():
        if x is not None:
            setattr(problem, f"{name}_strides", Strides(*x.stride()[:3]))
    doubles = int(q.dtype == torch.float64)
    check_status(native_library().leap_attend(ctypes.byref(problem), doubles, int(backward), family))
