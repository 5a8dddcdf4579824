// Linear attention over a visible prefix, forward and backward, one batch row and head at a time.
//
// The blocks of keys are walked in order. A query reads, of the block in which its visible prefix ends, the visible keys
// one by one, and of all blocks before the state. What is needed at a time (a block of keys, some queries, their weights,
// the state) stays in cache; nothing of the size T x S or T x F is ever written. The backward pass computes weights and
// states again: once forwards for the queries, once backwards for the keys and values. The equations are those of
// naive.py; a re-weighted feature is (c x, s x) with c = cos(pi/2 P), s = sin(pi/2 P).
//
// Shape letters: T queries, S keys, K key dimension, V value dimension, F features (2K re-weighted, else K).
#pragma once

#include "matrix.h"
#include "problem.h"

constexpr int BLOCK = 64;

namespace {

template <class T>
class Worker {
    static constexpr int LANES = Vector<T>::LANES, ROWS = 12;

   public:
    explicit Worker(const Problem& problem)
        : p(problem),
          K(problem.key_dim),
          V(problem.value_dim),
          F(problem.reweighted ? 2 * problem.key_dim : problem.key_dim),
          KP(padded<T>(K)),
          VP(padded<T>(V)),
          FP(problem.reweighted ? 2 * KP : KP) {
        const int64_t sizes[] = {BLOCK * KP, BLOCK * KP, BLOCK * VP, BLOCK * VP, BLOCK * BLOCK, BLOCK * BLOCK, BLOCK * BLOCK,
                                 BLOCK * FP, BLOCK * FP, BLOCK * FP, FP * VP, FP * VP, FP, VP * BLOCK, KP * BLOCK,
                                 BLOCK * VP, BLOCK * KP, BLOCK * VP, BLOCK * KP};
        T** buffers[] = {&queries, &keys, &values, &outs, &weights, &errors, &products, &query_features, &key_features,
                         &feature_errors, &state, &turned_state, &sums, &turned_values, &turned_keys, &out_errors,
                         &key_errors, &value_errors, &query_errors};
        int64_t total = 0;
        for (int64_t size : sizes) total += size;
        memory = std::calloc(total * sizeof(T) + 64, 1);
        T* at = (T*)(((uintptr_t)memory + 63) / 64 * 64);
        for (unsigned n = 0; n < sizeof(sizes) / sizeof(*sizes); n++) {
            *buffers[n] = at;
            at += sizes[n];
        }
    }

    ~Worker() { std::free(memory); }

    void forward(int64_t b, int64_t h) {
        begin(b, h, false);
        const int64_t direct = first_direct_block();
        int64_t t = 0;
        for (int64_t block = 0; block < direct; block++) {
            load_keys(block);
            look_ahead(block + 1, false);
            for (int n; (n = queries_of(t, block)); t += n) {
                load_queries(t, n);
                read_state(n);
                read_block(t, n, block);
                finish(t, n);
            }
            absorb(false);
        }
        for (int n; t < p.queries; t += n) {
            n = (int)least(BLOCK, p.queries - t);
            load_queries(t, n);
            read_state(n);
            for (int64_t block = direct; block <= block_of(t + n - 1); block++) {
                load_keys(block);
                read_block(t, n, block);
            }
            finish(t, n);
        }
    }

    void backward(int64_t b, int64_t h) {
        // Forwards: the gradients of the queries through the states.
        begin(b, h, true);
        const int64_t direct = first_direct_block();
        int64_t t = 0;
        for (int64_t block = 0; block < direct; block++) {
            look_ahead(block + 1, true);
            if (!empty)
                for (int64_t at = t, n; (n = queries_of(at, block)); at += n) through_state(at, (int)n);
            for (int64_t n; (n = queries_of(t, block)); t += n) continue;
            load_keys(block);
            absorb(true);
        }
        const int64_t first_direct = t;
        if (!empty)
            for (; t < p.queries; t += BLOCK) through_state(t, (int)least(BLOCK, p.queries - t));
        // Backwards: the gradients of the keys and values, and of the queries within a block.
        fill<T>(state, FP * VP, 0);
        fill<T>(sums, FP, 0);
        empty = true;
        for (int64_t block = block_of(p.queries - 1); block >= direct; block--) {
            load_keys(block);
            begin_key_errors();
            for (t = first_direct; t < p.queries; t += BLOCK) {
                const int n = (int)least(BLOCK, p.queries - t);
                if (block_of(t + n - 1) < block) continue;
                load_both(t, n);
                within_block(t, n, block);
            }
            end_key_errors(block);
        }
        if (direct)
            for (t = first_direct; t < p.queries; t += BLOCK) {
                load_both(t, (int)least(BLOCK, p.queries - t));
                collect((int)least(BLOCK, p.queries - t));
            }
        int64_t end = first_direct;
        for (int64_t block = direct - 1; block >= 0; block--) {
            int64_t first = end;
            while (first > 0 && block_of(first - 1) == block) first--;
            load_keys(block);
            look_ahead(block - 1, true);
            begin_key_errors();
            for (t = first; t < end; t += BLOCK) {
                const int n = (int)least(BLOCK, end - t);
                load_both(t, n);
                within_block(t, n, block);
                if (block) collect(n);  // the keys of this block have read the state already
            }
            end = first;
            end_key_errors(block);
        }
    }

   private:
    const Problem& p;
    const int K, V, F, KP, VP, FP;
    void* memory;
    // Rows of a block or tile: inputs, weights [query, key] and their gradients, features, and what they give.
    T *queries, *keys, *values, *outs, *weights, *errors, *products, *query_features, *key_features, *feature_errors;
    T *state, *turned_state, *sums;  // [F, V], [V, F], [F]: of the keys before, or of the gradients behind
    T *turned_values, *turned_keys, *out_errors, *key_errors, *value_errors, *query_errors;
    T q_cos[BLOCK], q_sin[BLOCK], k_cos[BLOCK], k_sin[BLOCK], denominators[BLOCK], denominator_errors[BLOCK];
    T k_cos_errors[BLOCK], k_sin_errors[BLOCK];
    Ahead ahead;
    int limits[BLOCK];
    bool hidden[BLOCK];
    int64_t b = 0, h = 0;
    int count = 0, rows = 0;  // keys of the block, and whole vectors of them
    bool empty = true;        // nothing has been added to state and sums

    int64_t block_of(int64_t t) const { return p.visible[t] > 0 ? (p.visible[t] - 1) / BLOCK : 0; }

    // From here on, the state is not worth its price: so few queries see more than their own block that each of them
    // reads the blocks between one by one.
    int64_t first_direct_block() const {
        const int64_t last = block_of(p.queries - 1);
        int64_t t = 0;
        for (int64_t block = 0; block < last; block++) {
            while (block_of(t) <= block) t++;
            if ((p.queries - t) * (K + V) < (int64_t)F * V) return block;
        }
        return last;
    }

    // Queries from t on whose prefix ends in the block, at most BLOCK.
    int queries_of(int64_t t, int64_t block) const {
        int n = 0;
        while (n < BLOCK && t + n < p.queries && block_of(t + n) == block) n++;
        return n;
    }

    void begin(int64_t batch, int64_t head, bool turned) {
        b = batch, h = head;
        fill<T>(state, FP * VP, 0);
        fill<T>(turned_state, FP * VP, 0);
        fill<T>(sums, FP, 0);
        empty = !p.initial;
        if (empty) return;
        const T* given = (const T*)p.initial + (b * p.heads + h) * F * (V + 1);
        for (int f = 0; f < F; f++) {
            const int to = f < K ? f : KP + f - K;
            for (int j = 0; j < V; j++) (turned ? turned_state[j * FP + to] : state[to * VP + j]) = given[f * (V + 1) + j];
            sums[to] = given[f * (V + 1) + V];
        }
    }

    static const T* at(const void* x, const Strides& strides, int64_t b, int64_t t, int64_t h) {
        return (const T*)x + b * strides.batch + t * strides.time + h * strides.head;
    }

    void load_keys(int64_t block) {
        const int64_t first = block * BLOCK;
        count = (int)(p.keys > first ? least(BLOCK, p.keys - first) : 0);
        rows = padded<T>(count);
        for (int j = 0; j < rows; j++) {
            T *key = keys + j * KP, *value = values + j * VP;
            hidden[j] = j >= count || (p.padding && p.padding[b * p.keys + first + j]);
            if (hidden[j]) {
                fill<T>(key, KP, 0);
                fill<T>(value, VP, 0);
                k_cos[j] = k_sin[j] = 0;
                continue;
            }
            std::memcpy(key, at(p.k, p.k_strides, b, first + j, h), K * sizeof(T));
            std::memcpy(value, at(p.v, p.v_strides, b, first + j, h), V * sizeof(T));
            if (p.reweighted) {
                k_cos[j] = *at(p.k_cos, p.k_angle_strides, b, first + j, h);
                k_sin[j] = *at(p.k_sin, p.k_angle_strides, b, first + j, h);
            }
        }
        transpose<T>(rows, KP, keys, KP, turned_keys, BLOCK);
        featurise(rows, keys, k_cos, k_sin, key_features);
    }

    void load_queries(int64_t t, int n) {
        for (int i = 0; i < n; i++) {
            std::memcpy(queries + i * KP, at(p.q, p.q_strides, b, t + i, h), K * sizeof(T));
            if (p.reweighted) {
                q_cos[i] = *at(p.q_cos, p.q_angle_strides, b, t + i, h);
                q_sin[i] = *at(p.q_sin, p.q_angle_strides, b, t + i, h);
            }
        }
        featurise(n, queries, q_cos, q_sin, query_features);
    }

    // While this block is worked on, the next one comes from memory: its keys, and as many queries, those of
    // self-attention.
    void look_ahead(int64_t block, bool backward) {
        ahead.clear();
        if (block < 0) return;
        const int64_t first = block * BLOCK, row = (b * p.queries + first) * p.heads + h;
        const int64_t queries = least(BLOCK, p.queries - first), keys = least(BLOCK, p.keys - first);
        const int64_t key = K * sizeof(T), value = V * sizeof(T);
        ahead.add(at(p.k, p.k_strides, b, first, h), p.k_strides.time * sizeof(T), keys, key);
        ahead.add(at(p.v, p.v_strides, b, first, h), p.v_strides.time * sizeof(T), keys, value);
        ahead.add(at(p.q, p.q_strides, b, first, h), p.q_strides.time * sizeof(T), queries, key);
        ahead.add((const T*)p.out + row * V, p.heads * value, queries, value);
        if (!backward) return;
        ahead.add((const T*)p.out_gradient + row * V, p.heads * value, queries, value);
        ahead.add((const T*)p.dq + row * K, p.heads * key, queries, key);
    }

    // How many keys of the block each query sees.
    void limit(int64_t t, int n, int64_t block) {
        for (int i = 0; i < n; i++) {
            const int64_t seen = p.visible[t + i] - block * BLOCK;
            limits[i] = seen < 0 ? 0 : (int)least(seen, BLOCK);
        }
    }

    void featurise(int n, const T* x, const T* c, const T* s, T* features) {
        if (!p.reweighted) {
            std::memcpy(features, x, (size_t)n * KP * sizeof(T));
            return;
        }
        typedef typename Vector<T>::type Lanes;
        for (int i = 0; i < n; i++)
            for (int f = 0; f < KP; f += LANES) {
                const Lanes lanes = *(const Lanes*)(x + i * KP + f);
                *(Lanes*)(features + i * FP + f) = c[i] * lanes;
                *(Lanes*)(features + i * FP + KP + f) = s[i] * lanes;
            }
    }

    // C[rows, columns] (+)= A B, as `product`, while memory looks ahead.
    template <bool TA>
    void multiply(int n, int columns, int inner, const T* a, int lda, const T* b, int ldb, T* c, int ldc, bool add) {
        product<T, TA>(ahead, n, columns, inner, a, lda, b, ldb, c, ldc, add);
    }

    // Rows of a tile that see about as many keys: products need not go beyond the last key that one of them sees.
    template <class Function>
    void by_rows(int n, Function function) {
        for (int i = 0; i < n; i += ROWS) function(i, (int)least(ROWS, n - i), limits[least(i + ROWS, n) - 1]);
    }

    // Keys of the block that about as many queries see, and the first query of the tile that sees one of them.
    template <class Function>
    void by_keys(int n, Function function) {
        const int seen = limits[n - 1];
        for (int j = 0, i = 0; j < seen; j += ROWS) {
            while (limits[i] <= j) i++;
            function(j, (int)least(ROWS, seen - j), i);
        }
    }

    // q_i . k_j for the keys that some of the rows see; beyond them nothing is written.
    void raw_weights(int n, T* out) {
        by_rows(n, [&](int i, int some, int seen) {
            multiply<false>(some, padded<T>(seen), K, queries + i * KP, KP, turned_keys, BLOCK, out + i * BLOCK, BLOCK, false);
        });
    }

    T angle(int i, int j) const { return p.reweighted ? q_cos[i] * k_cos[j] + q_sin[i] * k_sin[j] : T(1); }

    void read_state(int n) {
        if (empty) {
            fill<T>(outs, (int64_t)n * VP, 0);
            fill<T>(denominators, n, 0);
            return;
        }
        multiply<false>(n, VP, FP, query_features, FP, state, VP, outs, VP, false);
        for (int i = 0; i < n; i++) denominators[i] = dot(FP, query_features + i * FP, sums);
    }

    void read_block(int64_t t, int n, int64_t block) {
        limit(t, n, block);
        raw_weights(n, weights);
        for (int i = 0; i < n; i++) {
            T total = 0;
            T* row = weights + i * BLOCK;
            const int limit = limits[i];
            for (int j = 0; j < limit; j++) {
                row[j] *= angle(i, j);
                total += row[j];
            }
            fill<T>(row + limit, BLOCK - limit, 0);
            denominators[i] += total;
        }
        by_rows(n, [&](int i, int some, int seen) {
            multiply<false>(some, VP, seen, weights + i * BLOCK, BLOCK, values, VP, outs + i * VP, VP, true);
        });
    }

    void finish(int64_t t, int n) {
        T* denominator = (T*)p.denominator + (b * p.heads + h) * p.queries + t;
        for (int i = 0; i < n; i++) {
            T* out = (T*)p.out + ((b * p.queries + t + i) * p.heads + h) * V;
            const T factor = T(1) / (denominators[i] > T(p.floor) ? denominators[i] : T(p.floor));
            for (int j = 0; j < V; j++) out[j] = outs[i * VP + j] * factor;
            denominator[i] = denominators[i];
        }
    }

    void absorb(bool turned) {
        empty = false;
        if (turned)
            multiply<true>(VP, FP, count, values, VP, key_features, FP, turned_state, FP, true);
        else
            multiply<true>(FP, VP, count, key_features, FP, values, VP, state, VP, true);
        for (int j = 0; j < count; j++) add_scaled(FP, T(1), key_features + j * FP, sums);
    }

    // Gradients of the numerator and of the denominator of each query.
    void load_errors(int64_t t, int n) {
        const T* denominator = (const T*)p.denominator + (b * p.heads + h) * p.queries + t;
        for (int i = 0; i < n; i++) {
            const int64_t row = ((b * p.queries + t + i) * p.heads + h) * V;
            const T *out = (const T*)p.out + row, *error = (const T*)p.out_gradient + row;
            const bool floored = !(denominator[i] > T(p.floor));
            const T factor = T(1) / (floored ? T(p.floor) : denominator[i]);
            T total = 0;
            for (int j = 0; j < V; j++) {
                out_errors[i * VP + j] = error[j] * factor;
                total += error[j] * out[j];
            }
            denominator_errors[i] = floored ? T(0) : -total * factor;
        }
    }

    void load_both(int64_t t, int n) {
        load_queries(t, n);
        load_errors(t, n);
    }

    T* gradient(void* x, int64_t length, int64_t t, int64_t dim) {
        return (T*)x + ((b * length + t) * p.heads + h) * dim;
    }

    void through_state(int64_t t, int n) {
        load_both(t, n);
        multiply<false>(n, FP, V, out_errors, VP, turned_state, FP, feature_errors, FP, false);
        for (int i = 0; i < n; i++) {
            T *error = feature_errors + i * FP, *dq = gradient(p.dq, p.queries, t + i, K);
            add_scaled(FP, denominator_errors[i], sums, error);
            if (!p.reweighted) {
                std::memcpy(dq, error, K * sizeof(T));
                continue;
            }
            for (int f = 0; f < K; f++) dq[f] = q_cos[i] * error[f] + q_sin[i] * error[KP + f];
            *gradient(p.dq_cos, p.queries, t + i, 1) = dot(KP, queries + i * KP, error);
            *gradient(p.dq_sin, p.queries, t + i, 1) = dot(KP, queries + i * KP, error + KP);
        }
    }

    // What the queries behind this block, which read it from the state, give to its keys and values.
    void begin_key_errors() {
        transpose<T>(rows, VP, values, VP, turned_values, BLOCK);
        if (empty) {
            fill<T>(key_errors, (int64_t)rows * KP, 0);
            fill<T>(value_errors, (int64_t)rows * VP, 0);
            fill<T>(k_cos_errors, rows, 0);
            fill<T>(k_sin_errors, rows, 0);
            return;
        }
        transpose<T>(FP, VP, state, VP, turned_state, FP);
        multiply<false>(rows, VP, FP, key_features, FP, state, VP, value_errors, VP, false);
        multiply<false>(rows, FP, V, values, VP, turned_state, FP, feature_errors, FP, false);
        for (int j = 0; j < rows; j++) {
            T* error = feature_errors + j * FP;
            add_scaled(FP, T(1), sums, error);
            if (!p.reweighted) {
                std::memcpy(key_errors + j * KP, error, KP * sizeof(T));
                continue;
            }
            for (int f = 0; f < KP; f++) key_errors[j * KP + f] = k_cos[j] * error[f] + k_sin[j] * error[KP + f];
            k_cos_errors[j] = dot(KP, keys + j * KP, error);
            k_sin_errors[j] = dot(KP, keys + j * KP, error + KP);
        }
    }

    void within_block(int64_t t, int n, int64_t block) {
        limit(t, n, block);
        raw_weights(n, weights);
        by_rows(n, [&](int i, int some, int seen) {
            multiply<false>(some, padded<T>(seen), V, out_errors + i * VP, VP, turned_values, BLOCK, errors + i * BLOCK, BLOCK,
                            false);
        });
        for (int i = 0; i < n; i++) {
            T *weight = weights + i * BLOCK, *error = errors + i * BLOCK;
            const int limit = limits[i];
            T by_cos = 0, by_sin = 0;
            for (int j = 0; j < limit; j++) {
                const T of_weight = error[j] + denominator_errors[i], factor = angle(i, j);
                if (p.reweighted) {
                    const T of_angle = of_weight * weight[j];
                    by_cos += of_angle * k_cos[j];
                    by_sin += of_angle * k_sin[j];
                    k_cos_errors[j] += of_angle * q_cos[i];
                    k_sin_errors[j] += of_angle * q_sin[i];
                }
                error[j] = of_weight * factor;
                weight[j] *= factor;
            }
            fill<T>(weight + limit, BLOCK - limit, 0);
            fill<T>(error + limit, BLOCK - limit, 0);
            if (p.reweighted) {
                *gradient(p.dq_cos, p.queries, t + i, 1) += by_cos;
                *gradient(p.dq_sin, p.queries, t + i, 1) += by_sin;
            }
        }
        by_keys(n, [&](int j, int some, int i) {
            multiply<true>(some, VP, n - i, weights + i * BLOCK + j, BLOCK, out_errors + i * VP, VP, value_errors + j * VP, VP,
                           true);
            multiply<true>(some, KP, n - i, errors + i * BLOCK + j, BLOCK, queries + i * KP, KP, key_errors + j * KP, KP, true);
        });
        by_rows(n, [&](int i, int some, int seen) {
            multiply<false>(some, KP, seen, errors + i * BLOCK, BLOCK, keys, KP, query_errors + i * KP, KP, false);
        });
        for (int i = 0; i < n; i++) {
            T* dq = gradient(p.dq, p.queries, t + i, K);
            for (int f = 0; f < K; f++) dq[f] += query_errors[i * KP + f];
        }
    }

    // What these queries give to the keys that they read from the state.
    void collect(int n) {
        empty = false;
        multiply<true>(FP, VP, n, query_features, FP, out_errors, VP, state, VP, true);
        for (int i = 0; i < n; i++) add_scaled(FP, denominator_errors[i], query_features + i * FP, sums);
    }

    void end_key_errors(int64_t block) {
        for (int j = 0; j < count; j++) {
            if (hidden[j]) continue;  // the gradients were zero when they came
            const int64_t s = block * BLOCK + j;
            std::memcpy(gradient(p.dk, p.keys, s, K), key_errors + j * KP, K * sizeof(T));
            std::memcpy(gradient(p.dv, p.keys, s, V), value_errors + j * VP, V * sizeof(T));
            if (!p.reweighted) continue;
            *gradient(p.dk_cos, p.keys, s, 1) = k_cos_errors[j];
            *gradient(p.dk_sin, p.keys, s, 1) = k_sin_errors[j];
        }
    }
};

// The part of one thread: batch rows and heads, as `next` deals them out.
template <class T>
inline void work_through(const Problem& problem, bool backward, int64_t (*next)(void*), void* counter) {
    if (!problem.queries) return;
    Worker<T> worker(problem);
    for (int64_t item; (item = next(counter)) < problem.batch * problem.heads;) {
        const int64_t b = item / problem.heads, h = item % problem.heads;
        backward ? worker.backward(b, h) : worker.forward(b, h);
    }
}

}  // namespace
