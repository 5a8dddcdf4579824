"""The blockwise algorithm as kernels in Triton: what :mod:`leap_fairseq.attention.triton_attention` launches.

    w_ij  = (q_i . k_j) cos(a_i - b_j) 2 ** -(age / half_life),   a = pi/2 P_q, b = pi/2 P_k
    out_i = sum_j w_ij v_j / D_i,   D_i = max(sum_j w_ij, floor)

A query reads the state before the block of keys in which its visible prefix ends, and the visible keys of that block
one by one. With g the gradient of out, that of w is

    dw_ij = n_i . v_j + d_i,   n_i = g_i / D_i,   d_i = -n_i . out_i, or 0 where the floor is active

A tile is up to TILE queries in a row whose prefixes end in the same block. Programs: (block or tile, sample and head).

Shape legend: B samples, T queries, S keys, H heads, K key dimension, V value dimension, M blocks, P parts (2, or 1
without proportions), L rows.
"""

import triton
import triton.language as tl

from leap_fairseq.attention.triton_parts import (
    HALF_PI,
    alive_keys,
    cotangent,
    dot,
    fine_dot,
    left_between,
    load_row,
    load_rows,
    load_state,
    rounded,
    store_rows,
    times_at,
    turn,
)


@triton.jit(do_not_specialize=["T", "S", "M"])
def outputs(q, k, v, p_q, p_k, padding, half_life, clock, limits, tiles, kv, z, out, denominator, floor, T, S, M,
            q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h,
            H: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
            BLOCK: tl.constexpr, TILE: tl.constexpr, REWEIGHTED: tl.constexpr, PADDED: tl.constexpr, AGED: tl.constexpr,
            CLOCKED: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """out [B, T, H, V] and the denominators [B, H, T] of each tile [block, first query, queries]."""
    tile, bh = tl.program_id(0), tl.program_id(1).to(tl.int64)
    b, h = bh // H, bh % H
    block, first, count = tl.load(tiles + 3 * tile), tl.load(tiles + 3 * tile + 1), tl.load(tiles + 3 * tile + 2)
    asked, place = tl.arange(0, TILE), tl.arange(0, BLOCK)
    rows, asking = first + asked, asked < count
    keys_at = block * BLOCK + place
    alive = alive_keys(padding, keys_at, b, S, PADDED)
    limit = tl.load(limits + rows, mask=asking, other=0)
    began = times_at(clock, bh, S, block * BLOCK, CLOCKED)
    read_at = times_at(clock, bh, S, block * BLOCK + limit, CLOCKED)
    whole_at = times_at(clock, bh, S, keys_at + 1, CLOCKED)
    queries = load_rows(q + b * q_b + h * q_h, rows, q_t, asking, K, BK)
    keys = load_rows(k + b * k_b + h * k_h, keys_at, k_t, alive, K, BK)
    values = load_rows(v + b * v_b + h * v_h, keys_at, v_t, alive, V, BV)
    q_cos, q_sin = turn(p_q, rows, asking, b, h, T, H, REWEIGHTED)
    k_cos, k_sin = turn(p_k, keys_at, alive, b, h, S, H, REWEIGHTED)

    weights = dot(queries, tl.trans(keys), DOT, PRECISION)
    if REWEIGHTED:
        weights *= q_cos[:, None] * k_cos[None, :] + q_sin[:, None] * k_sin[None, :]
    if AGED:
        weights *= left_between(half_life, h, whole_at[None, :], read_at[:, None], AGED)
    weights = tl.where(place[None, :] < limit[:, None], weights, 0.0)
    weights = rounded(weights, DOT, PRECISION)
    numerator, total = dot(weights, values, DOT, PRECISION), tl.sum(weights, 1)

    left, at = left_between(half_life, h, began, read_at, AGED), (bh * M + block) * (2 if REWEIGHTED else 1) * K
    q_cos, q_sin = q_cos * left, q_sin * left
    numerator += q_cos[:, None] * dot(queries, load_state(kv + at * V, 0, K, V, BK, BV), DOT, PRECISION)
    total += q_cos * tl.sum(queries.to(tl.float32) * load_row(z + at, 0, K, BK)[None, :], 1)
    if REWEIGHTED:
        numerator += q_sin[:, None] * dot(queries, load_state(kv + at * V, 1, K, V, BK, BV), DOT, PRECISION)
        total += q_sin * tl.sum(queries.to(tl.float32) * load_row(z + at, 1, K, BK)[None, :], 1)
    numerator /= tl.maximum(total, floor)[:, None]
    store_rows(out + (b * T * H + h) * V, rows, H * V, asking, numerator, V, BV)
    tl.store(denominator + bh * T + rows, total, mask=asking)


@triton.jit(do_not_specialize=["T", "S", "M"])
def query_gradients(q, k, v, p_q, p_k, padding, half_life, clock, limits, tiles, kv, z, gradient, denominator, floor, d,
                    dq, dp, T, S, M, q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h,
                    H: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
                    BLOCK: tl.constexpr, TILE: tl.constexpr, REWEIGHTED: tl.constexpr, PADDED: tl.constexpr,
                    AGED: tl.constexpr, CLOCKED: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """dq [B, T, H, K], the gradient dp [B, T, H] of the proportions, and d [B, H, T], of each tile."""
    tile, bh = tl.program_id(0), tl.program_id(1).to(tl.int64)
    b, h = bh // H, bh % H
    block, first, count = tl.load(tiles + 3 * tile), tl.load(tiles + 3 * tile + 1), tl.load(tiles + 3 * tile + 2)
    asked, place = tl.arange(0, TILE), tl.arange(0, BLOCK)
    rows, asking = first + asked, asked < count
    keys_at = block * BLOCK + place
    alive = alive_keys(padding, keys_at, b, S, PADDED)
    limit = tl.load(limits + rows, mask=asking, other=0)
    began = times_at(clock, bh, S, block * BLOCK, CLOCKED)
    read_at = times_at(clock, bh, S, block * BLOCK + limit, CLOCKED)
    whole_at = times_at(clock, bh, S, keys_at + 1, CLOCKED)
    queries = load_rows(q + b * q_b + h * q_h, rows, q_t, asking, K, BK)
    keys = load_rows(k + b * k_b + h * k_h, keys_at, k_t, alive, K, BK)
    values = load_rows(v + b * v_b + h * v_h, keys_at, v_t, alive, V, BV)
    q_cos, q_sin = turn(p_q, rows, asking, b, h, T, H, REWEIGHTED)
    k_cos, k_sin = turn(p_k, keys_at, alive, b, h, S, H, REWEIGHTED)
    n = cotangent(gradient, denominator, floor, rows, asking, b, h, T, H, V, BV, DOT, PRECISION)
    total = tl.load(denominator + bh * T + rows, mask=asking, other=0.0)
    left, at = left_between(half_life, h, began, read_at, AGED), (bh * M + block) * (2 if REWEIGHTED else 1) * K

    # What remains of each pair, and out once more: a rounded one would not cancel.
    remains = tl.where(place[None, :] < limit[:, None],
                       left_between(half_life, h, whole_at[None, :], read_at[:, None], AGED), 0.0)  # fmt: skip
    products = dot(queries, tl.trans(keys), DOT, PRECISION)
    similar = remains * (q_cos[:, None] * k_cos[None, :] + q_sin[:, None] * k_sin[None, :])
    sums = dot(rounded(products * similar, DOT, PRECISION), values, DOT, PRECISION)
    state = load_state(kv + at * V, 0, K, V, BK, BV)
    sums += (q_cos * left)[:, None] * dot(queries, state, DOT, PRECISION)
    # The gradient of q cos a, and that of q sin a.
    d_cos = dot(n, tl.trans(state), DOT, PRECISION)
    if REWEIGHTED:
        state = load_state(kv + at * V, 1, K, V, BK, BV)
        sums += (q_sin * left)[:, None] * dot(queries, state, DOT, PRECISION)
        d_sin = dot(n, tl.trans(state), DOT, PRECISION)
    d_rows = tl.where(total >= floor, -tl.sum(n * sums, 1) / tl.maximum(total, floor), 0.0)
    tl.store(d + bh * T + rows, d_rows, mask=asking)

    dw = dot(n, tl.trans(values), DOT, PRECISION) + d_rows[:, None]
    d_cos = left[:, None] * (d_cos + d_rows[:, None] * load_row(z + at, 0, K, BK)[None, :])
    if REWEIGHTED:
        d_sin = left[:, None] * (d_sin + d_rows[:, None] * load_row(z + at, 1, K, BK)[None, :])
        turning = dw * products * remains * (q_cos[:, None] * k_sin[None, :] - q_sin[:, None] * k_cos[None, :])
        angle = tl.sum(turning, 1)
        angle += tl.sum(queries.to(tl.float32) * (q_cos[:, None] * d_sin - q_sin[:, None] * d_cos), 1)
        tl.store(dp + (b * T + rows) * H + h, HALF_PI * angle, mask=asking)
        d_cos = q_cos[:, None] * d_cos + q_sin[:, None] * d_sin
    d_cos += dot(dw * similar, keys, DOT, PRECISION)
    store_rows(dq + (b * T * H + h) * K, rows, H * K, asking, d_cos, K, BK)


@triton.jit(do_not_specialize=["T", "S", "M"])
def key_gradients(q, k, v, p_q, p_k, padding, half_life, clock, limits, tiles, tiles_of, un, ud, gradient, denominator,
                  floor, d, dk, dv, dp, T, S, M, q_b, q_t, q_h, k_b, k_t, k_h, v_b, v_t, v_h,
                  H: tl.constexpr, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr,
                  BLOCK: tl.constexpr, TILE: tl.constexpr, REWEIGHTED: tl.constexpr, PADDED: tl.constexpr,
                  AGED: tl.constexpr, CLOCKED: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """dk [B, S, H, K], dv [B, S, H, V] and the gradient dp [B, S, H] of the proportions, of each block of keys."""
    block, bh = tl.program_id(0), tl.program_id(1).to(tl.int64)
    b, h = bh // H, bh % H
    asked, place = tl.arange(0, TILE), tl.arange(0, BLOCK)
    keys_at = block * BLOCK + place
    alive = alive_keys(padding, keys_at, b, S, PADDED)
    keys = load_rows(k + b * k_b + h * k_h, keys_at, k_t, alive, K, BK)
    values = load_rows(v + b * v_b + h * v_h, keys_at, v_t, alive, V, BV)
    k_cos, k_sin = turn(p_k, keys_at, alive, b, h, S, H, REWEIGHTED)

    # Queries of later blocks.
    whole_at = times_at(clock, bh, S, keys_at + 1, CLOCKED)
    ended = times_at(clock, bh, S, block * BLOCK + BLOCK, CLOCKED)
    left, at = left_between(half_life, h, whole_at, ended, AGED), (bh * M + block) * (2 if REWEIGHTED else 1) * K
    state = load_state(un + at * V, 0, K, V, BK, BV)
    d_values = (k_cos * left)[:, None] * fine_dot(keys, state, DOT, PRECISION)
    d_keys = fine_dot(values, tl.trans(state), DOT, PRECISION) + load_row(ud + at, 0, K, BK)[None, :]
    d_keys = left[:, None] * d_keys
    angle = tl.zeros((BLOCK,), tl.float32)
    if REWEIGHTED:
        state = load_state(un + at * V, 1, K, V, BK, BV)
        d_values += (k_sin * left)[:, None] * fine_dot(keys, state, DOT, PRECISION)
        d_sin = fine_dot(values, tl.trans(state), DOT, PRECISION) + load_row(ud + at, 1, K, BK)[None, :]
        d_sin = left[:, None] * d_sin
        angle += tl.sum(keys.to(tl.float32) * (k_cos[:, None] * d_sin - k_sin[:, None] * d_keys), 1)
        d_keys = k_cos[:, None] * d_keys + k_sin[:, None] * d_sin

    for tile in range(tl.load(tiles_of + block), tl.load(tiles_of + block + 1)):
        first, count = tl.load(tiles + 3 * tile + 1), tl.load(tiles + 3 * tile + 2)
        rows, asking = first + asked, asked < count
        limit = tl.load(limits + rows, mask=asking, other=0)
        read_at = times_at(clock, bh, S, block * BLOCK + limit, CLOCKED)
        queries = load_rows(q + b * q_b + h * q_h, rows, q_t, asking, K, BK)
        q_cos, q_sin = turn(p_q, rows, asking, b, h, T, H, REWEIGHTED)
        n = cotangent(gradient, denominator, floor, rows, asking, b, h, T, H, V, BV, DOT, PRECISION)
        d_rows = tl.load(d + bh * T + rows, mask=asking, other=0.0)
        # Transposed, [keys, queries].
        weights = dot(keys, tl.trans(queries), DOT, PRECISION)
        weights = tl.where(place[:, None] < limit[None, :], weights, 0.0)
        if AGED:
            weights *= left_between(half_life, h, whole_at[:, None], read_at[None, :], AGED)
        dw = dot(values, tl.trans(n), DOT, PRECISION) + d_rows[None, :]
        if REWEIGHTED:
            turning = k_cos[:, None] * q_sin[None, :] - k_sin[:, None] * q_cos[None, :]
            angle += tl.sum(weights * dw * turning, 1)
            similar = k_cos[:, None] * q_cos[None, :] + k_sin[:, None] * q_sin[None, :]
            weights *= similar
            dw *= similar
        d_values += dot(weights, n, DOT, PRECISION)
        dw = tl.where(place[:, None] < limit[None, :], dw, 0.0)
        if AGED:
            dw *= left_between(half_life, h, whole_at[:, None], read_at[None, :], AGED)
        d_keys += dot(dw, queries, DOT, PRECISION)

    inside = keys_at < S
    d_keys, d_values = tl.where(alive[:, None], d_keys, 0.0), tl.where(alive[:, None], d_values, 0.0)
    store_rows(dk + (b * S * H + h) * K, keys_at, H * K, inside, d_keys, K, BK)
    store_rows(dv + (b * S * H + h) * V, keys_at, H * V, inside, d_values, V, BV)
    if REWEIGHTED:
        tl.store(dp + (b * S + keys_at) * H + h, HALF_PI * tl.where(alive, angle, 0.0), mask=inside)
