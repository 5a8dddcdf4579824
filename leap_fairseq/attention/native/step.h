// One more key for a state, and one query that reads all of it: a token of decoding, in a single pass over the state.
//
// The equations are those of state.py, which halves the weights of older keys; a re-weighted feature is (c x, s x) with
// c = cos(pi/2 P), s = sin(pi/2 P). With contrast, a second query reads the same sums, with all x alike.
#pragma once

#include <cmath>
#include <vector>

#include "problem.h"

namespace {

template <class T>
inline T floored(T denominator, double floor) {
    return denominator > T(floor) ? denominator : T(floor);
}

template <class T>
inline void take_step(const Step& p) {
    const int64_t K = p.key_dim, V = p.value_dim, F = p.reweighted ? 2 * K : K;
    const T quarter = T(1.57079632679489661923);
    std::vector<T> value(V + 1), sums(V + 1), flat_sums(V + 1), key_features(F), query_features(F);
    for (int64_t item = 0; item < p.batch * p.heads; item++) {
        const T *q = (const T*)p.q + item * K, *k = (const T*)p.k + item * K, *v = (const T*)p.v + item * V;
        T flat_features[] = {1, 1};  // of the second query, in the halves of the state
        if (p.reweighted) {
            const T q_angle = ((const T*)p.query_proportion)[item] * quarter;
            const T k_angle = ((const T*)p.key_proportion)[item] * quarter;
            const T q_cos = std::cos(q_angle), q_sin = std::sin(q_angle);
            const T k_cos = std::cos(k_angle), k_sin = std::sin(k_angle);
            flat_features[0] = q_cos, flat_features[1] = q_sin;
            for (int64_t f = 0; f < K; f++) {
                query_features[f] = q_cos * q[f], query_features[K + f] = q_sin * q[f];
                key_features[f] = k_cos * k[f], key_features[K + f] = k_sin * k[f];
            }
        } else {
            for (int64_t f = 0; f < K; f++) query_features[f] = q[f], key_features[f] = k[f];
        }
        for (int64_t j = 0; j < V; j++) value[j] = v[j];
        value[V] = 1;
        for (int64_t j = 0; j <= V; j++) sums[j] = flat_sums[j] = 0;
        const T* before = (const T*)p.before + item * F * (V + 1);
        T* after = (T*)p.after + item * F * (V + 1);
        const T left = p.half_life ? T(std::exp2(-1 / p.half_life[item % p.heads])) : T(1);
        for (int64_t f = 0; f < F; f++, before += V + 1, after += V + 1) {
            const T of_key = key_features[f], of_query = query_features[f], of_flat = flat_features[f / K];
            for (int64_t j = 0; j <= V; j++) {
                const T now = left * before[j] + of_key * value[j];
                after[j] = now;
                sums[j] += of_query * now;
            }
            for (int64_t j = 0; p.contrast && j <= V; j++) flat_sums[j] += of_flat * after[j];
        }
        const T factor = T(1) / floored(sums[V], p.floor);
        const T share = p.contrast ? ((const T*)p.contrast)[item % p.heads] / floored(flat_sums[V], p.floor) : T(0);
        T* out = (T*)p.out + item * V;
        for (int64_t j = 0; j < V; j++) out[j] = sums[j] * factor - flat_sums[j] * share;
    }
}

}  // namespace
