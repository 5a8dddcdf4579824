// What is computed, as Python hands it over (compiled_library.py has the same structures), and who can compute it.
//
// Shape letters: B batch, T queries, S keys, H heads, K key dimension, V value dimension, F features (2K re-weighted, else K).
#pragma once

#include <cstdint>

// Tensors are [B, T, H, K] with K contiguous, or [B, T, H]; strides are in elements.
struct Strides {
    int64_t batch, time, head;
};

// Functions are static: each file is compiled for another processor, and the linker must not take one for another.

// Keys of a stretch: so many that all heads of it stay in cache.
constexpr int STRETCH_KEYS = 512;

static inline int64_t stretches_of(int64_t keys) { return (keys + STRETCH_KEYS - 1) / STRETCH_KEYS; }

// K and V at most: a state of so many rows and columns is counted in 32 bits.
constexpr int LARGEST_HEAD = 8192;

struct Problem {
    int64_t batch, heads, queries, keys, key_dim, value_dim;
    int64_t reweighted;  // whether c and s are given
    const int64_t* visible;  // [T]
    const uint8_t* padding;  // [B, S], or null
    const double* half_life;  // [H] in keys, or null
    const double* clock;      // [B, H, S + 1] or null: the half-lives that so many keys count for
    double floor;
    const void *q, *k, *v, *q_cos, *q_sin, *k_cos, *k_sin;
    const void* initial;  // [B, H, F, V + 1], or null
    const void* contrast;  // [H], or null; not re-weighted, without `initial`
    Strides q_strides, k_strides, v_strides, q_angle_strides, k_angle_strides;
    void *out, *denominator;  // [B, T, H, V], [B, H, T]
    void *contrasted, *mass;  // [B, T, H, V], which may be `out` without a backward pass, and [B, H, S]
    void* states;  // [B, H, stretches_of(S), F, V + 1]: those behind each stretch, for the backward pass; or null
    const void* out_gradient;  // [B, T, H, V], contiguous
    void *dq, *dk, *dv, *dq_cos, *dq_sin, *dk_cos, *dk_sin;  // contiguous, as their inputs
    void* dinitial;  // as `initial`, or null where nobody wants it
    void* dcontrast;  // [B, H]
    double* dclock;  // as `clock`; it is added to what is there
    int64_t threads;
};

// A thread works on some heads of a batch row at a time: on as many as leave all threads about as much to do.
static inline int64_t heads_at_a_time(const Problem& p) {
    for (int64_t many = p.heads; many > 1; many--) {
        const int64_t items = p.batch * ((p.heads + many - 1) / many), rounds = (items + p.threads - 1) / p.threads;
        if (8 * rounds * many * p.threads <= 9 * p.batch * p.heads) return many;
    }
    return 1;
}

static inline int64_t groups_of(const Problem& p) { return (p.heads + heads_at_a_time(p) - 1) / heads_at_a_time(p); }

// More keys for a state, and queries that see all of it. Everything is contiguous: q [B, T, H, K], k [B, S, H, K], v
// [B, S, H, V], out [B, T, H, V], proportions [B, T, H] and [B, S, H] where re-weighted, the states [B, H, F, V + 1] with the
// sum of the features as the last column, contrast [H] or null. Without keys, the state stays as it is: no k, v,
// key_proportion, half_life, clock and after; without queries, no q, query_proportion and out.
struct Step {
    int64_t batch, heads, queries, keys, key_dim, value_dim, reweighted;
    double floor;
    const double* half_life;  // [H] in keys, or null
    const double* clock;  // [B, H, S + 1], as above
    const void *q, *k, *v, *query_proportion, *key_proportion, *before, *contrast;
    void *after, *out;
};

// Of a clock [B, H, S + 1] of a problem or step, or its gradient, the numbers of a head.
template <class Number, class Sizes>
static inline Number* clock_of(Number* clock, const Sizes& p, int64_t batch, int64_t head) {
    return clock + (batch * p.heads + head) * (p.keys + 1);
}

// Features 2K softmax([s x, -s x]) of N tokens, and their gradients. Everything is contiguous.
struct Features {
    int64_t tokens, heads, key_dim, chunks, threads;
    const void *x, *scale;  // [N, H, K], s [H]
    void* features;         // [N, H, 2K]
    const void* features_gradient;
    void *x_gradient, *scale_gradients;  // the latter [chunks, H]
};

// Who computes the others: for each processor family one of both, in a file of its own.
typedef int64_t Next(void* counter);  // deals out the work: item after item, to whoever asks
typedef void Attend(const Problem& problem, bool doubles, bool backward, Next* next, void* counter);
typedef void Map(const Features& problem, bool doubles, bool backward, Next* next, void* counter);
typedef bool Take(const Step& step, bool doubles);
Attend attend_anywhere, attend_avx2, attend_avx512;
Map map_anywhere, map_avx2, map_avx512;
Take take_anywhere, take_avx2, take_avx512;
