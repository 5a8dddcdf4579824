"""Sums over blocks, and the states that they add up to, as kernels in Triton; see :mod:`.triton_kernels`.

cos(a - b) = cos a cos b + sin a sin b, so a state has two parts of [K, V]. On the way back, the queries of later blocks
are to a key what the keys of earlier blocks are to a query: the same sums, which run the other way.
"""

import triton
import triton.language as tl

from leap_fairseq.attention.triton_parts import (
    alive_keys,
    cotangent,
    dot,
    left_between,
    left_of,
    load_rows,
    rounded,
    store_state,
    times_at,
    turn,
)


@triton.jit(do_not_specialize=["S", "M"])
def sum_keys(k, v, p_k, padding, half_life, clock, kv, z, S, M, k_b, k_t, k_h, v_b, v_t, v_h,
             H: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
             BLOCK: tl.constexpr, REWEIGHTED: tl.constexpr, PADDED: tl.constexpr, AGED: tl.constexpr,
             CLOCKED: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """The sums over each block of keys, kv [B, H, M, P, K, V] and z [B, H, M, P, K], as the next block sees them."""
    block, bh = tl.program_id(0), tl.program_id(1).to(tl.int64)
    b, h = bh // H, bh % H
    place = tl.arange(0, BLOCK)
    rows = block * BLOCK + place
    alive = alive_keys(padding, rows, b, S, PADDED)
    keys = load_rows(k + b * k_b + h * k_h, rows, k_t, alive, K, BK).to(tl.float32)
    values = load_rows(v + b * v_b + h * v_h, rows, v_t, alive, V, BV)
    cos, sin = turn(p_k, rows, alive, b, h, S, H, REWEIGHTED)
    whole_at = times_at(clock, bh, S, rows + 1, CLOCKED)
    ended = times_at(clock, bh, S, block * BLOCK + BLOCK, CLOCKED)
    keys = keys * left_between(half_life, h, whole_at, ended, AGED)[:, None]
    at, columns = (bh * M + block) * (2 if REWEIGHTED else 1) * K, tl.arange(0, BK)
    turned = rounded(keys * cos[:, None], DOT, PRECISION)
    store_state(kv + at * V, 0, dot(tl.trans(turned), values, DOT, PRECISION), K, V, BK, BV)
    tl.store(z + at + columns, tl.sum(turned, 0), mask=columns < K)
    if REWEIGHTED:
        turned = rounded(keys * sin[:, None], DOT, PRECISION)
        store_state(kv + at * V, 1, dot(tl.trans(turned), values, DOT, PRECISION), K, V, BK, BV)
        tl.store(z + at + K + columns, tl.sum(turned, 0), mask=columns < K)


@triton.jit(do_not_specialize=["S", "M"])
def carry(kv, z, first, kv_states, z_states, half_life, clock, S, M, H: tl.constexpr, K: tl.constexpr, V: tl.constexpr,
          BLOCK: tl.constexpr, WIDTH: tl.constexpr, PARTS: tl.constexpr, CONTINUED: tl.constexpr, AGED: tl.constexpr,
          CLOCKED: tl.constexpr, BACKWARD: tl.constexpr):  # fmt: skip
    """From the sums of blocks the states before each block; backward, behind each block. Programs: (columns, head).

    state[i + 1] = state[i] * 2 ** -(BLOCK / half_life) + sums[i]; state[0] is `first` [B, H, P, K, V + 1], or 0. By a
    clock, blocks have lengths of their own.
    """
    N: tl.constexpr = PARTS * K * V
    columns = tl.program_id(0) * WIDTH + tl.arange(0, WIDTH)
    if tl.program_id(0) * WIDTH < N:
        origin = columns // V * (V + 1) + columns % V
        carry_columns(kv, first, origin, kv_states, half_life, clock, S, M, columns, N, N // V * (V + 1), H, BLOCK,
                      WIDTH, CONTINUED, AGED, CLOCKED, BACKWARD)  # fmt: skip
    else:
        columns -= tl.cdiv(N, WIDTH) * WIDTH
        origin = columns * (V + 1) + V
        carry_columns(z, first, origin, z_states, half_life, clock, S, M, columns, N // V, N // V * (V + 1), H, BLOCK,
                      WIDTH, CONTINUED, AGED, CLOCKED, BACKWARD)  # fmt: skip


@triton.jit
def carry_columns(sums, first, origin, states, half_life, clock, S, M, columns, N: tl.constexpr, FIRST: tl.constexpr,
                  H: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr, CONTINUED: tl.constexpr,
                  AGED: tl.constexpr, CLOCKED: tl.constexpr, BACKWARD: tl.constexpr):  # fmt: skip
    """Of some columns of N, 16 blocks at a time."""
    bh, steps = tl.program_id(1).to(tl.int64), tl.arange(0, 16)
    inside, h = columns < N, bh % H
    if CONTINUED:
        state = tl.load(first + bh * FIRST + origin, mask=inside, other=0.0)
    else:
        state = tl.zeros((WIDTH,), tl.float32)
    distance = steps[:, None] - 1 - steps[None, :]
    earlier = tl.where(distance >= 0, left_of(half_life, h, distance * BLOCK, AGED), 0.0)
    since, until = left_of(half_life, h, steps * BLOCK, AGED), left_of(half_life, h, (15 - steps) * BLOCK, AGED)
    fading = tl.exp2(-16.0 * BLOCK / tl.load(half_life + h)) if AGED else 1.0
    for start in range(0, M, 16):
        number = start + steps
        if CLOCKED:
            borders = border_times(clock, bh, S, M, number, BLOCK, BACKWARD)
            behind = border_times(clock, bh, S, M, number + 1, BLOCK, BACKWARD)
            begins = border_times(clock, bh, S, M, start, BLOCK, BACKWARD)
            ends = border_times(clock, bh, S, M, start + 16, BLOCK, BACKWARD)
            earlier = left_between(half_life, h, behind[None, :], borders[:, None], AGED)
            earlier = tl.where(distance >= 0, earlier, 0.0)
            since = left_between(half_life, h, begins, borders, AGED)
            until = left_between(half_life, h, behind, ends, AGED)
            fading = left_between(half_life, h, begins, ends, AGED)
        rows = M - 1 - number if BACKWARD else number
        at = (bh * M + rows)[:, None] * N + columns[None, :]
        x = tl.load(sums + at, mask=(number < M - 1)[:, None] & inside[None, :], other=0.0)
        before = tl.dot(earlier, x, input_precision="ieee") + since[:, None] * state[None, :]
        tl.store(states + at, before.to(states.dtype.element_ty), mask=(number < M)[:, None] & inside[None, :])
        state = tl.sum(until[:, None] * x, 0) + state * fading


@triton.jit
def border_times(clock, bh, S, M, number, BLOCK: tl.constexpr, BACKWARD: tl.constexpr):
    """When the walk over the blocks has passed so many of them; backward, time runs from the last key to the first."""
    if BACKWARD:
        return -times_at(clock, bh, S, (M - number) * BLOCK, True)
    else:
        return times_at(clock, bh, S, number * BLOCK, True)


@triton.jit(do_not_specialize=["T", "S", "M"])
def sum_queries(q, p_q, half_life, clock, limits, tiles, tiles_of, gradient, denominator, floor, d, un, ud, T, S, M,
                q_b, q_t, q_h, H: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
                BLOCK: tl.constexpr, TILE: tl.constexpr, REWEIGHTED: tl.constexpr, AGED: tl.constexpr,
                CLOCKED: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """The sums over the queries of each block, of n in un [B, H, M, P, K, V] and of d in ud [B, H, M, P, K]."""
    block, bh = tl.program_id(0) + 1, tl.program_id(1).to(tl.int64)
    b, h = bh // H, bh % H
    asked, columns = tl.arange(0, TILE), tl.arange(0, BK)
    n_cos, n_sin = tl.zeros((BK, BV), tl.float32), tl.zeros((BK, BV), tl.float32)
    d_cos, d_sin = tl.zeros((BK,), tl.float32), tl.zeros((BK,), tl.float32)
    began = times_at(clock, bh, S, block * BLOCK, CLOCKED)
    for tile in range(tl.load(tiles_of + block), tl.load(tiles_of + block + 1)):
        first, count = tl.load(tiles + 3 * tile + 1), tl.load(tiles + 3 * tile + 2)
        rows, asking = first + asked, asked < count
        queries = load_rows(q + b * q_b + h * q_h, rows, q_t, asking, K, BK).to(tl.float32)
        cos, sin = turn(p_q, rows, asking, b, h, T, H, REWEIGHTED)
        n = cotangent(gradient, denominator, floor, rows, asking, b, h, T, H, V, BV, DOT, PRECISION)
        d_rows = tl.load(d + bh * T + rows, mask=asking, other=0.0)
        limit = tl.load(limits + rows, mask=asking, other=0)
        read_at = times_at(clock, bh, S, block * BLOCK + limit, CLOCKED)
        left = left_between(half_life, h, began, read_at, AGED)
        turned = rounded(queries * (cos * left)[:, None], DOT, PRECISION)
        n_cos += dot(tl.trans(turned), n, DOT, PRECISION)
        d_cos += tl.sum(turned * d_rows[:, None], 0)
        if REWEIGHTED:
            turned = rounded(queries * (sin * left)[:, None], DOT, PRECISION)
            n_sin += dot(tl.trans(turned), n, DOT, PRECISION)
            d_sin += tl.sum(turned * d_rows[:, None], 0)
    at = (bh * M + block) * (2 if REWEIGHTED else 1) * K
    store_state(un + at * V, 0, n_cos, K, V, BK, BV)
    tl.store(ud + at + columns, d_cos, mask=columns < K)
    if REWEIGHTED:
        store_state(un + at * V, 1, n_sin, K, V, BK, BV)
        tl.store(ud + at + K + columns, d_sin, mask=columns < K)
