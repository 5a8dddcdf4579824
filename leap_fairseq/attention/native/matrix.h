// Small matrix products in cache, the transposition they need, and the memory they are given next.
//
// Before this file, define VECTOR_BYTES and VECTOR_REGISTERS, those of the processor: the compiler takes wider vectors
// apart in memory, element by element, and puts the sums of larger tiles there.
//
// All matrices are row-major with rows that begin on a cache line; the number of columns is a multiple of LANES, so that
// whole vectors are read and written. What lies between a matrix and that multiple is zero.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

// Everything has internal linkage, std's templates are avoided: the same code is compiled for several processors, and the
// linker must not take a function of one for another.
namespace {

// Bytes between the parts of one piece of memory that must not be touched; none but under scripts/sanitize.sh, which sees
// it if they are.
#ifdef __SANITIZE_ADDRESS__
constexpr int64_t GAP = 64;
inline void forbid(const void* first, int64_t bytes) { ASAN_POISON_MEMORY_REGION(first, bytes); }
#else
constexpr int64_t GAP = 0;
inline void forbid(const void*, int64_t) {}
#endif

constexpr double LN_2 = 0.69314718055994530942;

inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

template <class T>
inline void fill(T* x, int64_t n, T value) {
    for (int64_t i = 0; i < n; i++) x[i] = value;
}

template <class T>
struct Lane;

template <>
struct Lane<float> {
    typedef int32_t index;
};

template <>
struct Lane<double> {
    typedef int64_t index;
};

template <class T>
struct Vector {
    static constexpr int LANES = VECTOR_BYTES / sizeof(T);
    typedef T type __attribute__((vector_size(VECTOR_BYTES), aligned(VECTOR_BYTES)));
    typedef typename Lane<T>::index index __attribute__((vector_size(VECTOR_BYTES)));
};

template <class T>
inline int padded(int n) {
    return (n + Vector<T>::LANES - 1) / Vector<T>::LANES * Vector<T>::LANES;
}

// Rows in memory that are needed soon: some of their cache lines are fetched beside each tile of a product. If all were
// asked for at once, the product would wait for them.
class Ahead {
   public:
    void clear() { many = now = row = byte = 0; }

    // Rows that begin `stride` bytes from each other; at most MOST times after `clear`.
    void add(const void* first, int64_t stride, int64_t rows, int64_t bytes) {
        if (rows > 0) all[many++] = {(const char*)first, stride, rows, bytes};
    }

    void fetch() {
        for (int line = 0; line < 8 && now < many; line++) {
            __builtin_prefetch(all[now].first + row * all[now].stride + byte);
            byte += 64;
            if (byte < all[now].bytes) continue;
            byte = 0;
            if (++row == all[now].rows) row = 0, now++;
        }
    }

   private:
    static constexpr int MOST = 6;
    struct Rows {
        const char* first;
        int64_t stride, rows, bytes;
    };
    Rows all[MOST];
    int many = 0, now = 0;
    int64_t row = 0, byte = 0;
};

// C[ROWS, COLUMNS vectors] (+)= A B over `inner`; A is read transposed where TA.
template <class T, int ROWS, int COLUMNS, bool TA>
inline void tile(int inner, const T* a, int lda, const T* b, int ldb, T* c, int ldc, bool add) {
    typedef typename Vector<T>::type V;
    V sums[ROWS][COLUMNS];
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLUMNS; j++) {
            if (add)
                sums[i][j] = *(const V*)(c + i * ldc + j * Vector<T>::LANES);
            else
                sums[i][j] = V{};
        }
    for (int k = 0; k < inner; k++) {
        V right[COLUMNS];
        for (int j = 0; j < COLUMNS; j++) right[j] = *(const V*)(b + k * ldb + j * Vector<T>::LANES);
        for (int i = 0; i < ROWS; i++) {
            const T left = TA ? a[k * lda + i] : a[i * lda + k];
            for (int j = 0; j < COLUMNS; j++) sums[i][j] += left * right[j];
        }
    }
    for (int i = 0; i < ROWS; i++)
        for (int j = 0; j < COLUMNS; j++) *(V*)(c + i * ldc + j * Vector<T>::LANES) = sums[i][j];
}

// Vectors beside each other in a tile, at most. Its sums, a row of the right matrix and one value of the left fit in the
// registers.
constexpr int WIDEST = VECTOR_REGISTERS >= 32 ? 4 : 2;

template <class T, int COLUMNS, bool TA>
inline void panel(Ahead& ahead, int rows, int inner, const T* a, int lda, const T* b, int ldb, T* c, int ldc, bool add) {
    constexpr int MOST = COLUMNS == WIDEST ? 6 : 8;
    const int step = TA ? 1 : lda;
    int i = 0;
    for (; i + MOST <= rows; i += MOST) {
        ahead.fetch();
        tile<T, MOST, COLUMNS, TA>(inner, a + i * step, lda, b, ldb, c + i * ldc, ldc, add);
    }
    for (; i + 4 <= rows; i += 4) tile<T, 4, COLUMNS, TA>(inner, a + i * step, lda, b, ldb, c + i * ldc, ldc, add);
    for (; i < rows; i++) tile<T, 1, COLUMNS, TA>(inner, a + i * step, lda, b, ldb, c + i * ldc, ldc, add);
}

// C[rows, columns] = A[rows, inner] B[inner, columns], added to C where `add`; A[inner, rows] where TA.
template <class T, bool TA>
inline void product(Ahead& ahead, int rows, int columns, int inner, const T* a, int lda, const T* b, int ldb, T* c, int ldc,
                    bool add) {
    constexpr int LANES = Vector<T>::LANES;
    const int vectors = (columns + LANES - 1) / LANES;
    int j = 0;
    for (; j + WIDEST <= vectors; j += WIDEST)
        panel<T, WIDEST, TA>(ahead, rows, inner, a, lda, b + j * LANES, ldb, c + j * LANES, ldc, add);
    for (; j + 2 <= vectors; j += 2)
        panel<T, 2, TA>(ahead, rows, inner, a, lda, b + j * LANES, ldb, c + j * LANES, ldc, add);
    for (; j < vectors; j++) panel<T, 1, TA>(ahead, rows, inner, a, lda, b + j * LANES, ldb, c + j * LANES, ldc, add);
}

template <class T, int HALF>
struct Turn {
    typedef typename Vector<T>::type V;
    typedef typename Vector<T>::index I;

    static inline void stage(V* rows) {
        constexpr int LANES = Vector<T>::LANES;
        I upper{}, lower{};
        for (int n = 0; n < LANES; n++) {
            const bool second = n & HALF;
            upper[n] = second ? LANES + n - HALF : n;
            lower[n] = second ? LANES + n : n + HALF;
        }
        for (int r = 0; r < LANES; r++) {
            if (r & HALF) continue;
            const V above = rows[r], below = rows[r + HALF];
            rows[r] = __builtin_shuffle(above, below, upper);
            rows[r + HALF] = __builtin_shuffle(above, below, lower);
        }
        Turn<T, HALF / 2>::stage(rows);
    }
};

template <class T>
struct Turn<T, 0> {
    static inline void stage(typename Vector<T>::type*) {}
};

// out[columns, rows] of in[rows, columns]; both numbers are multiples of LANES. A square of LANES by LANES is turned in
// registers: in each stage, halves of half the size change places between two rows.
template <class T>
inline void transpose(int rows, int columns, const T* in, int ldi, T* out, int ldo) {
    typedef typename Vector<T>::type V;
    constexpr int LANES = Vector<T>::LANES;
    for (int i = 0; i < rows; i += LANES)
        for (int j = 0; j < columns; j += LANES) {
            V square[LANES];
            for (int r = 0; r < LANES; r++) square[r] = *(const V*)(in + (i + r) * ldi + j);
            Turn<T, LANES / 2>::stage(square);
            for (int r = 0; r < LANES; r++) *(V*)(out + (j + r) * ldo + i) = square[r];
        }
}

template <class T>
inline T dot(int n, const T* a, const T* b) {
    typename Vector<T>::type sums{};
    typedef typename Vector<T>::type V;
    for (int i = 0; i < n; i += Vector<T>::LANES) sums += *(const V*)(a + i) * *(const V*)(b + i);
    T total = 0;
    for (int i = 0; i < Vector<T>::LANES; i++) total += sums[i];
    return total;
}

// x *= factor
template <class T>
inline void scale(int64_t n, T factor, T* x) {
    typedef typename Vector<T>::type V;
    for (int64_t i = 0; i < n; i += Vector<T>::LANES) *(V*)(x + i) *= factor;
}

// y += factor * x
template <class T>
inline void add_scaled(int n, T factor, const T* x, T* y) {
    typedef typename Vector<T>::type V;
    for (int i = 0; i < n; i += Vector<T>::LANES) *(V*)(y + i) += factor * *(const V*)(x + i);
}

}  // namespace
