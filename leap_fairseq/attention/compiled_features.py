"""Hedgehog's features by the compiled library: one pass over the tokens each way, not one for each operation of torch.

The definition is in :mod:`leap_fairseq.attention.feature_maps`, which computes what this does not: half types, other
devices, few tokens that are trained.

Shape legend: any shape in front; H heads, K head dimension.
"""

import ctypes

import torch
from torch import Tensor

from leap_fairseq.attention.compiled_library import LARGEST_HEAD, Features, check_status, in_memory, native_library

FEWEST = 4096
"""Numbers of all tokens, below which a function with gradients costs more than torch's operations."""
TOKENS = 256
"""Of a chunk, which sums its part of the gradient of the scales by itself."""
CHUNKS = 64
"""At most."""


def can_map(x: Tensor, scale: Tensor) -> bool:
    """Whether the library is there, and computes the features of such tokens.

    Args:
        x, scale: as for :func:`compiled_hedgehog`.
    """
    return (
        x.numel() >= (FEWEST if _differentiated(x, scale) else 1)
        and all(each.is_cpu and each.layout is torch.strided for each in (x, scale))
        and x.dtype is scale.dtype
        and x.dtype in (torch.float32, torch.float64)
        and x.shape[-1] <= LARGEST_HEAD
        and native_library() is not None
    )


def compiled_hedgehog(x: Tensor, scale: Tensor, family: int = 0) -> Tensor:
    """``2K softmax([s x, -s x])`` over the features of each token and head.

    Args:
        x: [..., H, K], where :func:`can_map` says so.
        scale: s [H].
        family: which of :func:`leap_fairseq.attention.compiled_library.families` computes.

    Returns:
        [..., H, 2K], in the type of x.
    """
    if _differentiated(x, scale):
        return _Hedgehog.apply(x, scale, family)
    return _features(in_memory(x, x.dtype), in_memory(scale, x.dtype), family)


def _differentiated(x: Tensor, scale: Tensor) -> bool:
    return torch.is_grad_enabled() and (x.requires_grad or scale.requires_grad)


def _features(x: Tensor, scale: Tensor, family: int) -> Tensor:
    features = x.new_empty(*x.shape[:-1], 2 * x.shape[-1])
    _run(_problem(x, scale, features), x.dtype, False, family)
    return features


class _Hedgehog(torch.autograd.Function):
    """The library as a function with gradients of x and the scales."""

    @staticmethod
    def forward(ctx, x, scale, family):
        x, scale = in_memory(x, x.dtype), in_memory(scale, x.dtype)
        features = _features(x, scale, family)
        ctx.save_for_backward(x, scale, features)
        ctx.family = family
        return features

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, features_gradient):
        x, scale, features = ctx.saved_tensors
        problem = _problem(x, scale, features)
        features_gradient, x_gradient = in_memory(features_gradient, x.dtype), torch.empty_like(x)
        scale_gradients = x.new_empty(problem.chunks, len(scale))
        problem.features_gradient = features_gradient.data_ptr()
        problem.x_gradient, problem.scale_gradients = x_gradient.data_ptr(), scale_gradients.data_ptr()
        _run(problem, x.dtype, True, ctx.family)
        return x_gradient, scale_gradients.sum(0), None


def _problem(x: Tensor, scale: Tensor, features: Tensor) -> Features:
    heads, key_dim = x.shape[-2:]
    tokens = x.numel() // (heads * key_dim)
    chunks = max(1, min(CHUNKS, tokens // TOKENS))
    pointers = (each.data_ptr() for each in (x, scale, features))
    return Features(tokens, heads, key_dim, chunks, torch.get_num_threads(), *pointers)


def _run(problem: Features, dtype: torch.dtype, backward: bool, family: int) -> None:
    doubles = int(dtype == torch.float64)
    check_status(native_library().leap_map(ctypes.byref(problem), doubles, int(backward), family))
