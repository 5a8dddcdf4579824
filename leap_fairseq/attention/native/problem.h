// What is computed, as Python hands it over (compiled.py has the same structure), and who can compute it.
//
// Shape letters: B batch, T queries, S keys, H heads, K key dimension, V value dimension, F features (2K re-weighted, else K).
#pragma once

#include <cstdint>

// Tensors are [B, T, H, K] with K contiguous, or [B, T, H]; strides are in elements.
struct Strides {
    int64_t batch, time, head;
};

struct Problem {
    int64_t batch, heads, queries, keys, key_dim, value_dim;
    int64_t reweighted;  // whether c and s are given
    const int64_t* visible;  // [T]
    const uint8_t* padding;  // [B, S], or null
    const void* initial;  // [B, H, F, V + 1], or null
    double floor;
    const void *q, *k, *v, *q_cos, *q_sin, *k_cos, *k_sin;
    Strides q_strides, k_strides, v_strides, q_angle_strides, k_angle_strides;
    void *out, *denominator;  // [B, T, H, V], [B, H, T]
    const void* out_gradient;  // [B, T, H, V], contiguous
    void *dq, *dk, *dv, *dq_cos, *dq_sin, *dk_cos, *dk_sin;  // contiguous, as their inputs
    int64_t threads;
};

// A token of decoding. Everything is contiguous: q and k [B, H, K], v and out [B, H, V], proportions [B, H] where
// re-weighted, the states [B, H, F, V + 1] with the sum of the features as the last column.
struct Step {
    int64_t batch, heads, key_dim, value_dim, reweighted;
    double floor;
    const void *q, *k, *v, *query_proportion, *key_proportion, *before;
    void *after, *out;
};

// One for each processor family, each in a file of its own.
typedef void Work(const Problem& problem, bool doubles, bool backward, int64_t (*next)(void*), void* counter);
Work work_anywhere, work_avx2, work_avx512;
