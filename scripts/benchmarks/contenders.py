"""The attentions that are compared, the schedules they are compared under, and the operations each of them needs.

Multiplications and additions of matrix products, for each head of a row; what is elementwise is not counted, nor what
an implementation computes twice. F = 2K features, V = K values and one column for the denominator.

    linear (compiled, triton, blockwise, flash-linear-attention)
        each key is added to the state:        2 F (V + 1)
        each query reads the state:            2 F (V + 1)
    quadratic, sdpa
        each visible pair, weight and value:   2 (K + V)
    networks of the proportions (all but sdpa)
        each query, each key:                  2 (K K/4 + K/4)

    backward: twice the forward, a product for each of the two factors of every product above.

With K = 64, a position (query and key) of causal LeaP takes 33,280 operations forward and 66,560 backward, its networks
4,160 and 8,320; that of causal softmax 256 forward for each earlier position.

Shape legend: B batch, T queries, S keys, H heads, K key and value dimension.
"""

import argparse
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.gate import Attend, linear
from benchmarks.measuring import check_positive
from leap_fairseq.attention import (
    LeapProportion,
    causal_visibility,
    full_visibility,
    relu,
    segment_visibility,
    waitk_visibility,
)
from leap_fairseq.attention.compiled_library import native_library
from leap_fairseq.attention.flash_linear import installed
from leap_fairseq.cli.model_options import torch_dtype

LAGGING, RATIO, SEGMENT = 5, 9, 9
"""Wait-k: k and encoder frames of a pre-decision; and frames of a segment."""

LEAP_FACTOR = 4

SCHEDULES = {
    "causal": causal_visibility,
    "waitk": lambda queries, keys: waitk_visibility(queries, keys, lagging=LAGGING, ratio=RATIO),
    "segment": lambda queries, keys: segment_visibility(queries, keys, segment=SEGMENT),
    "full": full_visibility,
}


LENGTHS = {"causal": [512, 2048, 8192, 16384], "waitk": [360, 5760], "segment": [1500, 6000], "full": [512, 2048, 8192]}
"""Keys, unless --lengths says others."""


class Case(NamedTuple):
    """What is computed: a schedule at its sizes.

    Attributes:
        schedule: a name in `SCHEDULES`.
        batch, queries, keys, heads, dim: B, T, S, H and K.
        dtype, device: of the inputs; proportions are float32 at least.
    """

    schedule: str
    batch: int
    queries: int
    keys: int
    heads: int
    dim: int
    dtype: torch.dtype
    device: str

    def __str__(self):
        return f"{self.schedule}, B {self.batch}, T {self.queries}, S {self.keys}, H {self.heads}, K {self.dim}"

    def visible(self, name: str) -> Tensor:
        """int64 [T], what the queries of a contender see: softmax that is not by segments sees everything."""
        schedule = "full" if name == "sdpa" and self.schedule == "segment" else self.schedule
        return SCHEDULES[schedule](self.queries, self.keys)

    def inputs(self, mapped: bool) -> Dict[str, Tensor]:
        """Random inputs: q, k, v as projected; or, mapped, behind the feature map and with proportions."""
        generator = torch.Generator().manual_seed(0)
        sizes = {"q": self.queries, "k": self.keys, "v": self.keys}
        x = {n: torch.randn(self.batch, size, self.heads, self.dim, generator=generator) for n, size in sizes.items()}
        if mapped:
            x["q"], x["k"] = relu(x["q"] * self.dim**-0.5), relu(x["k"])
        x = {name: tensor.to(self.device, self.dtype) for name, tensor in x.items()}
        if mapped:
            for name, size in (("query_proportion", self.queries), ("key_proportion", self.keys)):
                logits = torch.randn(self.batch, size, self.heads, generator=generator)
                x[name] = logits.sigmoid().to(self.device, torch.promote_types(self.dtype, torch.float32))
        return x


def make_cases(options: argparse.Namespace) -> List[Case]:
    """A case for each length.

    Raises:
        ValueError: a size below 1, or a dimension that the networks cannot divide.
    """
    lengths = options.lengths or LENGTHS[options.schedule]
    check_positive(options, "positions", "heads", "dim", "matmul")
    if options.dim % LEAP_FACTOR:
        raise ValueError(f"--dim {options.dim} is not divisible by {LEAP_FACTOR}, the leap_factor")
    least = RATIO if options.schedule == "waitk" else 1
    if min(lengths) < least:
        raise ValueError(f"--lengths {min(lengths)} must be at least {least}")
    waitk, dtype, cases = options.schedule == "waitk", torch_dtype(options.dtype), []
    for length in lengths:
        batch, queries = max(1, options.positions // length), length // RATIO if waitk else length
        cases.append(Case(options.schedule, batch, queries, length, options.heads, options.dim, dtype, options.device))
    return cases


def attention_of(name: str, case: Case) -> Attend:
    """The attention of a name, on mapped inputs (softmax: on q, k and v)."""
    if name == "sdpa":
        return _sdpa(case)
    return linear("naive" if name == "quadratic" else name)


ALGORITHMS = ("compiled", "triton", "blockwise", "sdpa", "quadratic", "fla")


def why_not(name: str, case: Case, quadratic_mib: float) -> Optional[str]:
    """Why an attention is left out of a case, or None; the quadratic one where a matrix of its weights has more MiB."""
    if name == "compiled" and (native_library() is None or case.device != "cpu"):
        return "it is for the CPU" if case.device != "cpu" else "the package was installed without a C++ compiler"
    if name == "triton" and case.device != "cuda":
        return "our Triton kernels are for a GPU (--device cuda)"
    if name == "quadratic" and case.batch * case.heads * case.queries * case.keys * 4 > quadratic_mib * 2**20:
        return f"its weights take more than --quadratic-mib {quadratic_mib:g}"
    if name == "fla":
        if case.device != "cuda" or case.schedule != "causal":
            return "flash-linear-attention is causal, and for a GPU (--device cuda)"
        if not installed():
            return "flash-linear-attention is not installed"
    return None


def operations(name: str, case: Case, networks: bool) -> int:
    """Multiplications and additions of the matrix products, forward and backward; see the head of this module.

    Args:
        name: of the contender.
        case: its sizes.
        networks: count those of the proportions.
    """
    visible = case.visible(name)
    if name in ("quadratic", "sdpa"):
        forward = 2 * (case.dim + case.dim) * int(visible.sum())
    else:
        forward = 2 * 2 * case.dim * (case.dim + 1) * (case.queries + int(visible[-1]))
    if networks and name != "sdpa":
        hidden = case.dim // LEAP_FACTOR
        forward += 2 * (case.dim * hidden + hidden) * (case.queries + case.keys)
    return 3 * forward * case.batch * case.heads


class Leap(nn.Module):
    """LeaP in the place of softmax: feature map, networks of the proportions, attention; from projected q, k and v."""

    def __init__(self, attend: Attend, case: Case):
        super().__init__()
        self.attend = attend
        torch.manual_seed(0)
        self.networks = nn.ModuleList(LeapProportion(case.dim, LEAP_FACTOR) for _ in range(2))
        self.to(case.device, case.dtype)

    def forward(self, x: Mapping[str, Tensor], visible: Tensor) -> Tensor:
        """Attends; as `Attend`, without proportions."""
        q, k = relu(x["q"] * x["q"].shape[-1] ** -0.5), relu(x["k"])
        proportions = {"query_proportion": self.networks[0](q), "key_proportion": self.networks[1](k)}
        return self.attend({"q": q, "k": k, "v": x["v"], **proportions}, visible)


def _sdpa(case: Case) -> Attend:
    """torch's `scaled_dot_product_attention`: a mask only where neither causal nor full says it."""
    options: Dict[str, Any] = {"is_causal": case.schedule == "causal"}
    if case.schedule == "waitk":
        seen = torch.arange(case.keys) < case.visible("sdpa").unsqueeze(-1)
        options["attn_mask"] = seen.to(case.device)

    def attend(x: Mapping[str, Tensor], visible: Tensor) -> Tensor:
        heads_first = (x[name].transpose(1, 2) for name in ("q", "k", "v"))
        return F.scaled_dot_product_attention(*heads_first, **options).transpose(1, 2)

    return attend
