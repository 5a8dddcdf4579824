"""The gate before every speed: what is compared equals its law, outputs and all gradients, or nothing is measured.

The laws are written straight from the equations and computed in float64, slice by slice of the queries, so that they
reach every length that is measured: LeaP by the algorithm `naive`, softmax by its definition.

Shape legend: B batch, T queries, S keys, H heads, K key and value dimension.
"""

import functools
from typing import Any, Callable, Dict, Mapping

import torch
from torch import Tensor

from leap_fairseq.attention import prefix_attention

TOLERANCES = {torch.float64: 1e-10, torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}
"""Allowed difference by type, relative to the largest magnitude where that is above 1: those of the tests."""

SLICE = 256
"""Queries of a law that are computed at once."""

Tensors = Dict[str, Tensor]
Attend = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""From q, k, v [B, T, H, K], query_proportion and key_proportion [B, T, H], and visible [T], to [B, T, H, K]."""


class GateError(ValueError):
    """Something that is compared does not compute what it should."""


def linear(algorithm: str, **options: Any) -> Attend:
    """LeaP attention by an algorithm, and with options, of `prefix_attention`."""

    def attend(x: Mapping[str, Tensor], visible: Tensor) -> Tensor:
        proportions = {name: x[name] for name in ("query_proportion", "key_proportion")}
        return prefix_attention(x["q"], x["k"], x["v"], visible, algorithm=algorithm, **proportions, **options)

    return attend


def softmax(x: Mapping[str, Tensor], visible: Tensor) -> Tensor:
    """Softmax attention over a visible prefix, by its definition."""
    scores = torch.einsum("bthk,bshk->bhts", x["q"] * x["q"].shape[-1] ** -0.5, x["k"])
    hidden = torch.arange(scores.shape[-1], device=scores.device) >= visible.to(scores.device).unsqueeze(-1)
    return torch.einsum("bhts,bshk->bthk", scores.masked_fill(hidden, -torch.inf).softmax(-1), x["v"])


LAWS: Dict[str, Attend] = {"leap": linear("naive"), "softmax": softmax}


def results(attend: Attend, x: Tensors, visible: Tensor, cotangent: Tensor) -> Tensors:
    """The output and the gradients of all inputs."""
    leaves = {name: tensor.detach().clone().requires_grad_() for name, tensor in x.items()}
    out = attend(leaves, visible)
    out.backward(cotangent.to(out.dtype))
    return _with_gradients(out, leaves)


def lawful_results(law: Attend, x: Tensors, visible: Tensor, cotangent: Tensor) -> Tensors:
    """`results` of a law in float64; memory of O(S) for any number of queries."""
    leaves = {name: tensor.detach().double().requires_grad_() for name, tensor in x.items()}
    outs = []
    for first in range(0, visible.numel(), SLICE):
        part = slice(first, first + SLICE)
        last = int(visible[part][-1])
        sliced = {
            name: tensor[:, part] if name in ("q", "query_proportion") else tensor[:, :last]
            for name, tensor in leaves.items()
        }
        out = law(sliced, visible[part])
        out.backward(cotangent[:, part].double())
        outs.append(out.detach())
    return _with_gradients(torch.cat(outs, dim=1), leaves)


def _with_gradients(out: Tensor, leaves: Tensors) -> Tensors:
    gradients = {name: torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for name, leaf in leaves.items()}
    return {"the output": out.detach(), **{f"the gradient of {name}": found for name, found in gradients.items()}}


def largest_share(actual: Tensors, expected: Tensors, dtype: torch.dtype, who: str) -> float:
    """The largest difference as a share of what is allowed.

    Raises:
        GateError: above 1, or not finite.
    """
    worst = 0.0
    for what, tensor in expected.items():
        given, law = actual[what].double(), tensor.double()
        allowed = TOLERANCES[dtype] * max(1.0, float(law.abs().max()))
        difference = float((given - law).abs().max()) if given.shape == law.shape else torch.inf
        # Also where it is nan.
        if not difference <= allowed:
            raise GateError(
                f"{who} does not equal its law: {what} is off by {difference:.2g}, {allowed:.2g} is allowed "
                f"({str(dtype).partition('.')[2]}); no speed is reported"
            )
        worst = max(worst, difference / allowed)
    return worst


def check_attention(
    contenders: Mapping[str, Attend], visible: Mapping[str, Tensor], x: Tensors, dtype: torch.dtype, where: str
) -> Dict[str, float]:
    """Holds attentions to their laws: "sdpa" to softmax, all others to LeaP.

    Args:
        contenders: by name.
        visible: int64 [T] for each of them.
        x: inputs of all.
        dtype: whose tolerance counts.
        where: words for the sizes, in the message.

    Returns:
        The largest difference of each, as a share of what is allowed.

    Raises:
        GateError: one of them differs.
    """
    cotangent = torch.randn(x["q"].shape, generator=torch.Generator().manual_seed(1)).to(x["q"])
    inputs = {"leap": x, "softmax": {name: x[name] for name in ("q", "k", "v")}}
    expected = functools.lru_cache(maxsize=None)(
        lambda law, key: lawful_results(LAWS[law], inputs[law], torch.tensor(key), cotangent)
    )
    shares = {}
    for name, attend in contenders.items():
        law = "softmax" if name == "sdpa" else "leap"
        actual = results(attend, inputs[law], visible[name], cotangent)
        shares[name] = largest_share(actual, expected(law, tuple(visible[name].tolist())), dtype, f"{name} at {where}")
    return shares
