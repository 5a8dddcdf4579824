// Linear attention over a visible prefix, forward and backward, some heads of a batch row at a time.
//
// The blocks of keys are walked in order. A query reads, of the block in which its visible prefix ends, the visible keys
// one by one, and of all blocks before the state. What is needed at a time (a block of keys, some queries, their weights,
// the state) stays in cache; nothing of the size T x S or T x F is ever written. The backward pass computes weights and
// states again, forwards for the queries and backwards for the keys and values. Both passes go stretch by stretch, head
// after head in each: heads lie beside each other in memory, and so do the two walks of the backward pass through a
// stretch. For it, the forward pass keeps the state behind each stretch. The equations are those of naive.py; a re-weighted
// feature is (c x, s x) with c = cos(pi/2 P), s = sin(pi/2 P). Where weights halve with age, a state holds its keys as old
// as they are for a query that sees no newer one, and a query finds them older by the keys it sees beyond. With a clock,
// keys count for what it says; its gradients are those of the features that it has made smaller.
//
// Shape letters: T queries, S keys, K key dimension, V value dimension, F features (2K re-weighted, else K).
#pragma once

#include "contrast.h"
#include "feature_map.h"
#include "matrix.h"
#include "problem.h"

constexpr int BLOCK = 64;
constexpr int STRETCH = STRETCH_KEYS / BLOCK;  // blocks
constexpr int AGES = BLOCK + 16;               // BLOCK and 0 to BLOCK - 1, in whole cache lines

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
          FP(problem.reweighted ? 2 * KP : KP),
          states((Head*)std::malloc(heads_at_a_time(problem) * sizeof(Head))) {
        const int64_t many = heads_at_a_time(problem);
        const int64_t sizes[] = {BLOCK * KP, BLOCK * KP, BLOCK * VP, BLOCK * VP, BLOCK * BLOCK, BLOCK * BLOCK,
                                 BLOCK * FP, BLOCK * FP, BLOCK * FP, FP * VP, FP, VP * BLOCK, KP * BLOCK, BLOCK * VP,
                                 BLOCK * KP, BLOCK * VP, BLOCK * KP, many * FP * VP, many * FP, many * AGES};
        T *all_states, *all_sums, *all_ages;
        T** buffers[] = {&queries, &keys, &values, &outs, &weights, &errors, &query_features, &key_features,
                         &feature_errors, &turned_state, &sums_before, &turned_values, &turned_keys, &out_errors,
                         &key_errors, &value_errors, &query_errors, &all_states, &all_sums, &all_ages};
        int64_t total = 0;
        for (int64_t size : sizes) total += size + GAP / (int64_t)sizeof(T);
        memory = std::calloc(total * sizeof(T) + 64, 1);
        if (!ready()) return;
        T* at = (T*)(((uintptr_t)memory + 63) / 64 * 64);
        for (unsigned n = 0; n < sizeof(sizes) / sizeof(*sizes); n++) {
            *buffers[n] = at;
            at += sizes[n];
            forbid(at, GAP);
            at += GAP / sizeof(T);
        }
        for (int64_t n = 0; n < many; n++) states[n] = {all_states + n * FP * VP, all_sums + n * FP, all_ages + n * AGES, true};
    }

    ~Worker() {
        std::free(memory);
        std::free(states);
    }

    // Whether there was memory for it.
    bool ready() const { return memory && states; }

    void forward(int64_t batch, int64_t first, int64_t last) {
        turn_to(batch, first, last);
        const int64_t direct = first_direct_block();
        int64_t t = 0;
        each_head([&] {
            head->empty = !load_state(initial(), [&](int f, int j) -> T& { return head->state[f * VP + j]; }, head->sums);
        });
        for (int64_t block = 0; block < direct; block += STRETCH) {
            const int64_t stop = least(block + STRETCH, direct), from = t;
            each_head([&] { t = forward_stretch(block, stop, from); });
        }
        each_head([&] { forward_directly(t, direct); });
    }

    void backward(int64_t batch, int64_t first, int64_t last) {
        turn_to(batch, first, last);
        const int64_t direct = first_direct_block(), stretches = (direct + STRETCH - 1) / STRETCH;
        int64_t t = 0;
        while (t < p.queries && block_of(t) < direct) t++;
        each_head([&] {
            fill<T>(head->state, FP * VP, 0);
            fill<T>(head->sums, FP, 0);
            head->empty = true;
            backward_directly(t, direct);
            if (!direct) keep_initial_gradient();
            no_gradient((block_of(p.queries - 1) + 1) * BLOCK, p.keys);
        });
        for (int64_t block = (stretches - 1) * STRETCH; block >= 0; block -= STRETCH) {
            const int64_t stop = least(block + STRETCH, direct), end = t;
            each_head([&] {
                t = backward_stretch(block, stop, end);
                if (!block) keep_initial_gradient();
            });
        }
    }

   private:
    // What is known of a head, stretch after stretch. Forward pass: the sums over the keys before. Backward pass: those over
    // the gradients of the queries behind.
    struct Head {
        T *state, *sums;  // [F, V], [F]
        T* left;          // [AGES]: of a weight, behind BLOCK newer keys and ever fewer
        bool empty;       // nothing has been added to them
    };

    const Problem& p;
    const int K, V, F, KP, VP, FP;
    Head *const states, *head = nullptr;  // of the heads that are worked on, and the one at hand
    int64_t b = 0, h = 0, first_head = 0, last_head = 0;
    void* memory;
    // Rows of a block or tile: inputs, weights [query, key] and their gradients, features, and what they give.
    T *queries, *keys, *values, *outs, *weights, *errors, *query_features, *key_features, *feature_errors;
    T *turned_state, *sums_before;  // [V, F], [F]: in the backward pass, of the keys before
    bool empty_before = true;       // nothing has been added to these
    T *turned_values, *turned_keys, *out_errors, *key_errors, *value_errors, *query_errors;
    T state_left[BLOCK], block_left[BLOCK];  // of the weights in the state and in the block, for each query
    double key_ends[BLOCK], query_times[BLOCK];  // half-lives by the clock since the block began: one key may be very many
    T key_left[BLOCK], all_left;                 // of its keys and of those before it, at its end
    T q_cos[BLOCK], q_sin[BLOCK], k_cos[BLOCK], k_sin[BLOCK], denominators[BLOCK], denominator_errors[BLOCK];
    T k_cos_errors[BLOCK], k_sin_errors[BLOCK];
    Ahead ahead;
    int limits[BLOCK];
    bool hidden[BLOCK];
    int count = 0, rows = 0;  // keys of the block, and whole vectors of them

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

    void turn_to(int64_t batch, int64_t first, int64_t last) {
        b = batch, first_head = first, last_head = last;
        ahead.clear();
        if (!p.half_life) return;
        each_head([&] {
            for (int n = 0; n <= BLOCK; n++) head->left[n] = halved(BLOCK - n);
        });
    }

    T halved(int64_t age) const { return (T)__builtin_exp2(-(double)age / p.half_life[h]); }

    // Half-lives between so many keys and so many.
    double between(int64_t since, int64_t until) const {
        const double* clock = clock_of(p.clock, p, b, h);
        return clock[least(until, p.keys)] - clock[least(since, p.keys)];
    }

    // 2 ** x of whole vectors, of which none is above 1.
    static void halve(T* x, int n) {
        typedef Row<T, true> R;
        for (int i = 0; i < n; i += LANES) {
            const typename Vector<T>::type lanes = R::load(x, i, n) * T(LN_2), zero{};
            R::store(exponential<T>(lanes < zero ? lanes : zero), x, i, n);
        }
    }

    // How the keys of a block fade until its end.
    void set_clock(int64_t first) {
        for (int j = 0; j < BLOCK; j++) key_ends[j] = between(first, first + j + 1);
        const double end = key_ends[BLOCK - 1];
        for (int j = 0; j < BLOCK; j++) key_left[j] = (T)(key_ends[j] - end);
        halve(key_left, BLOCK);
        all_left = (T)__builtin_exp2(-end);
    }

    // What is left at the end of the block of the weight of its key, and of those before it.
    T left_of_key(int j) const { return p.clock ? key_left[j] : left(BLOCK - 1 - j); }
    T left_of_state() const { return p.clock ? all_left : left(BLOCK); }

    // What is left of a weight behind so many newer keys.
    T left(int64_t age) const { return age <= BLOCK ? head->left[BLOCK - age] : halved(age); }

    template <class Function>
    void each_head(Function function) {
        for (h = first_head; h < last_head; h++) {
            head = states + (h - first_head);
            function();
        }
    }

    int64_t state_size() const { return (int64_t)F * (V + 1); }

    const T* initial() const { return p.initial ? (const T*)p.initial + (b * p.heads + h) * state_size() : nullptr; }

    // The state behind a stretch.
    T* kept(int64_t stretch) const {
        return (T*)p.states + ((b * p.heads + h) * stretches_of(p.keys) + stretch) * state_size();
    }

    // Takes over a state, if one is given; element(f, v) is its place.
    template <class Element>
    bool load_state(const T* given, Element element, T* sums) const {
        for (int f = 0; f < FP; f++)
            for (int j = 0; j < VP; j++) element(f, j) = 0;
        fill<T>(sums, FP, 0);
        for (int f = 0; given && f < F; f++) {
            const int to = f < K ? f : KP + f - K;
            for (int j = 0; j < V; j++) element(to, j) = given[f * (V + 1) + j];
            sums[to] = given[f * (V + 1) + V];
        }
        return given;
    }

    void keep_state(T* to) const {
        for (int f = 0; f < F; f++) {
            const int from = f < K ? f : KP + f - K;
            for (int j = 0; j < V; j++) to[f * (V + 1) + j] = head->state[from * VP + j];
            to[f * (V + 1) + V] = head->sums[from];
        }
    }

    void keep_initial_gradient() const {
        if (p.dinitial) keep_state((T*)p.dinitial + (b * p.heads + h) * state_size());
    }

    void load_state_before(int64_t stretch) {
        const T* given = stretch ? kept(stretch - 1) : initial();
        empty_before = !load_state(given, [&](int f, int j) -> T& { return turned_state[j * FP + f]; }, sums_before);
    }

    // Queries from t on whose prefix ends in one of the blocks; the first one behind them.
    int64_t forward_stretch(int64_t first_block, int64_t last_block, int64_t t) {
        for (int64_t block = first_block; block < last_block; block++) {
            load_keys(block);
            if (block + 1 < last_block)
                look_ahead(h, block + 1, false);
            else
                look_ahead_to_stretch(first_block, last_block, false);
            for (int n; (n = queries_of(t, block)); t += n) {
                load_queries(t, n, block);
                read_state(n);
                read_block(t, n, block);
                finish(t, n);
            }
            absorb();
        }
        if (p.states) keep_state(kept(first_block / STRETCH));
        return t;
    }

    // Queries from t on, which read the state before the first direct block and the direct blocks themselves.
    void forward_directly(int64_t t, int64_t direct) {
        for (int n; t < p.queries; t += n) {
            n = (int)least(BLOCK, p.queries - t);
            load_queries(t, n, direct);
            read_state(n);
            const int64_t last = block_of(t + n - 1);
            for (int64_t block = direct; block <= last; block++) {
                load_keys(block);
                if (block < last)
                    look_ahead_to_keys(h, block + 1);
                else
                    look_ahead_to_keys(t + n < p.queries ? h : h + 1, direct);
                read_block(t, n, block);
            }
            finish(t, n);
        }
    }

    void backward_directly(int64_t first, int64_t direct) {
        load_state_before((direct + STRETCH - 1) / STRETCH);
        for (int64_t t = first; t < p.queries; t += BLOCK) through_state(t, (int)least(BLOCK, p.queries - t), direct);
        const int64_t last = block_of(p.queries - 1);
        for (int64_t block = last; block >= direct; block--) {
            load_keys(block);
            look_ahead_to_keys(block > direct ? h : h + 1, block > direct ? block - 1 : last);
            look_ahead_to_gradients(block);
            begin_key_errors();
            for (int64_t t = first; t < p.queries; t += BLOCK) {
                const int n = (int)least(BLOCK, p.queries - t);
                if (block_of(t + n - 1) < block) continue;
                load_both(t, n, direct);
                within_block(t, n, block);
            }
            end_key_errors(block);
        }
        if (!direct && !p.dinitial) return;
        for (int64_t t = first; t < p.queries; t += BLOCK) {
            const int n = (int)least(BLOCK, p.queries - t);
            load_both(t, n, direct);
            collect(n);
        }
    }

    // Queries before `end` whose prefix ends in one of the blocks, and the keys of these; the first of the queries.
    int64_t backward_stretch(int64_t first_block, int64_t last_block, int64_t end) {
        load_state_before(first_block / STRETCH);
        int64_t t = end;
        while (t > 0 && block_of(t - 1) >= first_block) t--;
        for (int64_t block = first_block; block < last_block; block++) {
            for (int n; (n = queries_of(t, block)); t += n) through_state(t, n, block);
            if (block + 1 == last_block) break;
            look_ahead(h, block + 1, true);
            load_keys(block);
            absorb_turned();
        }
        for (int64_t block = last_block - 1; block >= first_block; block--) {
            int64_t first = end;
            while (first > 0 && block_of(first - 1) == block) first--;
            load_keys(block);
            if (block > first_block)
                look_ahead(h, block - 1, true);
            else
                look_ahead_to_stretch(first_block, first_block - STRETCH, true);
            begin_key_errors();
            for (t = first; t < end; t += BLOCK) {
                const int n = (int)least(BLOCK, end - t);
                load_both(t, n, block);
                within_block(t, n, block);
                if (block || p.dinitial) collect(n);  // the keys of this block have read the state already
            }
            end = first;
            end_key_errors(block);
        }
        return end;
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
        if (p.clock) set_clock(first);
        for (int j = 0; p.half_life && j < rows; j++) scale(FP, left_of_key(j), key_features + j * FP);
    }

    // Queries that read the state before the block.
    void load_queries(int64_t t, int n, int64_t block) {
        for (int i = 0; i < n; i++) {
            std::memcpy(queries + i * KP, at(p.q, p.q_strides, b, t + i, h), K * sizeof(T));
            if (p.reweighted) {
                q_cos[i] = *at(p.q_cos, p.q_angle_strides, b, t + i, h);
                q_sin[i] = *at(p.q_sin, p.q_angle_strides, b, t + i, h);
            }
        }
        featurise(n, queries, q_cos, q_sin, query_features);
        if (!p.half_life) return;
        for (int i = 0; i < n; i++) {
            const int64_t first = block * BLOCK, seen = p.visible[t + i];
            state_left[i] = p.clock ? (T)-between(first, seen) : left(seen - first);
        }
        if (p.clock) halve(state_left, padded<T>(n));
        for (int i = 0; i < n; i++) scale(FP, state_left[i], query_features + i * FP);
    }

    // While this block is worked on, the next one comes from memory: its keys, and as many queries, those of
    // self-attention.
    void look_ahead(int64_t h, int64_t block, bool backward) {
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

    // The same where blocks are read one by one, and of this block the places of its gradients.
    void look_ahead_to_keys(int64_t h, int64_t block) {
        ahead.clear();
        if (h == last_head) return;
        const int64_t first = block * BLOCK, keys = least(BLOCK, p.keys - first);
        ahead.add(at(p.k, p.k_strides, b, first, h), p.k_strides.time * sizeof(T), keys, K * sizeof(T));
        ahead.add(at(p.v, p.v_strides, b, first, h), p.v_strides.time * sizeof(T), keys, V * sizeof(T));
    }

    void look_ahead_to_gradients(int64_t block) {
        const int64_t first = block * BLOCK, row = (b * p.keys + first) * p.heads + h, keys = least(BLOCK, p.keys - first);
        ahead.add((const T*)p.dk + row * K, p.heads * K * sizeof(T), keys, K * sizeof(T));
        ahead.add((const T*)p.dv + row * V, p.heads * V * sizeof(T), keys, V * sizeof(T));
    }

    // The next head comes to the same stretch, the first one to the next stretch.
    void look_ahead_to_stretch(int64_t same, int64_t next, bool backward) {
        const bool more = h + 1 < last_head;
        look_ahead(more ? h + 1 : first_head, more ? same : next, backward);
    }

    // How many keys of the block each query sees.
    void limit(int64_t t, int n, int64_t block) {
        for (int i = 0; i < n; i++) {
            const int64_t seen = p.visible[t + i] - block * BLOCK;
            limits[i] = seen < 0 ? 0 : (int)least(seen, BLOCK);
            if (p.clock)
                query_times[i] = between(block * BLOCK, p.visible[t + i]);
            else if (p.half_life)
                block_left[i] = left(seen < BLOCK ? 0 : seen - BLOCK);
        }
    }

    // Weights of the block's keys, or gradients of them, as old as they are for each query.
    void fade(int n, T* rows) const {
        for (int i = 0; p.clock && i < n; i++) {
            T left[BLOCK];
            const int seen = padded<T>(limits[i]);
            for (int j = 0; j < seen; j++) left[j] = (T)(key_ends[j] - query_times[i]);
            halve(left, seen);
            for (int j = 0; j < seen; j++) rows[i * BLOCK + j] *= left[j];
        }
        if (p.clock) return;
        for (int i = 0; p.half_life && i < n; i++) {
            const T *of_key = head->left + BLOCK + 1 - limits[i], of_block = block_left[i];
            for (int j = 0; j < limits[i]; j++) rows[i * BLOCK + j] *= of_block * of_key[j];
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

    // q_i . k_j, faded, for the keys that some of the rows see; beyond them nothing is written.
    void raw_weights(int n, T* out) {
        by_rows(n, [&](int i, int some, int seen) {
            multiply<false>(some, padded<T>(seen), K, queries + i * KP, KP, turned_keys, BLOCK, out + i * BLOCK, BLOCK, false);
        });
        fade(n, out);
    }

    T angle(int i, int j) const { return p.reweighted ? q_cos[i] * k_cos[j] + q_sin[i] * k_sin[j] : T(1); }

    void read_state(int n) {
        if (head->empty) {
            fill<T>(outs, (int64_t)n * VP, 0);
            fill<T>(denominators, n, 0);
            return;
        }
        multiply<false>(n, VP, FP, query_features, FP, head->state, VP, outs, VP, false);
        for (int i = 0; i < n; i++) denominators[i] = dot(FP, query_features + i * FP, head->sums);
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

    // Sums a block later.
    void grow_old(T* state, T* sums) const {
        if (!p.half_life) return;
        scale((int64_t)FP * VP, left_of_state(), state);
        scale(FP, left_of_state(), sums);
    }

    void absorb() {
        head->empty = false;
        grow_old(head->state, head->sums);
        multiply<true>(FP, VP, count, key_features, FP, values, VP, head->state, VP, true);
        for (int j = 0; j < count; j++) add_scaled(FP, T(1), key_features + j * FP, head->sums);
    }

    void absorb_turned() {
        empty_before = false;
        grow_old(turned_state, sums_before);
        multiply<true>(VP, FP, count, values, VP, key_features, FP, turned_state, FP, true);
        for (int j = 0; j < count; j++) add_scaled(FP, T(1), key_features + j * FP, sums_before);
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

    void load_both(int64_t t, int n, int64_t block) {
        load_queries(t, n, block);
        load_errors(t, n);
    }

    T* gradient(void* x, int64_t length, int64_t t, int64_t dim) {
        return (T*)x + ((b * length + t) * p.heads + h) * dim;
    }

    // What the state before the block gives to the queries; within_block adds the rest.
    void through_state(int64_t t, int n, int64_t block) {
        if (empty_before) {
            for (int i = 0; i < n; i++) {
                fill<T>(gradient(p.dq, p.queries, t + i, K), K, 0);
                if (p.reweighted) *gradient(p.dq_cos, p.queries, t + i, 1) = *gradient(p.dq_sin, p.queries, t + i, 1) = 0;
            }
            return;
        }
        load_both(t, n, block);
        multiply<false>(n, FP, V, out_errors, VP, turned_state, FP, feature_errors, FP, false);
        for (int i = 0; i < n; i++) {
            T *error = feature_errors + i * FP, *dq = gradient(p.dq, p.queries, t + i, K);
            add_scaled(FP, denominator_errors[i], sums_before, error);
            if (p.half_life) scale(FP, state_left[i], error);
            T by_cos = p.reweighted || p.clock ? dot(KP, queries + i * KP, error) : T(0), by_sin = 0;
            if (p.reweighted) {
                by_sin = dot(KP, queries + i * KP, error + KP);
                for (int f = 0; f < K; f++) dq[f] = q_cos[i] * error[f] + q_sin[i] * error[KP + f];
                *gradient(p.dq_cos, p.queries, t + i, 1) = by_cos;
                *gradient(p.dq_sin, p.queries, t + i, 1) = by_sin;
                by_cos *= q_cos[i], by_sin *= q_sin[i];
            } else {
                std::memcpy(dq, error, K * sizeof(T));
            }
            if (p.clock) clock_of(p.dclock, p, b, h)[p.visible[t + i]] -= LN_2 * (by_cos + by_sin);
        }
    }

    // What the queries behind this block, which read it from the state, give to its keys and values.
    void begin_key_errors() {
        transpose<T>(rows, VP, values, VP, turned_values, BLOCK);
        if (head->empty) {
            fill<T>(key_errors, (int64_t)rows * KP, 0);
            fill<T>(value_errors, (int64_t)rows * VP, 0);
            fill<T>(k_cos_errors, rows, 0);
            fill<T>(k_sin_errors, rows, 0);
            return;
        }
        transpose<T>(FP, VP, head->state, VP, turned_state, FP);
        multiply<false>(rows, VP, FP, key_features, FP, head->state, VP, value_errors, VP, false);
        multiply<false>(rows, FP, V, values, VP, turned_state, FP, feature_errors, FP, false);
        for (int j = 0; j < rows; j++) {
            T* error = feature_errors + j * FP;
            add_scaled(FP, T(1), head->sums, error);
            if (p.half_life) scale(FP, left_of_key(j), error);
            if (!p.reweighted) {
                std::memcpy(key_errors + j * KP, error, KP * sizeof(T));
                continue;
            }
            for (int f = 0; f < KP; f++) key_errors[j * KP + f] = k_cos[j] * error[f] + k_sin[j] * error[KP + f];
            k_cos_errors[j] = dot(KP, keys + j * KP, error);
            k_sin_errors[j] = dot(KP, keys + j * KP, error + KP);
        }
        grow_old(head->state, head->sums);
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
        fade(n, errors);
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
            if (p.clock)
                clock_of(p.dclock, p, b, h)[p.visible[t + i]] -= LN_2 * dot(KP, queries + i * KP, query_errors + i * KP);
        }
    }

    // What these queries give to the keys that they read from the state.
    void collect(int n) {
        head->empty = false;
        multiply<true>(FP, VP, n, query_features, FP, out_errors, VP, head->state, VP, true);
        for (int i = 0; i < n; i++) add_scaled(FP, denominator_errors[i], query_features + i * FP, head->sums);
    }

    void end_key_errors(int64_t block) {
        for (int j = 0; j < count; j++) {
            const int64_t s = block * BLOCK + j;
            if (hidden[j]) {
                no_gradient(s, s + 1);
                continue;
            }
            std::memcpy(gradient(p.dk, p.keys, s, K), key_errors + j * KP, K * sizeof(T));
            std::memcpy(gradient(p.dv, p.keys, s, V), value_errors + j * VP, V * sizeof(T));
            if (p.clock) clock_of(p.dclock, p, b, h)[s + 1] += LN_2 * dot(KP, keys + j * KP, key_errors + j * KP);
            if (!p.reweighted) continue;
            *gradient(p.dk_cos, p.keys, s, 1) = k_cos_errors[j];
            *gradient(p.dk_sin, p.keys, s, 1) = k_sin_errors[j];
        }
    }

    // Keys that no query sees.
    void no_gradient(int64_t first, int64_t end) {
        for (int64_t s = first; s < end; s++) {
            fill<T>(gradient(p.dk, p.keys, s, K), K, 0);
            fill<T>(gradient(p.dv, p.keys, s, V), V, 0);
            if (p.reweighted) *gradient(p.dk_cos, p.keys, s, 1) = *gradient(p.dk_sin, p.keys, s, 1) = 0;
        }
    }
};

// The part of one thread: batch rows and some of their heads, as `next` deals them out.
template <class T>
inline void work_through(const Problem& problem, bool backward, Next* next, void* counter) {
    Worker<T> worker(problem);
    ContrastWorker<T> contrast(problem);
    if (!worker.ready() || !contrast.ready()) return;
    const int64_t many = heads_at_a_time(problem), groups = groups_of(problem);
    for (int64_t item; (item = next(counter)) < problem.batch * groups;) {
        const int64_t b = item / groups, first = item % groups * many, last = least(first + many, problem.heads);
        backward ? worker.backward(b, first, last) : worker.forward(b, first, last);
        for (int64_t h = first; problem.contrast && h < last; h++)
            backward ? contrast.backward(b, h) : contrast.forward(b, h);
    }
}

}  // namespace
