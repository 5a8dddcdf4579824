"""What an attention layer carries on from one piece of a sequence to the next: its sums, and what it has counted.

Shape legend: B batch, T queries, H heads, F features, V values of a head.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Any, Dict, Optional, Sequence, Tuple, Union

import torch
from torch import Tensor

from leap_fairseq.attention import LinearAttentionState, prefix_attention
from leap_fairseq.attention.checks import check_tensor, counted
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
class LayerState:
    """The state of one attention layer. Immutable and of constant size: a step makes a new one.

    Attributes:
        state: the keys absorbed so far.
        positions: int64 [B], how many of the keys were not padding.
        keys: how many they are, padding included.
        queries: how many queries have been answered.
    """

    state: LinearAttentionState
    positions: Tensor
    keys: Count = 0
    queries: Count = 0

    def visible(self, schedule: Schedule, queries: int, new_keys: int) -> Tensor:
        """How many of the new keys the next queries see, int64 [T].

        Args:
            schedule: of the attention.
            queries: T, how many come next.
            new_keys: how many keys come with them.

        Raises:
            ValueError: the rows have been going on differently long, and see differently many.
        """
        counts = (self.keys, self.queries)
        alike = all(isinstance(count, int) for count in counts)
        pairs = {counts} if alike else set(zip(*(by_row(count, len(self.positions)) for count in counts)))
        first, *others = (schedule(queries, keys + new_keys, answered) - keys for keys, answered in pairs)
        if any(not torch.equal(first, other) for other in others):
            raise ValueError(
                "streams that have been going on differently long see differently many of the next "
                f"{new_keys} keys: compute them one by one"
            )
        return first

    def step(self, q: Tensor, k: Tensor, v: Tensor, visible: Tensor, **options: Any) -> Tuple[Tensor, "LayerState"]:
        """Computes the next queries and absorbs the next keys.

        Args:
            q, k, v, visible, options: as for :func:`leap_fairseq.attention.prefix_attention`; ``visible`` counts the
                new keys.

        Returns:
            The output [B, T, H, V], and the new state.
        """
        queries, keys, padding = q.shape[1], k.shape[1], options["key_padding_mask"]
        p_q, p_k, floor = (options[name] for name in ("query_proportion", "key_proportion", "normalizer_floor"))
        contrast, half_life, pace = (options[name] for name in ("contrast", "half_life", "pace"))
        all_seen = bool((visible == keys).all())
        if all_seen and padding is None and not options["slots"]:
            out, after = self.state.step(q, k, v, p_q, p_k, floor, contrast, half_life, pace)
        else:
            after = self.state.absorb(k, v, p_k, padding, half_life, pace)
            if all_seen:
                out = after.read(q, p_q, floor, options["slots"], contrast)
            else:
                out = prefix_attention(q, k, v, visible, initial_state=self.state, **options)
        return out, self.advanced(after, queries, keys, padding)

    def advanced(
        self, state: LinearAttentionState, queries: int, keys: int, padding: Optional[Tensor] = None
    ) -> "LayerState":
        """The state behind more tokens.

        Args:
            state: with the keys absorbed.
            queries, keys: how many came.
            padding: bool [B, keys], True = padding, or None.
        """
        seen = keys if padding is None else (~padding).sum(1)
        positions = self.positions + seen if keys else self.positions
        return LayerState(state, positions, increased(self.keys, keys), increased(self.queries, queries))

    def without_keys(self) -> "LayerState":
        """The state that has answered as many queries and absorbed nothing."""
        empty = LinearAttentionState.computed(torch.zeros_like(self.state.kvz))
        return LayerState(empty, torch.zeros_like(self.positions), 0, self.queries)

    @classmethod
    def merge(cls, states: Sequence["LayerState"]) -> "LayerState":
        """The rows of several states in one, for streams that are computed together.

        Args:
            states: of the same layer; their streams may have been going on differently long.

        Raises:
            ValueError: they are of different layers.
        """
        kinds = {(each.state.kvz.shape[1:], each.state.kvz.dtype, each.state.kvz.device) for each in states}
        if len(kinds) != 1:
            raise ValueError(f"states of one layer can be merged, got {', '.join(map(str, kinds)) or 'none'}")

        def rows(name: str) -> Tuple[int, ...]:
            return sum((by_row(getattr(each, name), len(each.positions)) for each in states), ())

        kvz = _joined([each.state.kvz for each in states])
        positions = torch.cat([each.positions for each in states])
        return cls(LinearAttentionState.computed(kvz), positions, rows("keys"), rows("queries"))

    def row(self, number: int) -> "LayerState":
        """One row as a state of its own.

        Args:
            number: of the row, from 0.
        """
        one = slice(number, number + 1)
        counts = (by_row(count, len(self.positions))[number] for count in (self.keys, self.queries))
        return LayerState(LinearAttentionState.computed(self.state.kvz[one]), self.positions[one], *counts)

    def reorder(self, new_order: Tensor) -> "LayerState":
        """The state of a re-ordered batch (beam search).

        Args:
            new_order: int64 [B'], indices into the batch; repeats are allowed.
        """
        keys, queries = (
            count if isinstance(count, int) else tuple(count[number] for number in new_order.tolist())
            for count in (self.keys, self.queries)
        )
        return LayerState(self.state.reorder(new_order), self.positions.index_select(0, new_order), keys, queries)

    def detach(self) -> "LayerState":
        """The same numbers without the graph behind them."""
        return replace(self, state=LinearAttentionState.computed(self.state.kvz.detach()))

    def to_plain(self) -> Dict[str, Any]:
        """The state as numbers and tensors, which ``torch.save`` writes and any process reads."""
        return {"kvz": self.state.kvz, "keys": self.keys, "queries": self.queries, "positions": self.positions}

    @classmethod
    def from_plain(cls, plain: Any, like: "LayerState") -> "LayerState":
        """The reverse of :meth:`to_plain`; all of it is looked at, since it may come from a file.

        Args:
            plain: what :meth:`to_plain` returned.
            like: a state of the layer that goes on with it, of any number of rows.

        Raises:
            ValueError: something else, or the state of another layer.
        """
        names = ("kvz", "keys", "queries", "positions")
        if not isinstance(plain, dict) or plain.keys() != set(names):
            raise ValueError(f"the state of a layer must be {', '.join(names)}: use one that the model has saved")
        kvz, keys, queries, positions = (plain[name] for name in names)
        state = LinearAttentionState(kvz)
        given, expected = ((tuple(x.shape[1:]), x.dtype, str(x.device)) for x in (kvz, like.state.kvz))
        if given != expected:
            raise ValueError(
                f"the state has heads, features and values {given}, the layer {expected}: use the model that it was "
                "saved with"
            )
        keys, queries = (_counted(name, count, len(kvz)) for name, count in (("keys", keys), ("queries", queries)))
        check_tensor("positions", positions, kvz.shape[:1], [torch.int64], kvz.device)
        if any(not 0 <= seen <= most for seen, most in zip(positions.tolist(), by_row(keys, len(kvz)))):
            raise ValueError(f"positions {positions.tolist()} must lie in [0, {keys}], the number of keys")
        return cls(state, positions, keys, queries)

    def check_rows(self, x: Tensor) -> None:
        """Refuses inputs [B, ...] of another number of rows."""
        if self.positions.shape != x.shape[:1]:
            raise ValueError(f"the state has {len(self.positions)} rows, the input {len(x)}: give each batch its own")


def _joined(rows: Sequence[Tensor]) -> Tensor:
    """Rows behind each other, [B, ...]; those that a step of the same streams has made lie so already: no copy."""
    whole = rows[0]._base
    if whole is not None and sum(map(len, rows)) == len(whole):
        places = itertools.accumulate(map(len, rows[:-1]), initial=0)
        if all(_same_memory(row, whole[n : n + len(row)]) for row, n in zip(rows, places)):
            return whole
    return torch.cat(list(rows))


def _same_memory(x: Tensor, y: Tensor) -> bool:
    return x._base is y._base and (x.data_ptr(), x.shape, x.stride()) == (y.data_ptr(), y.shape, y.stride())


def _counted(name: str, count: Any, rows: int) -> Count:
    if not isinstance(count, tuple):
        return counted(name, count)
    if len(count) != rows:
        raise ValueError(f"{name} must be a count, or one for each of {rows} rows: got {len(count)}")
    return tuple(counted(name, each) for each in count)
