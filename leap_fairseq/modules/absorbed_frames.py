"""What softmax cross-attention keeps of a source that arrives in pieces: the projected frames, of each row its own.

Rows may hold differently many frames. They are put together as they are and read one by one: to pad them to the longest
would copy all of them with every token. What a step shares is the rest of the model.

Shape legend: B batch, T queries, S keys, H heads, K head dimension.
"""

from dataclasses import dataclass, replace
from typing import Callable, List, Optional, Sequence, Tuple

import torch
from torch import Tensor

from leap_fairseq.layers.state import Count, by_row, increased

Row = Optional[Tuple[Tensor, Tensor]]
"""Keys and values [H, S, K] of one row; None before its first frames."""


@dataclass(frozen=True)
class AbsorbedFrames:
    """The frames absorbed so far. Immutable: a step makes a new one.

    Attributes:
        rows: of each row of the batch.
        queries: how many queries have been answered, also to a source that was given whole.
    """

    rows: Tuple[Row, ...]
    queries: Count = 0

    @property
    def empty(self) -> bool:
        """Whether no row has a frame."""
        return all(row is None for row in self.rows)

    def absorb(self, key: Tensor, value: Tensor) -> "AbsorbedFrames":
        """Takes the next frames.

        Args:
            key, value: [B, H, S, K].

        Raises:
            ValueError: another number of rows.
        """
        self.check_rows(key)
        if not key.shape[2]:
            return self
        pairs = zip(self.rows, zip(key, value))
        rows = (new if row is None else tuple(torch.cat(pair, 1) for pair in zip(row, new)) for row, new in pairs)
        return replace(self, rows=tuple(rows))

    def read(self, q: Tensor, dropout: Callable[[Tensor], Tensor]) -> Tuple[Tensor, List[Tensor]]:
        """Attends to all frames of each row; a row without any gives zeros.

        Args:
            q: [B, H, T, K], scaled.
            dropout: of the weights.

        Returns:
            The output [B, H, T, K], and the weights of each row, float32 [H, T, S].

        Raises:
            ValueError: another number of rows.
        """
        self.check_rows(q)
        rows = [row or (each[:, :0], each[:, :0]) for each, row in zip(q, self.rows)]
        # Softmax in float32 whatever the inputs are, as fairseq's.
        weights = [(each @ key.mT).softmax(-1, dtype=torch.float32) for each, (key, _) in zip(q, rows)]
        out = [dropout(weight.type_as(q)) @ value for weight, (_, value) in zip(weights, rows)]
        return torch.stack(out), weights

    def answered(self, queries: int) -> "AbsorbedFrames":
        """The same frames behind so many more queries."""
        return replace(self, queries=increased(self.queries, queries))

    def without_frames(self) -> "AbsorbedFrames":
        """The state that has answered as many queries and absorbed nothing."""
        return replace(self, rows=(None,) * len(self.rows))

    @classmethod
    def merge(cls, states: Sequence["AbsorbedFrames"]) -> "AbsorbedFrames":
        """The rows of several states in one, for streams that are computed together.

        Args:
            states: of the same attention; their streams may have been going on differently long.
        """
        queries = (by_row(each.queries, len(each.rows)) for each in states)
        return cls(sum((each.rows for each in states), ()), sum(queries, ()))

    def row(self, number: int) -> "AbsorbedFrames":
        """One row as a state of its own.

        Args:
            number: of the row, from 0.
        """
        return AbsorbedFrames((self.rows[number],), by_row(self.queries, len(self.rows))[number])

    def reorder(self, new_order: Tensor) -> "AbsorbedFrames":
        """The state of a re-ordered batch (beam search).

        Args:
            new_order: int64 [B'], indices into the batch; repeats are allowed.
        """
        if self.empty and isinstance(self.queries, int):
            return replace(self, rows=(None,) * len(new_order))  # does not wait for a GPU to say the order
        numbers, queries = new_order.tolist(), by_row(self.queries, len(self.rows))
        return AbsorbedFrames(tuple(self.rows[n] for n in numbers), tuple(queries[n] for n in numbers))

    def check_rows(self, x: Tensor) -> None:
        """Refuses inputs [B, ...] of another number of rows."""
        if len(self.rows) != len(x):
            raise ValueError(f"the state has {len(self.rows)} rows, the input {len(x)}: give each batch its own")
