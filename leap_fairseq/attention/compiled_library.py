"""The compiled library of ``native/``: how it is found, the structures it shares with Python, and a step of decoding.

It is built when the package is installed and a C++ compiler is there. Training by it is in
:mod:`leap_fairseq.attention.compiled`; without it, the algorithms in torch compute the same.

Shape legend: B batch, H heads, K key dimension, V value dimension, F = 2K (K without proportions).
"""

import ctypes
import functools
import itertools
import logging
from pathlib import Path
from typing import List, Optional, Tuple

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

LIBRARY = "_native*.so"
POINTERS = ("q", "k", "v", "q_cos", "q_sin", "k_cos", "k_sin")
GRADIENTS = ("dq", "dk", "dv", "dq_cos", "dq_sin", "dk_cos", "dk_sin")


class Strides(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in ("batch", "time", "head")]


class Problem(ctypes.Structure):
    """The structure of the same name in ``native/problem.h``, field by field."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("batch", "heads", "queries", "keys", "key_dim", "value_dim")),
        ("reweighted", ctypes.c_int64),
        *((name, ctypes.c_void_p) for name in ("visible", "padding", "initial")),
        ("floor", ctypes.c_double),
        *((name, ctypes.c_void_p) for name in POINTERS),
        *((f"{name}_strides", Strides) for name in ("q", "k", "v", "q_angle", "k_angle")),
        *((name, ctypes.c_void_p) for name in ("out", "denominator", "states", "out_gradient", *GRADIENTS)),
        ("threads", ctypes.c_int64),
    ]


class Step(ctypes.Structure):
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
            for size, structure in ((found.leap_problem_size, Problem), (found.leap_step_size, Step)):
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
    arguments = Step(*sizes, floor, *pointers)
    native_library().leap_step(ctypes.byref(arguments), int(kvz.dtype == torch.float64))
    return results[1].to(v.dtype), results[0]
