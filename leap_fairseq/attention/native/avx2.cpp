// For processors with AVX2.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx2,fma")
#define VECTOR_BYTES 32
#define VECTOR_REGISTERS 16
#include "prefix_attention.h"

void work_avx2(const Problem& problem, bool doubles, bool backward, int64_t (*next)(void*), void* counter) {
    doubles ? work_anywhere(problem, doubles, backward, next, counter)
            : work_through<float>(problem, backward, next, counter);
}
#endif
