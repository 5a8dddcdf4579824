// For processors with AVX-512.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#define VECTOR_BYTES 64
#define VECTOR_REGISTERS 32
#include "feature_map.h"
#include "prefix_attention.h"
#include "step.h"

void attend_avx512(const Problem& problem, bool doubles, bool backward, Next* next, void* counter) {
    doubles ? attend_anywhere(problem, doubles, backward, next, counter)
            : work_through<float>(problem, backward, next, counter);
}

void map_avx512(const Features& problem, bool doubles, bool backward, Next* next, void* counter) {
    doubles ? map_anywhere(problem, doubles, backward, next, counter)
            : map_through<float>(problem, backward, next, counter);
}

bool take_avx512(const Step& step, bool doubles) {
    return doubles ? take_anywhere(step, doubles) : take_steps<float>(step);
}
#endif
