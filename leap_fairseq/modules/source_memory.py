"""The source that fairseq's decoding gives again with each step, as it was at the step before.

It may stay, grow, or change: beam search re-orders the encoder output into new tensors, and an encoder that encodes a
prefix anew changes every frame. What was computed from frames is valid exactly as long as they are still there, so they
are compared by content.

Shape legend: S source frames, B batch, C encoder dimension.
"""

from dataclasses import dataclass
from typing import Optional

import torch
from torch import Tensor


@dataclass(frozen=True)
class SourceMemory:
    """The source tensors of the previous step.

    Attributes:
        key, value: [S, B, C].
        padding: bool [B, S], True = padding, or None.
        version: of ``key`` when it was read, as torch counts changes in place.
    """

    key: Tensor
    value: Tensor
    padding: Optional[Tensor]
    version: int

    @classmethod
    def of(cls, key: Tensor, value: Tensor, padding: Optional[Tensor]) -> "SourceMemory":
        """Remembers a source; it is copied only in inference mode, where torch does not count changes in place."""
        if key.is_inference():
            copy = key.clone()
            return cls(copy, copy if value is key else value.clone(), padding, 0)
        return cls(key, value, padding, key._version)

    def begins(self, key: Tensor, value: Tensor, padding: Optional[Tensor], length: int) -> bool:
        """Whether the first ``length`` frames of a source are those of this one."""
        if not self.key.is_inference() and self.key._version != self.version:
            return False
        if key is self.key and value is self.value and padding is self.padding:
            return True
        if key.shape[0] < length or key.shape[1:] != self.key.shape[1:]:
            return False
        same = torch.equal(key[:length], self.key[:length])
        if value is not key or self.value is not self.key:
            same = same and torch.equal(value[:length], self.value[:length])
        return same and torch.equal(_padding(padding, key, length), _padding(self.padding, key, length))

    def reorder(self, new_order: Tensor) -> "SourceMemory":
        """The same source after beam search has re-ordered the batch."""
        key = self.key.index_select(1, new_order)
        value = key if self.value is self.key else self.value.index_select(1, new_order)
        padding = None if self.padding is None else self.padding.index_select(0, new_order)
        return SourceMemory.of(key, value, padding)


def check_absorbing(source: Optional[SourceMemory]) -> None:
    """Refuses to absorb the next frames of a source that was given whole.

    Raises:
        ValueError: there is one.
    """
    if source is not None:
        raise ValueError("this state has read a whole source: absorb its pieces from the start, or none")


def _padding(padding: Optional[Tensor], key: Tensor, length: int) -> Tensor:
    if padding is None:
        return torch.zeros(key.shape[1], length, dtype=torch.bool, device=key.device)
    return padding[:, :length].bool()
