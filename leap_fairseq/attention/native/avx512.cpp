// For processors with AVX-512.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#define VECTOR_BYTES 64
#define VECTOR_REGISTERS 32
#include "prefix_attention.h"

void work_avx512(const Problem& problem, bool doubles, bool backward, int64_t (*next)(void*), void* counter) {
    doubles ? work_anywhere(problem, doubles, backward, next, counter)
            : work_through<float>(problem, backward, next, counter);
}
#endif
