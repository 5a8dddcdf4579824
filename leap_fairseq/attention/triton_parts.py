"""What the kernels of :mod:`.triton_kernels` and :mod:`.triton_states` are made of: products, rows, angles, ages."""

import triton
import triton.language as tl

HALF_PI = tl.constexpr(1.5707963267948966)


@triton.jit
def dot(a, b, DOT: tl.constexpr, PRECISION: tl.constexpr):
    return tl.dot(a.to(DOT), b.to(DOT), input_precision=PRECISION)


@triton.jit
def fine_dot(a, b, DOT: tl.constexpr, PRECISION: tl.constexpr):
    """A product in which b, a sum that another will cancel, has twice the digits of bfloat16."""
    if DOT == tl.bfloat16:
        high = b.to(tl.bfloat16)
        return tl.dot(a, high) + tl.dot(a, (b - high.to(tl.float32)).to(tl.bfloat16))
    else:
        return dot(a, b, DOT, PRECISION)


@triton.jit
def rounded(x, DOT: tl.constexpr, PRECISION: tl.constexpr):
    """What a product sees of x: a sum with it and one without cancel only if both do."""
    if DOT == tl.bfloat16:
        return x.to(tl.bfloat16).to(tl.float32)
    elif PRECISION == "tf32":
        return ((x.to(tl.int32, bitcast=True) + 0x1000) & -0x2000).to(tl.float32, bitcast=True)
    else:
        return x


@triton.jit
def load_rows(base, rows, stride, alive, SIZE: tl.constexpr, PADDED: tl.constexpr):
    """Rows [L, PADDED] of a matrix whose rows have SIZE numbers; 0 where they are not alive."""
    columns = tl.arange(0, PADDED)
    return tl.load(
        base + rows[:, None].to(tl.int64) * stride + columns[None, :],
        mask=alive[:, None] & (columns[None, :] < SIZE),
        other=0.0,
    )


@triton.jit
def store_rows(base, rows, stride, alive, x, SIZE: tl.constexpr, PADDED: tl.constexpr):
    columns = tl.arange(0, PADDED)
    tl.store(
        base + rows[:, None].to(tl.int64) * stride + columns[None, :],
        x.to(base.dtype.element_ty),
        mask=alive[:, None] & (columns[None, :] < SIZE),
    )


@triton.jit
def turn(p, rows, alive, b, h, length, H: tl.constexpr, REWEIGHTED: tl.constexpr):
    """Cosine and sine of the angles of rows, from proportions [B, length, H]; 1 and 0 without."""
    if REWEIGHTED:
        angle = HALF_PI * tl.load(p + (b * length + rows) * H + h, mask=alive, other=0.0)
        return tl.cos(angle), tl.sin(angle)
    else:
        one = tl.full(rows.shape, 1.0, tl.float32)
        return one, one * 0


@triton.jit
def alive_keys(padding, rows, b, S, PADDED_KEYS: tl.constexpr):
    alive = rows < S
    if PADDED_KEYS:
        alive = alive & (tl.load(padding + b * S + rows, mask=alive, other=1) == 0)
    return alive


@triton.jit
def left_of(half_life, h, ages, AGED: tl.constexpr):
    """What is left of weights of these ages."""
    if AGED:
        return tl.exp2(-tl.maximum(ages, 0).to(tl.float32) / tl.load(half_life + h))
    else:
        return tl.full(ages.shape, 1.0, tl.float32)


@triton.jit
def times_at(clock, bh, S, counts, CLOCKED: tl.constexpr):
    """When there are so many keys: in half-lives by a clock, float64 [B, H, S + 1], or in keys, without one."""
    if CLOCKED:
        # Behind the last key there is room in the last block, and before the first one in a step backward.
        return tl.load(clock + bh * (S + 1) + tl.minimum(tl.maximum(counts, 0), S))
    else:
        return counts


@triton.jit
def left_between(half_life, h, since, until, AGED: tl.constexpr):
    """What is left at some times of weights that are whole at others."""
    if since.dtype == tl.float64:
        # A float32 and what it leaves out: pairs in float64 are slow on most cards.
        early, late = since.to(tl.float32), until.to(tl.float32)
        more_early = (since - early.to(tl.float64)).to(tl.float32)
        more_late = (until - late.to(tl.float64)).to(tl.float32)
        return tl.exp2(-tl.maximum((late - early) + (more_late - more_early), 0.0))
    else:
        return left_of(half_life, h, until - since, AGED)


@triton.jit
def load_state(base, part, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr):
    """A part [BK, BV] of a state [P, K, V]."""
    rows = tl.arange(0, BK)
    return load_rows(base + part * K * V, rows, V, rows < K, V, BV)


@triton.jit
def store_state(base, part, x, K: tl.constexpr, V: tl.constexpr, BK: tl.constexpr, BV: tl.constexpr):
    rows = tl.arange(0, BK)
    store_rows(base + part * K * V, rows, V, rows < K, x, V, BV)


@triton.jit
def load_row(base, part, K: tl.constexpr, BK: tl.constexpr):
    """A part [BK] of a normaliser [P, K]."""
    columns = tl.arange(0, BK)
    return tl.load(base + part * K + columns, mask=columns < K, other=0.0)


@triton.jit
def cotangent(gradient, denominator, floor, rows, asking, b, h, T, H: tl.constexpr, V: tl.constexpr,
               BV: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr):  # fmt: skip
    """n [L, V] of the queries in rows."""
    g = load_rows(gradient + (b * T * H + h) * V, rows, H * V, asking, V, BV).to(tl.float32)
    total = tl.load(denominator + (b * H + h) * T + rows, mask=asking, other=0.0)
    return rounded(g / tl.maximum(total, floor)[:, None], DOT, PRECISION)
