"""The source that fairseq's decoding gives again with each step, as it was at the step before.

It may stay, grow, or change: beam search re-orders the encoder output into new tensors, and an encoder that encodes a
prefix anew changes every frame. What was computed from frames is valid exactly as long as they are still there, so they
are compared by content; once for all layers of a decoder, which are given the same tensors.

Shape legend: S source frames, B batch, C encoder dimension.
"""

from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Iterable, Optional, Tuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Seen:
    """Tensors, each of which may be None, as they were when they were seen.

    Attributes:
        tensors: not copied.
        versions: of each, as torch counts changes in place; None in inference mode, where it does not.
    """

    tensors: Tuple[Optional[Tensor], ...]
    versions: Tuple[Optional[int], ...]

    @classmethod
    def of(cls, *tensors: Optional[Tensor]) -> "Seen":
        """As they are now."""
        return cls(tensors, tuple(map(_version, tensors)))

    def unchanged(self) -> bool:
        """Whether nothing is known to have changed them since."""
        return self.versions == tuple(map(_version, self.tensors))

    def are(self, *tensors: Optional[Tensor]) -> bool:
        """Whether these are they, and are known not to have changed."""
        same = all(mine is other for mine, other in zip(self.tensors, tensors))
        return same and None not in self.versions and self.unchanged()


@dataclass(frozen=True)
class SourceMemory:
    """The source tensors of the previous step. Layers share it: what one of them has asked, the others need not.

    Attributes:
        key, value: [S, B, C].
        padding: bool [B, S], True = padding, or None.
        seen: the three.
        found: what was asked of it, of which tensors, and the answer.
    """

    key: Tensor
    value: Tensor
    padding: Optional[Tensor]
    seen: Seen
    found: Dict[tuple, Tuple[Seen, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, key: Tensor, value: Tensor, padding: Optional[Tensor], held: Iterable[Any] = ()) -> "SourceMemory":
        """Remembers a source; it is copied only in inference mode, where torch does not count changes in place.

        Args:
            key, value, padding: of this step.
            held: what all layers hold, perhaps this memory too.
        """
        for other in held:
            if isinstance(other, cls) and other.seen.are(key, value, padding):
                return other
        kept_key = _kept(key)
        kept = (kept_key, kept_key if value is key else _kept(value), _kept(padding))
        return cls(*kept, Seen.of(*kept))

    def begins(self, key: Tensor, value: Tensor, padding: Optional[Tensor], length: int) -> bool:
        """Whether the first ``length`` frames of a source are those of this one."""
        if not self.seen.unchanged():
            return False
        source = (key, value, padding)
        return self.seen.are(*source) or self._once(("begins", length), source, lambda: self._equals(*source, length))

    def reorder(self, new_order: Tensor) -> "SourceMemory":
        """The same source after beam search has re-ordered the batch."""
        if not self.seen.unchanged():
            return self  # a copy would have the numbers that were not read, and could not be told from the source
        return self._once(("reorder",), (new_order,), lambda: self._reordered(new_order))

    def _once(self, question: tuple, tensors: Tuple[Optional[Tensor], ...], answer: Callable[[], Any]) -> Any:
        seen, known = self.found.get(question, (None, None))
        if seen is not None and seen.are(*tensors):
            return known
        self.found[question] = (Seen.of(*tensors), answer())
        return self.found[question][1]

    def _equals(self, key: Tensor, value: Tensor, padding: Optional[Tensor], length: int) -> bool:
        if key.shape[0] < length or key.shape[1:] != self.key.shape[1:]:
            return False
        same = torch.equal(key[:length], self.key[:length])
        if value is not key or self.value is not self.key:
            same = same and torch.equal(value[:length], self.value[:length])
        return same and torch.equal(_padding(padding, key, length), _padding(self.padding, key, length))

    def _reordered(self, new_order: Tensor) -> "SourceMemory":
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


def _version(x: Optional[Tensor]) -> Optional[int]:
    if x is None:
        return 0
    return None if x.is_inference() else x._version


def _kept(x: Optional[Tensor]) -> Optional[Tensor]:
    return x.clone() if x is not None and x.is_inference() else x


def _padding(padding: Optional[Tensor], key: Tensor, length: int) -> Tensor:
    if padding is None:
        return torch.zeros(key.shape[1], length, dtype=torch.bool, device=key.device)
    return padding[:, :length].bool()
