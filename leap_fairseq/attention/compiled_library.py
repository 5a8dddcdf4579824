"""The compiled library of ``native/``: how it is found, the structures it shares with Python, and steps of decoding.

It is built when the package is installed and a C++ compiler is there. Training by it is in
:mod:`leap_fairseq.attention.compiled`; without it, the algorithms in torch compute the same.

Shape legend: B batch, T queries, S keys, H heads, K key dimension, V value dimension, F = 2K (K without proportions).
"""

import ctypes
import functools
import hashlib
import itertools
import logging
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import List, NamedTuple, Optional, Tuple

import torch
from torch import Tensor

from leap_fairseq.attention.checks import SMALLEST, SUMMED_IN
from leap_fairseq.attention.half_life import Fading

logger = logging.getLogger(__name__)

LIBRARY = f"_native{EXTENSION_SUFFIXES[0]}"
"""That of this Python; those of others may lie beside it, built from any sources."""
LARGEST_HEAD = 8192
"""K and V at most, as in ``native/problem.h``."""
MOST_TOKENS = 64
"""Keys, and queries, of a step: beyond a segment of speech, torch has its threads to gain from."""
INPUTS = ("q", "k", "v", "q_cos", "q_sin", "k_cos", "k_sin", "initial", "contrast")
GRADIENTS = tuple(f"d{name}" for name in INPUTS)


class Strides(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "time", "head")]


class Problem(ctypes.Structure):
    """The structure of the same name in ``native/problem.h``, field by field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("batch", "heads", "queries", "keys", "key_dim", "value_dim")),
        ("reweighted", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("visible", "padding", "half_life", "clock")),
        ("floor", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in INPUTS),
        *((f"{name}_strides", Strides) for name in ("q", "k", "v", "q_angle", "k_angle")),
        *((name, ctypes.c_void_p) for name in ("out", "denominator", "contrasted", "mass", "states")),
        *((name, ctypes.c_void_p) for name in ("out_gradient", *GRADIENTS, "dclock")),
        ("threads", ctypes.c_int64),
    ]


class Step(ctypes.Structure):
    """The structure of the same name in ``native/problem.h``, field by field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("batch", "heads", "queries", "keys")),
        *((name, ctypes.c_int64) for name in ("key_dim", "value_dim", "reweighted")),
        ("floor", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in ("half_life", "clock")),
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "query_proportion", "key_proportion", "before")),
        *((name, ctypes.c_void_p) for name in ("contrast", "after", "out")),
    ]


class Features(ctypes.Structure):
    """The structure of the same name in ``native/problem.h``, field by field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("tokens", "heads", "key_dim", "chunks", "threads")),
        *((name, ctypes.c_void_p) for name in ("x", "scale", "features")),
        *((name, ctypes.c_void_p) for name in ("features_gradient", "x_gradient", "scale_gradients")),
    ]


def in_memory(x: Tensor, dtype: torch.dtype) -> Tensor:
    """A tensor whose numbers lie behind each other in memory, as they are."""
    return x.to(dtype).contiguous().resolve_neg()


def in_keys(half_life: Optional[Tensor]) -> Optional[Tensor]:
    """The half-lives [H] of the heads as the library reads them, or None."""
    return None if half_life is None else in_memory(half_life.cpu(), torch.float64)


def in_half_lives(fading: Optional[Fading]) -> Optional[Tensor]:
    """The clock float64 [B, H, S + 1] as the library reads it, or None where there is none."""
    if fading is None or fading.clock is None:
        return None
    return (fading.clock / fading.half_life.to(fading.clock).unsqueeze(-1)).contiguous()


def check_status(status: int) -> None:
    """Says what the library answered, if it has not computed.

    Raises:
        ValueError: it was handed what cannot be: no numbers, or sizes beyond its own.
        MemoryError: there is not enough memory.
    """
    if status == 1:
        raise ValueError("the compiled code was handed what it does not know: choose another algorithm")
    if status:
        raise MemoryError("not enough memory for linear attention in compiled code: choose smaller batches")


def _sources(folder: Path) -> Optional[bytes]:
    """The digest of the sources in a clone, as ``setup.py`` has it; None where the library came without them."""
    files = sorted(path for path in folder.glob("*") if path.suffix in (".cpp", ".h"))
    return hashlib.sha256(b"".join(map(Path.read_bytes, files))).hexdigest().encode() if files else None


@functools.cache
def native_library() -> Optional[ctypes.CDLL]:
    """The compiled library, or None where there is none; says once which it is."""
    path = Path(__file__).with_name(LIBRARY)
    if not path.exists():
        logger.info("linear attention on the CPU: torch; a C++ compiler at installation makes it several times faster")
        return None
    try:
        found = ctypes.CDLL(str(path))
        found.leap_family.restype, found.leap_attend.restype = ctypes.c_char_p, ctypes.c_int
        found.leap_stretches.restype, found.leap_stretches.argtypes = ctypes.c_int64, [ctypes.c_int64]
        sizes = (found.leap_problem_size, found.leap_step_size, found.leap_map_size)
        for size, structure in zip(sizes, (Problem, Step, Features)):
            size.restype = ctypes.c_int64
            if size() != ctypes.sizeof(structure):
                raise OSError(f"{path} was built from other sources")
        found.leap_sources.restype, sources = ctypes.c_char_p, _sources(path.with_name("native"))
        if sources and found.leap_sources() != sources:
            raise OSError(f"{path} was built from other sources")
    except (OSError, AttributeError) as error:
        logger.warning("linear attention on the CPU: cannot load the compiled code, install again (%s)", error)
        return None
    logger.info("linear attention on the CPU: compiled code for %s", found.leap_family(0).decode())
    return found


def families() -> List[str]:
    """The instruction sets that the library has code for and this processor knows, the best first."""
    library = native_library()
    names = map(library.leap_family, itertools.count()) if library is not None else ()
    return [name.decode() for name in itertools.takewhile(lambda name: name is not None, names)]


class Tokens(NamedTuple):
    """More keys for a state, and queries that see these and all before; one of both may be missing.

    Attributes:
        kvz: [B, H, F, V + 1], the state before, float32 or float64.
        q: [B, T, H, K], or None.
        k, v: [B, S, H, K] and [B, S, H, V], or None twice.
        p_q, p_k: proportions [B, T, H] and [B, S, H], or None.
        floor: the denominator is at least this.
        contrast: [H], how much of what every query reads is taken away, or None.
        pace: [B, S, H], what each key counts for in the ages of those before it, or None.
    """

    kvz: Tensor
    q: Optional[Tensor]
    k: Optional[Tensor]
    v: Optional[Tensor]
    p_q: Optional[Tensor] = None
    p_k: Optional[Tensor] = None
    floor: float = 1.0
    contrast: Optional[Tensor] = None
    pace: Optional[Tensor] = None

    @property
    def reweighted(self) -> bool:
        """Whether the state is one of re-weighted keys."""
        return self.p_q is not None or self.p_k is not None

    @property
    def key_dim(self) -> int:
        """K, of what comes."""
        return self.kvz.shape[2] // 2 if self.reweighted else self.kvz.shape[2]


def can_step(tokens: Tokens) -> bool:
    """Whether the library can compute such steps: all fits together, is short, and needs no gradient."""
    kvz, q, k, v, p_q, p_k, floor, contrast, pace = tokens
    heads, features, width = kvz.shape[1:]
    given = [x for x in (kvz, q, k, v, p_q, p_k, contrast, pace) if x is not None]
    if not (
        all(isinstance(x, Tensor) for x in given)
        and not (tokens.reweighted and features % 2)
        and (q is not None or k is not None)
        and _fits(q, p_q, tokens)
        and _fits(k, p_k, tokens)
        and (v is None if k is None else v is not None and v.shape == (*k.shape[:3], width - 1))
        and (contrast is None or contrast.shape == (heads,))
        and (pace is None or k is not None and pace.shape == k.shape[:3])
        and floor >= SMALLEST[kvz.dtype]
        and max(tokens.key_dim, width - 1) <= LARGEST_HEAD
    ):
        return False
    dtype, gradients = kvz.dtype, torch.is_grad_enabled()
    for x in given:
        if not x.is_cpu or x.layout is not torch.strided or SUMMED_IN.get(x.dtype) is not dtype:
            return False
        if gradients and x.requires_grad:
            return False
    return native_library() is not None


def _fits(x: Optional[Tensor], proportion: Optional[Tensor], tokens: Tokens) -> bool:
    """Whether queries or keys [B, N, H, K], if there are any, and their proportions are of the state, and few."""
    if x is None:
        return proportion is None
    batch, heads = tokens.kvz.shape[:2]
    return (
        x.dim() == 4
        and x.shape == (batch, x.shape[1], heads, tokens.key_dim)
        and 1 <= x.shape[1] <= MOST_TOKENS
        and (proportion.shape == x.shape[:3] if proportion is not None else not tokens.reweighted)
    )


def step(tokens: Tokens, half_life: Optional[Tensor] = None, family: int = 0) -> Tuple[Optional[Tensor], Tensor]:
    """Steps of decoding by the library, where :func:`can_step` says so.

    Args:
        tokens: the state before, and what comes.
        half_life: [H] in keys, or None, as without a key.
        family: which of :func:`families` computes.

    Returns:
        The output [B, T, H, V] in the type of v or else of q, None without queries; and the state behind it.
    """
    kvz, q, k, v, p_q, p_k, floor, contrast, pace = tokens
    # They must outlive the call.
    given = [None if x is None else in_memory(x, kvz.dtype) for x in (q, k, v, p_q, p_k, kvz, contrast)]
    fading, half_life = Fading.of(half_life, pace), in_keys(half_life)
    clock, after = in_half_lives(fading), kvz if k is None else kvz.new_empty(kvz.shape)
    batch, heads, _, width = kvz.shape
    queries, keys = (0 if x is None else x.shape[1] for x in (q, k))
    out = kvz.new_empty(batch, queries, heads, width - 1) if queries else None
    results = (None if k is None else after, out)
    sizes = (batch, heads, queries, keys, tokens.key_dim, width - 1, tokens.reweighted)
    pointers = (None if x is None else x.data_ptr() for x in (half_life, clock, *given, *results))
    arguments = Step(*sizes, floor, *pointers)
    check_status(native_library().leap_step(ctypes.byref(arguments), int(kvz.dtype == torch.float64), family))
    return None if out is None else out.to((q if v is None else v).dtype), after
