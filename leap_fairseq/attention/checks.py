"""What the arguments of the core must be. Anything else is refused by its name before something is computed from it.

Shape legend: B batch, T queries, S keys, H heads, K key dimension, V value dimension.
"""

from typing import Any, Collection, Iterable, Optional, Sequence, Union

import torch
from torch import Tensor

FLOATING = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
SUMMED_IN = {dtype: torch.promote_types(dtype, torch.float32) for dtype in FLOATING}
"""The type in which the sums of each are kept."""
SMALLEST = {dtype: torch.finfo(dtype).tiny for dtype in SUMMED_IN.values()}
"""Of each type of sums, the smallest number by which can be divided."""
MOST = 2**61
"""Counts up to it can be added in 64 bits."""

Size = Union[int, str]


def check_tensor(
    name: str,
    x: Any,
    shape: Sequence[Size],
    dtypes: Collection[torch.dtype] = FLOATING,
    device: Optional[torch.device] = None,
) -> None:
    """Refuses what is not a plain tensor of some shape and type.

    Args:
        name: of the argument.
        x: what was given.
        shape: of each dimension the size, or a letter where any will do.
        dtypes: those allowed.
        device: where it must be; None for any device that holds numbers.

    Raises:
        ValueError: with the name, what was given and what is allowed.
    """
    if (
        not isinstance(x, Tensor)
        or len(x.shape) != len(shape)
        or any(size != have for size, have in zip(shape, x.shape) if not isinstance(size, str))
        or x.dtype not in dtypes
        or (x.is_meta if device is None else x.device != device)
        or x.layout is not torch.strided
    ):
        place = "" if device is None else f" on {device}"
        raise ValueError(f"{name} must be {one_of(dtypes)} {_sizes(shape)}{place}, got {described(x)}")


def check_floating(x: Any) -> None:
    """Refuses what is no tensor of floating numbers, whatever its shape."""
    if not isinstance(x, Tensor) or x.dtype not in FLOATING:
        raise ValueError(f"queries and keys must be {one_of(FLOATING)}, got {described(x)}")


def check_queries(q: Tensor, query_proportion: Optional[Tensor]) -> None:
    """Refuses queries [B, T, H, K] and proportions [B, T, H] that are none, or do not fit together."""
    check_tensor("q", q, "BTHK")
    if query_proportion is not None:
        check_tensor("query_proportion", query_proportion, q.shape[:3], device=q.device)


def check_keys(
    k: Tensor,
    v: Tensor,
    key_proportion: Optional[Tensor],
    key_padding_mask: Optional[Tensor],
    q: Optional[Tensor] = None,
) -> None:
    """Refuses keys [B, S, H, K], and what comes with them, that do not fit together or do not fit the queries."""
    if q is None:
        check_tensor("k", k, "BSHK")
    else:
        check_tensor("k", k, (q.shape[0], "S", *q.shape[2:]), summed_alike(q.dtype), q.device)
    check_tensor("v", v, (*k.shape[:3], "V"), summed_alike(k.dtype), k.device)
    if key_proportion is not None:
        check_tensor("key_proportion", key_proportion, k.shape[:3], device=k.device)
    if key_padding_mask is not None:
        check_tensor("key_padding_mask (True = padding)", key_padding_mask, k.shape[:2], [torch.bool], k.device)


def check_half_life(half_life: Optional[Tensor], heads: int, dtype: torch.dtype) -> None:
    """Refuses half-lives that are not a number above 0 for each head, in the type of the sums."""
    if half_life is None:
        return
    plain = isinstance(half_life, Tensor) and half_life.shape == (heads,) and not half_life.is_meta
    plain = plain and half_life.layout is torch.strided
    if not plain or half_life.is_complex() or not bool((half_life.to(dtype) > 0).all()):
        given = half_life.tolist() if plain else described(half_life)
        raise ValueError(f"half_life must be [{heads}], a number of keys above 0 for each head, got {given}")


def check_pace(pace: Optional[Tensor], half_life: Optional[Tensor], k: Tensor) -> None:
    """Refuses paces that are not a number for each of the keys [B, S, H, K] and head, or come without half-lives."""
    if pace is None:
        return
    check_tensor("pace", pace, k.shape[:3], device=k.device)
    if half_life is None:
        raise ValueError("a pace needs half-lives, which it is for: give half_life, too, or no pace")


def check_floor(normalizer_floor: float, dtype: torch.dtype) -> None:
    """Refuses a floor by which the sums of a type cannot be divided."""
    if not normalizer_floor >= SMALLEST[dtype]:
        raise ValueError(
            f"normalizer_floor {normalizer_floor} must be above 0, at least {SMALLEST[dtype]:.2g} in "
            f"{one_of([dtype])}: set --normalizer-floor"
        )


def counted(name: str, number: Any, least: int = 0) -> int:
    """A whole number of 64 bits, with room to add to it.

    Raises:
        ValueError: it is none, or below ``least``.
    """
    if type(number) is int and least <= number <= MOST:
        return number
    try:
        count = int(number.__index__())
    except (AttributeError, TypeError):
        count = least - 1
    if not least <= count <= MOST:
        raise ValueError(f"{name} must be a whole number from {least} to {MOST}, got {number}")
    return count


def summed_alike(dtype: torch.dtype) -> Sequence[torch.dtype]:
    """The types whose sums are kept in the same type as those of this one."""
    return [other for other, summed in SUMMED_IN.items() if summed == SUMMED_IN[dtype]]


def described(x: Any) -> str:
    """What was given, for a message."""
    if not isinstance(x, Tensor):
        return f"{type(x).__name__}"
    layout = "" if x.layout is torch.strided else f" {x.layout}"
    return f"{one_of([x.dtype])} {_sizes(x.shape)}{layout} on {x.device}"


def one_of(dtypes: Iterable[torch.dtype]) -> str:
    """The names of types, for a message."""
    known = {FLOATING: "floating", INTEGERS: "integer"}
    return known.get(tuple(dtypes)) or " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)


def _sizes(shape: Sequence[Size]) -> str:
    return f"[{', '.join(map(str, shape))}]"
