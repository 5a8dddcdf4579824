// One more key for a state, and one query that reads all of it: a token of decoding, in a single pass over the state. Without
// a key, the query reads the state as it is.
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

// Of a query or key, and of one whose x are all 1: that has the same in each half of the state.
template <class T>
inline void featurise(const Step& p, const void* x, const void* proportion, int64_t item, T* features, T* halves) {
    const T* of_item = (const T*)x + item * p.key_dim;
    if (p.reweighted) {
        const T angle = ((const T*)proportion)[item] * T(1.57079632679489661923);
        halves[0] = std::cos(angle), halves[1] = std::sin(angle);
    }
    for (int64_t half = 0; half <= p.reweighted; half++)
        for (int64_t f = 0; f < p.key_dim; f++) *features++ = halves[half] * of_item[f];
}

template <class T>
inline void take_step(const Step& p) {
    const int64_t K = p.key_dim, V = p.value_dim, F = p.reweighted ? 2 * K : K;
    // Without a key it is zero, and each row of the state behind it goes to the same place.
    std::vector<T> value(V + 1), key_features(F), row(V + 1), query_features(F), sums(V + 1), flat_sums(V + 1);
    for (int64_t item = 0; item < p.batch * p.heads; item++) {
        T query_halves[] = {1, 1}, key_halves[] = {1, 1};
        featurise(p, p.q, p.query_proportion, item, query_features.data(), query_halves);
        if (p.k) {
            featurise(p, p.k, p.key_proportion, item, key_features.data(), key_halves);
            for (int64_t j = 0; j < V; j++) value[j] = ((const T*)p.v)[item * V + j];
            value[V] = 1;
        }
        for (int64_t j = 0; j <= V; j++) sums[j] = flat_sums[j] = 0;
        const T* before = (const T*)p.before + item * F * (V + 1);
        T* after = p.k ? (T*)p.after + item * F * (V + 1) : row.data();
        const T left = p.half_life ? T(std::exp2(-1 / p.half_life[item % p.heads])) : T(1);
        for (int64_t f = 0; f < F; f++, before += V + 1, after += p.k ? V + 1 : 0) {
            const T of_key = key_features[f], of_query = query_features[f], of_flat = query_halves[f / K];
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
