"""Contrast by the compiled library: running sums over the keys, one pass each way.

The definition is in :mod:`leap_fairseq.attention.contrast`, which computes what this does not: proportions, earlier
keys, other devices.

Shape legend: B batch, T queries, S keys, H heads, V value dimension.
"""

import ctypes
from typing import Optional

import torch
from torch import Tensor

from leap_fairseq.attention.compiled_library import (
    Contrast,
    Strides,
    check_status,
    in_keys,
    in_memory,
    native_library,
)


def can_contrast(answers: Tensor, v: Tensor) -> bool:
    """Whether the library is there, and computes with such tensors.

    Args:
        answers, v: as for :func:`compiled_contrast`.
    """
    return (
        answers.is_cpu
        and answers.dtype is v.dtype
        and answers.dtype in (torch.float32, torch.float64)
        and answers.numel() > 0
        and native_library() is not None
    )


def compiled_contrast(
    answers: Tensor,
    mass: Tensor,
    v: Tensor,
    contrast: Tensor,
    visible: Tensor,
    key_padding_mask: Optional[Tensor],
    normalizer_floor: float,
    half_life: Optional[Tensor] = None,
) -> Tensor:
    """``answers_i - contrast sum_j mass_j v_j / sum_j mass_j`` over the visible keys.

    Args:
        answers: [B, T, H, V], where :func:`can_contrast` says so.
        mass: [B, S, H], the sums of the keys' features.
        v: [B, S, H, V].
        contrast: [H].
        visible: integer [T], non-decreasing, in [0, S].
        key_padding_mask: bool [B, S], True = padding, or None.
        normalizer_floor: the denominator is at least this.
        half_life: [H] in keys, or None.

    Returns:
        [B, T, H, V].
    """
    padding = None if key_padding_mask is None else key_padding_mask.contiguous()
    visible = visible.to("cpu", torch.int64).contiguous()
    return _Contrast.apply(
        answers, mass, v, contrast.to(v.dtype), visible, padding, in_keys(half_life), normalizer_floor
    )


class _Contrast(torch.autograd.Function):
    """The library as a function with gradients of the answers, masses, values and contrast."""

    @staticmethod
    def forward(ctx, answers, mass, v, contrast, visible, padding, half_life, floor):
        v = v.resolve_neg() if v.stride(-1) == 1 else in_memory(v, v.dtype)
        answers, mass, contrast = (in_memory(each, v.dtype) for each in (answers, mass, contrast))
        out = torch.empty_like(answers)
        ctx.save_for_backward(mass, v, contrast, visible, padding, half_life)
        ctx.floor = floor
        problem = _problem(answers, mass, v, contrast, visible, padding, half_life, floor)
        problem.answers, problem.out = answers.data_ptr(), out.data_ptr()
        _run(problem, v.dtype, False)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, out_gradient):
        mass, v, contrast, visible, padding, half_life = ctx.saved_tensors
        out_gradient = in_memory(out_gradient, v.dtype)
        problem = _problem(out_gradient, mass, v, contrast, visible, padding, half_life, ctx.floor)
        # Of the answers and what was made of them, the gradients need nothing.
        problem.answers = problem.out = problem.out_gradient = out_gradient.data_ptr()
        gradients = torch.empty(mass.shape, dtype=v.dtype), torch.empty(v.shape, dtype=v.dtype)
        shares = v.new_empty(v.shape[0], len(contrast))
        problem.mass_gradient, problem.v_gradient, problem.contrast_gradients = (
            each.data_ptr() for each in (*gradients, shares)
        )
        _run(problem, v.dtype, True)
        return (out_gradient, *gradients, shares.sum(0), None, None, None, None)


def _problem(answers, mass, v, contrast, visible, padding, half_life, floor) -> Contrast:
    batch, queries, heads, value_dim = answers.shape
    problem = Contrast(batch, heads, queries, v.shape[1], value_dim, torch.get_num_threads())
    named = {"mass": mass, "v": v, "contrast": contrast, "visible": visible, "padding": padding, "half_life": half_life}
    for name, x in named.items():
        setattr(problem, name, None if x is None else x.data_ptr())
    problem.floor, problem.v_strides = floor, Strides(*v.stride()[:3])
    return problem


def _run(problem: Contrast, dtype: torch.dtype, backward: bool) -> None:
    check_status(native_library().leap_contrast(ctypes.byref(problem), int(dtype == torch.float64), int(backward)))
