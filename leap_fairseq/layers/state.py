"""What an attention keeps between two calls of incremental decoding: its state, and the source it was read from.

A source may stay, grow, or change between two steps: beam search re-orders the encoder output into new tensors, a
streaming encoder appends frames, and an encoder that re-encodes the prefix changes every frame. What is kept of a
source is valid exactly as long as the frames it was computed from are still there, so they are compared by content.

Shape legend: S source frames, B batch, C encoder dimension.
"""

from dataclasses import dataclass, replace
from typing import Optional, Sequence, Tuple, Union

import torch
from torch import Tensor

from leap_fairseq.attention import LinearAttentionState
from leap_fairseq.attention.visibility import Schedule

Count = Union[int, Tuple[int, ...]]
"""Of a batch whose rows have been going on equally long, or of each row."""


def increased(count: Count, by: int) -> Count:
    """A count behind so many more."""
    return count + by if isinstance(count, int) else tuple(each + by for each in count)


def by_row(count: Count, batch_size: int) -> Tuple[int, ...]:
    """The count of each row."""
    return (count,) * batch_size if isinstance(count, int) else count


def as_offset(count: Count, device: torch.device) -> Union[int, Tensor]:
    """What is added to positions [B, T]: a number, or int64 [B, 1]."""
    return count if isinstance(count, int) else torch.tensor(count, device=device).unsqueeze(1)


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
        return SourceMemory.of(key, value, _reorder(self.padding, new_order))


@dataclass(frozen=True)
class AttentionMemory:
    """The memory of one linear attention. Immutable: a step makes a new one.

    Attributes:
        state: the keys absorbed so far.
        keys: how many they are, padding included.
        queries: how many queries have been answered.
        positions: int64 [B], how many of the keys were not padding (self-attention; None in cross-attention).
        source: what the keys were absorbed from (None in self-attention, and before the first step).
        absorbed: the source comes in pieces, of which nothing is kept but the state.
    """

    state: LinearAttentionState
    keys: Count = 0
    queries: Count = 0
    positions: Optional[Tensor] = None
    source: Optional[SourceMemory] = None
    absorbed: bool = False

    def visible(self, schedule: Schedule, queries: int, new_keys: int) -> Tensor:
        """How many of the new keys the next queries see, int64 [T]; below 0, not all of those in the state.

        Args:
            schedule: of the attention.
            queries: T, how many come next.
            new_keys: how many keys come with them.

        Raises:
            ValueError: the rows have been going on differently long, and see differently many.
        """
        batch_size = self.state.kvz.shape[0]
        pairs = set(zip(by_row(self.keys, batch_size), by_row(self.queries, batch_size)))
        first, *others = (schedule(queries, keys + new_keys, answered) - keys for keys, answered in pairs)
        if any(not torch.equal(first, other) for other in others):
            raise ValueError(
                "streams that have been going on differently long see differently many of the next "
                f"{new_keys} keys: compute them one by one"
            )
        return first

    @classmethod
    def merge(cls, memories: Sequence["AttentionMemory"]) -> "AttentionMemory":
        """The rows of several memories in one, for streams that are computed together.

        Args:
            memories: of the same attention; what they read is in their states alone.

        Raises:
            ValueError: one has read a whole source, which the others do not have.
        """
        for memory in memories:
            check_absorbing(memory.source)

        def rows(name: str) -> Tuple[int, ...]:
            return sum((by_row(getattr(each, name), each.state.kvz.shape[0]) for each in memories), ())

        positions = [each.positions for each in memories]
        return cls(
            LinearAttentionState(torch.cat([each.state.kvz for each in memories])),
            rows("keys"),
            rows("queries"),
            None if positions[0] is None else torch.cat(positions),
            absorbed=any(each.absorbed for each in memories),
        )

    def row(self, number: int) -> "AttentionMemory":
        """One row as a memory of its own.

        Args:
            number: of the row, from 0.
        """
        batch_size, one = self.state.kvz.shape[0], slice(number, number + 1)
        return AttentionMemory(
            LinearAttentionState(self.state.kvz[one]),
            by_row(self.keys, batch_size)[number],
            by_row(self.queries, batch_size)[number],
            None if self.positions is None else self.positions[one],
            absorbed=self.absorbed,
        )

    def at_source(self, source: SourceMemory, first_visible: int) -> "AttentionMemory":
        """The memory at a source: as it is where the frames absorbed are still there and visible, else empty.

        Args:
            source: of this step.
            first_visible: frames that the next query may see; what was absorbed beyond them would leak.
        """
        kept = self.source is not None and self.keys <= first_visible
        if kept and self.source.begins(source.key, source.value, source.padding, self.keys):
            return replace(self, source=source)
        empty = LinearAttentionState(torch.zeros_like(self.state.kvz))
        return replace(self, state=empty, keys=0, source=source)

    def reorder(self, new_order: Tensor) -> "AttentionMemory":
        """The memory of a re-ordered batch.

        Args:
            new_order: int64 [B'], indices into the batch.
        """
        return replace(
            self,
            state=self.state.reorder(new_order),
            positions=_reorder(self.positions, new_order),
            source=None if self.source is None else self.source.reorder(new_order),
        )


def check_absorbing(source: Optional[SourceMemory]) -> None:
    """Refuses to absorb the next frames of a source that was given whole.

    Args:
        source: of the state so far.

    Raises:
        ValueError: there is one.
    """
    if source is not None:
        raise ValueError("this state has read a whole source: absorb its pieces from the start, or none")


def _padding(padding: Optional[Tensor], key: Tensor, length: int) -> Tensor:
    if padding is None:
        return torch.zeros(key.shape[1], length, dtype=torch.bool, device=key.device)
    return padding[:, :length].bool()


def _reorder(x: Optional[Tensor], new_order: Tensor) -> Optional[Tensor]:
    return None if x is None else x.index_select(0, new_order)
