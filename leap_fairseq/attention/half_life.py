"""Forgetting at a fixed rate: the weight of a key halves each time that so many newer keys have become visible.

    w_ij  = f(q_i) . f(k_j) * cos(pi/2 * (P_q,i - P_k,j)) * 2 ** -(age_ij / half_life),   age_ij = visible[i] - 1 - j

A sum over all keys of a long text drowns the newest ones. With half-lives spread over the heads, some heads read the
last words and others the last pages; the state is still the same sums, only multiplied as time passes.

Shape legend: B batch, H heads, S keys, F features.

Source:
    The linear form of the position bias of ALiBi (Press et al., ICLR 2022, section 3), as in RetNet (Sun et al., 2023,
    section 2.2: a decay of its own for each head).
"""

from typing import Optional

import torch
from torch import Tensor

from leap_fairseq.attention.checks import counted


def remaining(half_life: Tensor, ages: Tensor, like: Tensor) -> Tensor:
    """What is left of a weight: 2 ** -(age / half_life).

    Args:
        half_life: [H] in keys, above 0 (inf: nothing is forgotten).
        ages: integer, any shape; below 0 counts as 0.
        like: gives the type and the device.

    Returns:
        [H, *ages.shape].
    """
    ages = ages.clamp(min=0).to(like)
    return torch.exp2(-ages / half_life.to(like).view(-1, *[1] * ages.dim()))


def aged_keys(features: Tensor, half_life: Optional[Tensor]) -> Tensor:
    """Keys as a query sees them whose newest key is the last of them.

    Args:
        features: [B, H, ..., S, F].
        half_life: [H] in keys, or None to forget nothing.
    """
    if half_life is None:
        return features
    count = features.shape[-2]
    left = remaining(half_life, torch.arange(count - 1, -1, -1, device=features.device), features)
    return features * left.view(left.shape[0], *[1] * (features.dim() - 4), count, 1)


def spread_half_lives(text: str, num_heads: int) -> Tensor:
    """Reads an option: a half-life for each head.

    Args:
        text: a number of keys, or the shortest and the longest such as "8-2048", between which the heads are spread
            geometrically.
        num_heads: H.

    Returns:
        int64 [H], non-decreasing.

    Raises:
        ValueError: it is neither, or a number is below 1 or beyond int64, or the range decreases.
    """
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise ValueError(f"half-life {text!r} must be a number of tokens such as 64, or a range such as 8-2048")
    shortest, longest = int(first), counted("half-life", int(last or first))
    if not 1 <= shortest <= longest:
        raise ValueError(f"half-life {text!r} must be at least 1 token, and its range must not decrease")
    # On the CPU also where a layer is made on "meta": the core reads its numbers.
    steps = torch.linspace(0, 1, counted("num_heads", num_heads), dtype=torch.float64, device="cpu")
    return (shortest * (longest / shortest) ** steps).round().long()
