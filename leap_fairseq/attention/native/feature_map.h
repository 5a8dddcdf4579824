// Hedgehog's features of each token, and their gradients.
//
// Tokens are dealt out in chunks. Of the scales, which all tokens share, each chunk writes its own gradient, and Python adds
// them up: the result does not depend on the number of threads.
//
// Shape letters: N tokens, H heads, K head dimension.
#pragma once

#include "matrix.h"
#include "problem.h"

namespace {

// The factors of the exponential series, 1 / n!.
struct Series {
    double factors[16] = {1};

    constexpr explicit Series(int terms) {
        for (int term = 1; term <= terms; term++) factors[term] = factors[term - 1] / term;
    }
};

// e^x for x <= 0: 2^n e^r with |r| <= ln(2) / 2, and e^r by its series. Where it would be below the smallest normal
// number, it is about that number.
template <class T>
inline typename Vector<T>::type exponential(typename Vector<T>::type x) {
    typedef typename Vector<T>::type V;
    typedef typename Vector<T>::index I;
    constexpr bool SINGLE = sizeof(T) == 4;
    constexpr int TERMS = SINGLE ? 7 : 13, DIGITS = SINGLE ? 23 : 52, BIAS = SINGLE ? 127 : 1023;
    const V least = V{} + T(SINGLE ? -87.3 : -708.3);
    x = x < least ? least : x;
    const I power = __builtin_convertvector(x * T(1.44269504088896340736) - T(0.5), I);
    const V rest = x - __builtin_convertvector(power, V) * T(LN_2);
    constexpr Series series(TERMS);
    V sum{};
    for (int term = TERMS; term >= 0; term--) sum = sum * rest + T(series.factors[term]);
    return sum * (V)((power + BIAS) << DIGITS);
}

template <class T>
inline T total(typename Vector<T>::type lanes) {
    T sum = 0;
    for (int i = 0; i < Vector<T>::LANES; i++) sum += lanes[i];
    return sum;
}

// A row of `many` numbers anywhere in memory, vector by vector; behind its end there is zero, which is not written. WHOLE:
// its end is that of a vector.
template <class T, bool WHOLE>
struct Row {
    typedef typename Vector<T>::type V;
    static constexpr int LANES = Vector<T>::LANES;

    static inline V load(const T* row, int at, int many) {
        V lanes{};
        if (WHOLE || at + LANES <= many)
            std::memcpy(&lanes, row + at, sizeof(V));
        else
            std::memcpy(&lanes, row + at, (many - at) * sizeof(T));
        return lanes;
    }

    static inline void store(V lanes, T* row, int at, int many) {
        if (WHOLE || at + LANES <= many)
            std::memcpy(row + at, &lanes, sizeof(V));
        else
            std::memcpy(row + at, &lanes, (many - at) * sizeof(T));
    }

    // Zero behind the end.
    static inline V cut(V lanes, int at, int many) {
        for (int i = WHOLE ? LANES : many - at; i < LANES; i++) lanes[i] = 0;
        return lanes;
    }
};

// 2K softmax([s x, -s x]) of each token and head.
template <class T, bool WHOLE>
class FeatureWorker {
    typedef typename Vector<T>::type V;
    typedef Row<T, WHOLE> R;
    static constexpr int LANES = Vector<T>::LANES;

   public:
    explicit FeatureWorker(const Features& problem) : p(problem), K((int)problem.key_dim) {}

    void forward(int64_t chunk) const {
        for (int64_t row = first_row(chunk); row < first_row(chunk + 1); row++)
            map((const T*)p.x + row * K, ((const T*)p.scale)[row % p.heads], (T*)p.features + row * 2 * K);
    }

    void backward(int64_t chunk) const {
        T* scale_gradient = (T*)p.scale_gradients + chunk * p.heads;
        fill<T>(scale_gradient, p.heads, 0);
        for (int64_t row = first_row(chunk); row < first_row(chunk + 1); row++)
            scale_gradient[row % p.heads] += derive(row, ((const T*)p.scale)[row % p.heads]);
    }

   private:
    const Features& p;
    const int K;

    int64_t first_row(int64_t chunk) const { return p.tokens * chunk / p.chunks * p.heads; }

    void map(const T* x, T scale, T* features) const {
        V largest{};
        for (int f = 0; f < K; f += LANES) {
            const V y = R::load(x, f, K) * scale, size = y < 0 ? -y : y;
            largest = size > largest ? size : largest;
        }
        T most = 0;
        for (int i = 0; i < LANES; i++) most = largest[i] > most ? largest[i] : most;
        V sums{};
        for (int f = 0; f < K; f += LANES) {
            const V y = R::load(x, f, K) * scale;
            const V above = R::cut(exponential<T>(y - most), f, K), below = R::cut(exponential<T>(-y - most), f, K);
            sums += above + below;
            R::store(above, features, f, K);
            R::store(below, features + K, f, K);
        }
        const T factor = T(2 * K) / total<T>(sums);
        for (int f = 0; f < 2 * K; f += LANES) R::store(R::load(features, f, 2 * K) * factor, features, f, 2 * K);
    }

    // Writes the gradient of x; returns that of the scale.
    T derive(int64_t row, T scale) const {
        const T *x = (const T*)p.x + row * K, *features = (const T*)p.features + row * 2 * K;
        const T* gradient = (const T*)p.features_gradient + row * 2 * K;
        T* x_gradient = (T*)p.x_gradient + row * K;
        V sums{};
        for (int f = 0; f < 2 * K; f += LANES) sums += R::load(features, f, 2 * K) * R::load(gradient, f, 2 * K);
        const T mean = total<T>(sums) / (2 * K);
        sums = V{};
        for (int f = 0; f < K; f += LANES) {
            const V above = R::load(features, f, K) * (R::load(gradient, f, K) - mean);
            const V below = R::load(features + K, f, K) * (R::load(gradient + K, f, K) - mean);
            sums += (above - below) * R::load(x, f, K);
            R::store((above - below) * scale, x_gradient, f, K);
        }
        return total<T>(sums);
    }
};

// The part of one thread: chunks, as `next` deals them out.
template <class T, bool WHOLE>
inline void map_with(const Features& problem, bool backward, Next* next, void* counter) {
    const FeatureWorker<T, WHOLE> worker(problem);
    for (int64_t chunk; (chunk = next(counter)) < problem.chunks;) backward ? worker.backward(chunk) : worker.forward(chunk);
}

template <class T>
inline void map_through(const Features& problem, bool backward, Next* next, void* counter) {
    problem.key_dim % Vector<T>::LANES ? map_with<T, false>(problem, backward, next, counter)
                                       : map_with<T, true>(problem, backward, next, counter);
}

}  // namespace
