"""Forgetting: the weight of a key halves each time that so many newer keys have become visible.

    w_ij  = f(q_i) . f(k_j) * cos(pi/2 * (P_q,i - P_k,j)) * 2 ** -(age_ij / half_life),   age_ij = visible[i] - 1 - j

With a pace, a newer key counts for as much as its pace: age_ij is the sum of the paces of the keys j + 1 to
visible[i] - 1. A key with a large one makes a head forget what was before it, one of 0 leaves it as it is.

A sum over all keys of a long text drowns the newest ones. With half-lives spread over the heads, some heads read the
last words and others the last pages; the state is still the same sums, only multiplied as time passes.

Shape legend: B batch, H heads, S keys, F features.

Source:
    The linear form of the position bias of ALiBi (Press et al., ICLR 2022, section 3), as in RetNet (Sun et al., 2023,
    section 2.2: a decay of its own for each head). Decays that depend on the token: Yang et al., Gated Linear
    Attention, ICML 2024; Dao and Gu, Mamba-2, ICML 2024; Lin et al., Forgetting Transformer, ICLR 2025.
"""

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from leap_fairseq.attention.checks import counted
from leap_fairseq.attention.inputs import zero_padding


class Fading(NamedTuple):
    """How weights fade.

    Attributes:
        half_life: [H] in keys, above 0 (inf: nothing is forgotten).
        clock: float64 [B, H, S + 1], of so many keys the sum of their paces; None where each counts as 1.
    """

    half_life: Tensor
    clock: Optional[Tensor] = None

    @classmethod
    def of(
        cls, half_life: Optional[Tensor], pace: Optional[Tensor] = None, key_padding_mask: Optional[Tensor] = None
    ) -> Optional["Fading"]:
        """That of some keys, or None where nothing is forgotten.

        Args:
            half_life: [H] in keys, or None.
            pace: [B, S, H], at least 0, or None; of padding, 1 is read.
            key_padding_mask: bool [B, S], True = padding, or None.
        """
        if half_life is None:
            return None
        if pace is None:
            return cls(half_life)
        # Ages are differences of sums that grow with the sequence.
        pace = zero_padding(pace.double() - 1, key_padding_mask) + 1
        return cls(half_life, torch.nn.functional.pad(pace.cumsum(1).transpose(1, 2), (1, 0)))

    def left(self, since: Tensor, until: Tensor, like: Tensor) -> Tensor:
        """What is left of the weight of a key: 2 ** -(age / half_life).

        Args:
            since: integer, how many keys there were with it.
            until: integer, how many there are for the query; broadcast with `since`. If fewer, the age is 0.
            like: gives the type and the device.

        Returns:
            [H, ...], or [B, H, ...] with a clock.
        """
        if self.clock is None:
            return remaining(self.half_life, until - since, like)
        dims = max(since.dim(), until.dim())
        ages = (self._at(until, dims) - self._at(since, dims)).clamp(min=0)
        half_life = self.half_life.to(ages).view(-1, *[1] * (ages.dim() - 2))
        return torch.exp2(-ages / half_life).to(like)

    def _at(self, count: Tensor, dims: int) -> Tensor:
        # Behind the last key there is room in the last block.
        count = count.to(self.clock.device).clamp(max=self.clock.shape[-1] - 1)
        return self.clock[..., count.view((1,) * (dims - count.dim()) + count.shape)]


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


def aged_keys(features: Tensor, fading: Optional[Fading]) -> Tensor:
    """Keys as a query sees them whose newest key is the last of them; of each of several blocks.

    Args:
        features: [B, H, S, F], or [B, H, M, S, F], M blocks behind each other.
        fading: of all of them, or None to forget nothing.
    """
    if fading is None:
        return features
    count = features.shape[-2]
    place = torch.arange(count, device=features.device)
    if features.dim() == 4 or fading.clock is None:
        left = fading.left(place + 1, place.new_tensor(count), features)
        return features * left.view(*left.shape[:-1], *[1] * (features.dim() - 4), count, 1)
    first = torch.arange(features.shape[2], device=features.device).unsqueeze(-1) * count
    return features * fading.left(first + place + 1, first + count, features).unsqueeze(-1)


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
