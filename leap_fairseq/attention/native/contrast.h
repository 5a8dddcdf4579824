// Takes away from each answer a share of what all queries read, and the gradients: running sums over the keys.
//
// The equations are those of contrast.py, for keys of one feature, their mass:
//     out_i = answer_i - contrast mean_i,  mean_i = sum_j mass_j v_j / max(sum_j mass_j, floor)  over the visible keys
//
// Where weights halve with age, the sums do not shrink with each further key, but what is added to them grows: one number
// a head, by which all of them are too large. Of numerator and denominator it is the same.
//
// Shape letters: B batch, T queries, S keys, H heads, V value dimension.
#pragma once

#include <cmath>
#include <vector>

#include "problem.h"

namespace {

// Some heads of a batch row, which lie beside each other in memory.
template <class T>
class ContrastWorker {
   public:
    ContrastWorker(const Contrast& problem, int64_t batch, int64_t first, int64_t last)
        : p(problem), V(problem.value_dim), b(batch), first_head(first), heads(last - first), sums(heads * V), masses(heads),
          scale(heads, 1), growth(heads, 1) {
        for (int64_t h = 0; p.half_life && h < heads; h++) growth[h] = std::exp2(1 / p.half_life[first_head + h]);
    }

    void forward() {
        for (int64_t t = 0; t < p.queries; t++) {
            read_until(p.visible[t]);
            for (int64_t h = 0; h < heads; h++) {
                const T* answer = (const T*)p.answers + place(t, p.queries, h);
                const T *sum = sums.data() + h * V, factor = share(h) / floored(h);
                T* out = (T*)p.out + place(t, p.queries, h);
                for (int64_t f = 0; f < V; f++) out[f] = answer[f] - factor * sum[f];
            }
        }
    }

    void backward() {
        // By query and head: minus the gradient of the numerator is a factor times that of the output; the gradient of the
        // denominator. Both of the true ones.
        std::vector<T> factors(p.queries * heads), of_mass(p.queries * heads), of_share(heads);
        for (int64_t t = 0; t < p.queries; t++) {
            read_until(p.visible[t]);
            for (int64_t h = 0; h < heads; h++) {
                const T *error = (const T*)p.out_gradient + place(t, p.queries, h), *sum = sums.data() + h * V;
                T read = 0;
                for (int64_t f = 0; f < V; f++) read += error[f] * sum[f];
                read /= floored(h);
                of_share[h] -= read;
                factors[t * heads + h] = share(h) * T(scale[h]) / floored(h);
                of_mass[t * heads + h] = masses[h] > floor(h) ? factors[t * heads + h] * read : T(0);
            }
        }
        for (int64_t h = 0; h < heads; h++) ((T*)p.contrast_gradients)[b * p.heads + first_head + h] = of_share[h];

        // Backwards, of the sums that a key is part of.
        std::vector<T> sum_errors(heads * V), mass_errors(heads);
        scale.assign(heads, 1);
        int64_t j = p.keys;
        for (int64_t t = p.queries; j > 0; t--) {
            for (const int64_t first = t ? p.visible[t - 1] : 0; j > first; j--) {
                write(j - 1, sum_errors, mass_errors);
                grow_old(sum_errors, mass_errors);
            }
            for (int64_t h = 0; t && h < heads; h++) {
                const T* error = (const T*)p.out_gradient + place(t - 1, p.queries, h);
                T *to = sum_errors.data() + h * V, factor = factors[(t - 1) * heads + h] * T(scale[h]);
                for (int64_t f = 0; f < V; f++) to[f] -= factor * error[f];
                mass_errors[h] += of_mass[(t - 1) * heads + h] * T(scale[h]);
            }
        }
    }

   private:
    const Contrast& p;
    const int64_t V, b, first_head, heads;
    std::vector<T> sums, masses;        // [heads, V], [heads]: of the keys read so far
    std::vector<double> scale, growth;  // [heads]: by which the sums are too large, and its growth with a key
    static constexpr double LARGEST_SCALE = 1 << 20;
    int64_t keys_read = 0;

    int64_t place(int64_t t, int64_t length, int64_t h) const {
        return ((b * length + t) * p.heads + first_head + h) * V;
    }

    const T* value(int64_t j, int64_t h) const {
        return (const T*)p.v + b * p.v_strides.batch + j * p.v_strides.time + (first_head + h) * p.v_strides.head;
    }

    int64_t mass_place(int64_t j, int64_t h) const { return (b * p.keys + j) * p.heads + first_head + h; }

    bool hidden(int64_t j) const { return p.padding && p.padding[b * p.keys + j]; }

    T share(int64_t h) const { return ((const T*)p.contrast)[first_head + h]; }

    T floor(int64_t h) const { return T(p.floor * scale[h]); }

    T floored(int64_t h) const { return masses[h] > floor(h) ? masses[h] : floor(h); }

    void read_until(int64_t end) {
        for (; keys_read < end; keys_read++) {
            grow_old(sums, masses);
            if (hidden(keys_read)) continue;
            for (int64_t h = 0; h < heads; h++) {
                const T *v = value(keys_read, h), mass = ((const T*)p.mass)[mass_place(keys_read, h)] * T(scale[h]);
                T* sum = sums.data() + h * V;
                for (int64_t f = 0; f < V; f++) sum[f] += mass * v[f];
                masses[h] += mass;
            }
        }
    }

    // The sums one key later.
    void grow_old(std::vector<T>& of_values, std::vector<T>& of_masses) {
        for (int64_t h = 0; p.half_life && h < heads; h++) {
            scale[h] *= growth[h];
            if (scale[h] < LARGEST_SCALE) continue;
            const T back = T(1 / scale[h]);
            T* sum = of_values.data() + h * V;
            for (int64_t f = 0; f < V; f++) sum[f] *= back;
            of_masses[h] *= back;
            scale[h] = 1;
        }
    }

    // The gradients of a key.
    void write(int64_t j, const std::vector<T>& sum_errors, const std::vector<T>& mass_errors) const {
        for (int64_t h = 0; h < heads; h++) {
            T *to = (T*)p.v_gradient + place(j, p.keys, h), *to_mass = (T*)p.mass_gradient + mass_place(j, h);
            if (hidden(j)) {
                for (int64_t f = 0; f < V; f++) to[f] = 0;
                *to_mass = 0;
                continue;
            }
            const T *v = value(j, h), *error = sum_errors.data() + h * V, back = T(1 / scale[h]);
            const T mass = ((const T*)p.mass)[mass_place(j, h)] * back;
            T total = 0;
            for (int64_t f = 0; f < V; f++) to[f] = mass * error[f], total += error[f] * v[f];
            *to_mass = (total + mass_errors[h]) * back;
        }
    }
};

// The part of one thread: batch rows and some of their heads, as `next` deals them out.
template <class T>
inline void contrast_through(const Contrast& problem, bool backward, Next* next, void* counter) {
    const int64_t many = heads_at_a_time(problem), groups = groups_of(problem);
    for (int64_t item; (item = next(counter)) < problem.batch * groups;) {
        const int64_t first = item % groups * many, last = first + many < problem.heads ? first + many : problem.heads;
        ContrastWorker<T> worker(problem, item / groups, first, last);
        backward ? worker.backward() : worker.forward();
    }
}

}  // namespace
