"""The algorithm ``state``: as a stream computes, absorb, read, absorb, read; for any ``visible``.

Shape legend: T queries, S keys.
"""

from typing import Optional

import torch
from torch import Tensor

from leap_fairseq.attention.arguments import Arguments
from leap_fairseq.attention.inputs import sum_dtype
from leap_fairseq.attention.state import LinearAttentionState


def recurrent(given: Arguments) -> Tensor:
    """Computes :func:`leap_fairseq.attention.prefix_attention` key by key as they become visible."""
    q, k, v, visible, p_q, p_k, padding, floor, initial_state, half_life, *_, pace = given
    q = q.to(sum_dtype(q.dtype))
    batch, _, heads, key_dim = q.shape
    features = key_dim if p_q is None else 2 * key_dim
    current = initial_state or LinearAttentionState.zeros(
        batch, heads, features, v.shape[-1], dtype=q.dtype, device=q.device
    )
    # Also where no query sees a key, there are gradients of all that was given.
    current = current.absorb(
        k[:, :0], v[:, :0], *(_cut(x, slice(0)) for x in (p_k, padding)), half_life, _cut(pace, slice(0))
    )
    counts, repeats = torch.unique_consecutive(visible.cpu(), return_counts=True)
    # Also without queries, the output is one of theirs.
    outputs, first, absorbed = [current.read(q[:, :0], _cut(p_q, slice(0)), floor)], 0, 0
    for count, repeat in zip(counts.tolist(), repeats.tolist()):
        new, now = slice(absorbed, count), slice(first, first + repeat)
        cuts = (_cut(x, new) for x in (p_k, padding))
        current = current.absorb(k[:, new], v[:, new], *cuts, half_life, _cut(pace, new))
        outputs.append(current.read(q[:, now], _cut(p_q, now), floor))
        first, absorbed = first + repeat, count
    return torch.cat(outputs, dim=1).to(v.dtype)


def _cut(x: Optional[Tensor], positions: slice) -> Optional[Tensor]:
    return None if x is None else x[:, positions]
