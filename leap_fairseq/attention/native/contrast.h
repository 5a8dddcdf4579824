// Takes away from each answer a share of what all queries read, and the gradients: running sums over the keys of a head.
//
// The equations are those of contrast.py, for keys of one feature, their mass:
//     out_i = answer_i - contrast mean_i,  mean_i = sum_j mass_j v_j / max(sum_j mass_j, floor)  over the visible keys
//
// Where weights halve with age, the sums do not shrink with each further key, but what is added to them grows: one number,
// by which they are too large. Of numerator and denominator it is the same, so that when a query comes counts only where
// the denominator is the floor.
//
// Shape letters: B batch, T queries, S keys, H heads, K key dimension, V value dimension.
#pragma once

#include <cstdlib>

#include "matrix.h"
#include "problem.h"

namespace {

template <class T>
class ContrastWorker {
   public:
    explicit ContrastWorker(const Problem& problem)
        : p(problem), K(problem.key_dim), V(problem.value_dim),
          memory((T*)std::malloc(problem.contrast ? (V + 2 * problem.queries) * sizeof(T) : 1)) {}

    ~ContrastWorker() { std::free(memory); }

    // Whether there was memory for it.
    bool ready() const { return memory; }

    // Behind the answers.
    void forward(int64_t batch, int64_t head) {
        turn_to(batch, head);
        for (int64_t j = 0; j < seen(); j++) {
            const T* k = (const T*)p.k + b * p.k_strides.batch + j * p.k_strides.time + h * p.k_strides.head;
            T total = 0;
            for (int64_t f = 0; f < K; f++) total += k[f];
            masses[j] = hidden(j) ? T(0) : total;
        }
        for (int64_t t = 0, j = 0; t < p.queries; t++) {
            for (; j < p.visible[t]; j++) read(j);
            const T *answer = (const T*)p.out + place(t, p.queries, V), *sum = sums, factor = share / floored();
            T* out = (T*)p.contrasted + place(t, p.queries, V);
#pragma GCC ivdep
            for (int64_t f = 0; f < V; f++) out[f] = answer[f] - factor * sum[f];
        }
    }

    // Behind the gradients of the answers, to which it adds.
    void backward(int64_t batch, int64_t head) {
        turn_to(batch, head);
        // By query: minus the gradient of the numerator is a factor times that of the output; the gradient of the
        // denominator. Both of the true ones.
        T *factors = sums + V, *of_mass = factors + p.queries, of_share = 0;
        for (int64_t t = 0, j = 0; t < p.queries; t++) {
            for (; j < p.visible[t]; j++) read(j);
            const T mean = dot(V, error(t), sums) / floored();
            of_share -= mean;
            factors[t] = share * T(scale) / floored();
            of_mass[t] = mass > floor() ? factors[t] * mean : T(0);
            if (p.clock && !(mass > floor())) clock_of(p.dclock, p, b, h)[p.visible[t]] += LN_2 * share * mean;
        }
        ((T*)p.dcontrast)[b * p.heads + h] = of_share;

        // Backwards, of the sums that a key is part of.
        clear();
        int64_t j = seen();
        for (int64_t t = p.queries; j > 0; t--) {
            for (const int64_t first = t ? p.visible[t - 1] : 0; j > first; j--) {
                if (!hidden(j - 1)) derive(j - 1);
                grow_old(j - 1);
            }
            if (!t) break;
            add(V, -factors[t - 1] * T(scale), error(t - 1), sums);
            mass += of_mass[t - 1] * T(scale);
        }
    }

   private:
    static constexpr double LARGEST_SCALE = 1 << 20;
    const Problem& p;
    const int64_t K, V;
    T *const memory, *const sums = memory, *masses = nullptr;
    int64_t b = 0, h = 0;
    T share = 0, mass = 0;          // of the sums [V]: of the keys read so far, or their gradients
    double scale = 1, growth = 1;  // by which the sums and the mass are too large, and without clock its growth with a key

    void turn_to(int64_t batch, int64_t head) {
        b = batch, h = head;
        masses = (T*)p.mass + (b * p.heads + h) * p.keys;
        share = ((const T*)p.contrast)[h];
        growth = p.half_life ? __builtin_exp2(1 / p.half_life[h]) : 1;
        clear();
    }

    void clear() {
        for (int64_t f = 0; f < V; f++) sums[f] = 0;
        mass = 0, scale = 1;
    }

    int64_t seen() const { return p.visible[p.queries - 1]; }

    int64_t place(int64_t t, int64_t length, int64_t dim) const { return ((b * length + t) * p.heads + h) * dim; }

    const T* value(int64_t j) const {
        return (const T*)p.v + b * p.v_strides.batch + j * p.v_strides.time + h * p.v_strides.head;
    }

    const T* error(int64_t t) const { return (const T*)p.out_gradient + place(t, p.queries, V); }

    bool hidden(int64_t j) const { return p.padding && p.padding[b * p.keys + j]; }

    T floor() const { return T(p.floor * scale); }

    T floored() const { return mass > floor() ? mass : floor(); }

    static T dot(int64_t n, const T* x, const T* y) {
        T total = 0;
        for (int64_t f = 0; f < n; f++) total += x[f] * y[f];
        return total;
    }

    // y += factor * x, which lie apart.
    static void add(int64_t n, T factor, const T* __restrict__ x, T* __restrict__ y) {
        for (int64_t f = 0; f < n; f++) y[f] += factor * x[f];
    }

    void read(int64_t j) {
        grow_old(j);
        if (hidden(j)) return;
        add(V, masses[j] * T(scale), value(j), sums);
        mass += masses[j] * T(scale);
    }

    // The sums one key later, key j.
    void grow_old(int64_t j) {
        const double* clock = p.clock ? clock_of(p.clock, p, b, h) : nullptr;
        scale *= clock ? __builtin_exp2(clock[j + 1] - clock[j]) : growth;
        if (scale < LARGEST_SCALE) return;
        const T back = T(1 / scale);
        for (int64_t f = 0; f < V; f++) sums[f] *= back;
        mass *= back;
        scale = 1;
    }

    // Adds the gradients of a key; each of its features is as much of its mass.
    void derive(int64_t j) {
        const T back = T(1 / scale), of_mass = (dot(V, sums, value(j)) + mass) * back;
        add(V, masses[j] * back, sums, (T*)p.dv + place(j, p.keys, V));
        T* of_key = (T*)p.dk + place(j, p.keys, K);
        for (int64_t f = 0; f < K; f++) of_key[f] += of_mass;
        if (p.clock) clock_of(p.dclock, p, b, h)[j + 1] += LN_2 * of_mass * masses[j];
    }
};

}  // namespace
