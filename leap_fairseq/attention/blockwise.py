"""Training in linear time: states at the borders of key blocks, plus one masked block per query.

With b keys to a block, query i lies in block m_i = (visible[i] - 1) // b: it reads the state that holds blocks
0 .. m_i - 1, and the visible keys of block m_i one by one. Queries of one block form tiles of at most b, so that
everything is a handful of batched products, in O(T + S) time and memory for any ``visible``; for the causal schedule
the tiles are the blocks and nothing is gathered. With a half-life, a state is multiplied as it passes a block.

Shape legend: B batch, H heads, T queries, S keys, V values, F features, M key blocks, R tiles, L queries of a tile.
"""

from typing import NamedTuple, Optional

import torch
import torch.nn.functional as F
from torch import Tensor

from leap_fairseq.attention.arguments import Arguments
from leap_fairseq.attention.half_life import Fading, aged_keys
from leap_fairseq.attention.inputs import key_side, normalise, query_side

BLOCK = 64


class Tiles(NamedTuple):
    """Which queries are computed together.

    Attributes:
        block: int64 [R], the key block of each tile.
        query: int64 [R, L], indices of the queries; T where a tile is not full.
        limit: int64 [R, L], how many keys of its block each query sees.
        slot: int64 [T], where each query is found in the flattened tiles.
        aligned: tile r holds block r and the queries r * L .. r * L + L - 1, so that gathering is a view.
    """

    block: Tensor
    query: Tensor
    limit: Tensor
    slot: Tensor
    aligned: bool


def blockwise(given: Arguments) -> Tensor:
    """Computes :func:`leap_fairseq.attention.prefix_attention` in O(T + S)."""
    visible, fading = given.visible.cpu(), given.fading
    last = int(visible[-1]) if visible.numel() else 0
    key_inputs = (given.k, given.v, given.key_proportion, given.key_padding_mask)
    # Keys behind the last visible one are never read.
    keys, values = key_side(*(None if x is None else x[:, :last] for x in key_inputs))
    queries = query_side(given.q, given.query_proportion)
    if not visible.numel() or int(visible[0]) == last:
        # All queries see the same keys, or there are none: their sum serves them all.
        sums = queries @ (aged_keys(keys, fading).transpose(-1, -2) @ values)
    else:
        sums = _tiled_sums(queries, keys, values, visible, fading)
    if given.initial_state is not None:
        sums = sums + given.initial_state.sums(given.q, given.query_proportion, visible, fading)
    return normalise(sums, given.normalizer_floor, given.v.dtype)


def plan_tiles(visible: Tensor, num_blocks: int, block_size: int) -> Tiles:
    """Groups queries by the key block in which their visible prefix ends.

    Args:
        visible: int64 [T] on the CPU, non-decreasing.
        num_blocks: M.
        block_size: b, also the largest number of queries in a tile.
    """
    num_queries = visible.numel()
    block = (visible - 1).clamp(min=0) // block_size
    counts = torch.bincount(block, minlength=1)
    length = int(counts.max().clamp(max=block_size))
    # Position of each query within its block's run, then the tile and the place in that tile.
    number = torch.arange(num_queries, device="cpu")
    within = number - (counts.cumsum(0) - counts)[block]
    tiles_of_block = (counts + length - 1) // length
    tile = (tiles_of_block.cumsum(0) - tiles_of_block)[block] + within // length
    slot = tile * length + within % length
    num_tiles = int(tiles_of_block.sum())
    query = visible.new_full((num_tiles * length,), num_queries)
    query[slot] = number
    limit = visible.new_zeros(num_tiles * length)
    limit[slot] = visible - block * block_size
    tile_block = torch.repeat_interleave(tiles_of_block)
    aligned = torch.equal(tile_block, torch.arange(num_blocks, device="cpu")) and torch.equal(slot, number)
    return Tiles(tile_block, query.view(-1, length), limit.view(-1, length), slot, aligned)


def _tiled_sums(queries, keys, values, visible: Tensor, fading: Optional[Fading]) -> Tensor:
    """Numerator and denominator [B, H, T, V + 1] of all queries, from what :mod:`.inputs` makes of the arguments."""
    batch, heads, num_queries, features = queries.shape
    num_keys, width, block_size = *values.shape[2:], BLOCK
    num_blocks = -(-num_keys // block_size)
    fill = num_blocks * block_size - num_keys
    keys = F.pad(keys, (0, 0, 0, fill)).view(batch, heads, num_blocks, block_size, features)
    values = F.pad(values, (0, 0, 0, fill)).view(batch, heads, num_blocks, block_size, width)
    # Exclusive sums by shifting: cumsum minus the block itself would lose the digits of a small early state.
    sums = aged_keys(keys[:, :, :-1], fading).transpose(-1, -2) @ values[:, :, :-1]
    states = F.pad(_running_sums(sums, fading, block_size), (0, 0, 0, 0, 1, 0))

    tiles = plan_tiles(visible, num_blocks, block_size)
    queries = _gather_queries(queries, tiles)
    keys, values, states = (_gather_blocks(x, tiles) for x in (keys, values, states))
    # A number for each query goes to a GPU, not one for each pair.
    place = torch.arange(block_size, device=queries.device)
    seen = place < tiles.limit.to(queries.device).unsqueeze(-1)
    scores = (queries @ keys.transpose(-1, -2)).masked_fill(~seen, 0)
    if fading is not None:
        # With a clock, each block has ages of its own.
        alike = fading.clock is None
        limit = (_distinct(tiles.limit) if alike else tiles.limit).to(queries.device)
        first = torch.zeros_like(limit[:, :1]) if alike else tiles.block.to(queries.device).unsqueeze(-1) * block_size
        scores = scores * fading.left((first + place + 1).unsqueeze(1), (first + limit).unsqueeze(-1), scores)
        queries = queries * fading.left(first, first + limit, queries).unsqueeze(-1)
    out = (queries @ states + scores @ values).flatten(2, 3)
    return out[:, :, :num_queries] if tiles.aligned else out.index_select(2, tiles.slot.to(out.device))


def _running_sums(sums: Tensor, fading: Optional[Fading], block_size: int) -> Tensor:
    """The sums [B, H, M, F, V] of each block and those before it, aged by the blocks between."""
    if fading is None:
        return sums.cumsum(2)
    distance, ends = 1, torch.arange(1, sums.shape[2] + 1, device=sums.device) * block_size
    while distance < sums.shape[2]:
        left = fading.left(ends[:-distance], ends[distance:], sums).unsqueeze(-1).unsqueeze(-1)
        sums = sums + F.pad(sums[:, :, :-distance] * left, (0, 0, 0, 0, distance, 0))
        distance *= 2
    return sums


def _distinct(limit: Tensor) -> Tensor:
    """One row [1, L] where all tiles have the same limits: those of a causal schedule; the last tile may be short."""
    return limit[:1] if bool(((limit == limit[:1]) | (limit == 0)).all()) else limit


def _gather_queries(query_features: Tensor, tiles: Tiles) -> Tensor:
    """[B, H, T, F] -> [B, H, R, L, F]; places of a tile that hold no query are zero."""
    missing = tiles.query.numel() - query_features.shape[2] if tiles.aligned else 1
    padded = F.pad(query_features, (0, 0, 0, missing)) if missing else query_features
    if not tiles.aligned:
        padded = padded.index_select(2, tiles.query.flatten().to(padded.device))
    return padded.reshape(padded.shape[:2] + tiles.query.shape + padded.shape[3:])


def _gather_blocks(x: Tensor, tiles: Tiles) -> Tensor:
    """[B, H, M, ...] -> [B, H, R, ...]."""
    return x if tiles.aligned else x.index_select(2, tiles.block.to(x.device))
