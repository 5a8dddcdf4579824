"""Which queries the kernels of :mod:`leap_fairseq.attention.triton_attention` compute together.

Shape legend: T queries, M blocks, R tiles.
"""

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from leap_fairseq.attention.arguments import Arguments

BLOCK = TILE = 64
"""Keys of a block, and the most queries of a tile."""


class Plan(NamedTuple):
    """Which queries are computed together.

    Attributes:
        blocks: M, with the keys that any query sees.
        visible: int64 [T], how many keys each query sees.
        limits: int32 [T], how many keys of its block each query sees.
        tiles: int32 [R, 3], the block, the first query and the number of queries.
        tiles_of: int32 [M + 1], the first tile of each block; the last is R.
    """

    blocks: int
    visible: Tensor
    limits: Tensor
    tiles: Tensor
    tiles_of: Tensor


def make_plan(given: Arguments) -> Plan:
    """The tiles of a schedule. The layers of a model ask for the same one: the last ones are kept."""
    visible = given.visible.to("cpu", torch.int64).contiguous()
    return _plan(visible.numpy().tobytes(), given.q.device)


@functools.lru_cache(maxsize=16)
def _plan(visible: bytes, device: torch.device) -> Plan:
    seen = torch.frombuffer(bytearray(visible), dtype=torch.int64)
    block = (seen - 1).clamp(min=0) // BLOCK
    counts = torch.bincount(block)
    tiles_of = torch.cat((counts.new_zeros(1), (-(-counts // TILE)).cumsum(0)))
    of_block = torch.repeat_interleave(tiles_of.diff())
    within = (torch.arange(len(of_block), device="cpu") - tiles_of[of_block]) * TILE
    first = (counts.cumsum(0) - counts)[of_block] + within
    tiles = torch.stack((of_block, first, (counts[of_block] - within).clamp(max=TILE)), dim=1)
    moved = (x.to(torch.int32).to(device).contiguous() for x in (seen - block * BLOCK, tiles, tiles_of))
    return Plan(counts.numel(), seen.to(device), *moved)
