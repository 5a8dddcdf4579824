// More keys for a state, and queries that see all of it: a token of decoding, a segment of speech, or several of either.
//
// The equations are those of state.py, which halves the weights of older keys; a re-weighted feature is (c x, s x) with
// c = cos(pi/2 P), s = sin(pi/2 P). A state is read from memory once and written once. With contrast, a flat query reads
// the same sums, with all x alike; where nothing is re-weighted, one for all queries.
//
// Shape letters: S keys, T queries, K key dimension, V value dimension, F features (2K re-weighted, else K), W = V + 1.
#pragma once

#include <cmath>

#include "matrix.h"
#include "problem.h"

namespace {

template <class T>
class StepWorker {
   public:
    explicit StepWorker(const Step& problem)
        : p(problem),
          K((int)problem.key_dim),
          F(problem.reweighted ? 2 * K : K),
          W((int)problem.value_dim + 1),
          WP(padded<T>(W)),
          flat_rows(!problem.contrast ? 0 : problem.reweighted ? (int)problem.queries : 1) {
        T** buffers[] = {&state, &values, &answers, &averages, &key_features, &query_features, &flat_features};
        const int64_t sizes[] = {(int64_t)F * WP, p.keys * WP, p.queries * WP, (int64_t)flat_rows * WP,
                                 p.keys * F, p.queries * F, (int64_t)flat_rows * F};
        int64_t total = 0;
        for (int64_t size : sizes) total += whole_lines(size);
        memory = std::calloc(total * sizeof(T) + 64, 1);
        T* at = (T*)(((uintptr_t)memory + 63) / 64 * 64);
        for (int n = 0; memory && n < 7; n++) {
            *buffers[n] = at;
            at += whole_lines(sizes[n]);
            forbid(at - GAP / sizeof(T), GAP);
        }
    }

    ~StepWorker() { std::free(memory); }

    // Whether there was memory for it.
    bool ready() const { return memory; }

    // A head of a row of the batch.
    void take(int64_t batch, int64_t of_head) {
        b = batch, h = of_head;
        const int64_t size = (int64_t)F * W, item = b * p.heads + h;
        load((const T*)p.before + item * size);
        if (p.keys) {
            absorb();
            keep((T*)p.after + item * size);
        }
        if (p.queries) answer();
    }

   private:
    const Step& p;
    const int K, F, W, WP, flat_rows;
    int64_t b = 0, h = 0;
    void* memory;
    T *state, *values, *answers, *averages;             // [F, W], [S, W], [T, W], and of flat queries
    T *key_features, *query_features, *flat_features;  // [S, F], [T, F]
    Ahead ahead;

    static int64_t whole_lines(int64_t size) {
        return (size * (int64_t)sizeof(T) + 63) / 64 * 64 / (int64_t)sizeof(T) + GAP / (int64_t)sizeof(T);
    }

    const T* row(const void* x, int64_t length, int64_t t, int64_t dim) const {
        return (const T*)x + ((b * length + t) * p.heads + h) * dim;
    }

    void load(const T* before) {
        for (int f = 0; f < F; f++) std::memcpy(state + f * WP, before + f * W, W * sizeof(T));
    }

    void keep(T* after) const {
        for (int f = 0; f < F; f++) std::memcpy(after + f * W, state + f * WP, W * sizeof(T));
    }

    // What is left of the weight of a key since there were so many keys of this step.
    T left_since(int64_t count) const {
        if (!p.half_life) return 1;
        if (!p.clock) return T(std::exp2((double)(count - p.keys) / p.half_life[h]));
        const double* clock = clock_of(p.clock, p, b, h);
        return T(std::exp2(clock[count] - clock[p.keys]));
    }

    // The features of x, or of numbers that are all 1, as much as is left of them.
    void featurise(const T* x, const void* proportions, int64_t length, int64_t t, T remaining, T* features) const {
        T halves[] = {remaining, remaining};
        if (p.reweighted) {
            const T angle = *row(proportions, length, t, 1) * T(1.57079632679489661923);
            halves[0] *= std::cos(angle), halves[1] *= std::sin(angle);
        }
        for (int half = 0; half * K < F; half++)
            for (int f = 0; f < K; f++) features[half * K + f] = x ? halves[half] * x[f] : halves[half];
    }

    void absorb() {
        for (int64_t s = 0; s < p.keys; s++) {
            featurise(row(p.k, p.keys, s, K), p.key_proportion, p.keys, s, left_since(s + 1), key_features + s * F);
            std::memcpy(values + s * WP, row(p.v, p.keys, s, W - 1), (W - 1) * sizeof(T));
            values[s * WP + W - 1] = 1;
        }
        if (p.half_life) scale((int64_t)F * WP, left_since(0), state);
        product<T, true>(ahead, F, WP, (int)p.keys, key_features, F, values, WP, state, WP, true);
    }

    void answer() {
        const int queries = (int)p.queries;
        for (int t = 0; t < queries; t++)
            featurise(row(p.q, queries, t, K), p.query_proportion, queries, t, 1, query_features + t * F);
        for (int t = 0; t < flat_rows; t++) featurise(nullptr, p.query_proportion, queries, t, 1, flat_features + t * F);
        product<T, false>(ahead, queries, WP, F, query_features, F, state, WP, answers, WP, false);
        product<T, false>(ahead, flat_rows, WP, F, flat_features, F, state, WP, averages, WP, false);
        for (int t = 0; t < queries; t++) {
            const T *sums = answers + t * WP, factor = T(1) / floored(sums[W - 1]);
            T* out = (T*)p.out + ((b * queries + t) * p.heads + h) * (W - 1);
            for (int j = 0; j < W - 1; j++) out[j] = sums[j] * factor;
            if (!flat_rows) continue;
            const T *flat = averages + least(t, flat_rows - 1) * WP;
            const T share = ((const T*)p.contrast)[h] / floored(flat[W - 1]);
            for (int j = 0; j < W - 1; j++) out[j] -= flat[j] * share;
        }
    }

    T floored(T denominator) const { return denominator > T(p.floor) ? denominator : T(p.floor); }
};

// Returns whether there was memory for it.
template <class T>
inline bool take_steps(const Step& problem) {
    StepWorker<T> worker(problem);
    for (int64_t item = 0; worker.ready() && item < problem.batch * problem.heads; item++)
        worker.take(item / problem.heads, item % problem.heads);
    return worker.ready();
}

}  // namespace
