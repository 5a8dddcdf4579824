// For processors with AVX2.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC target("avx2,fma")
#define VECTOR_BYTES 32
#define VECTOR_REGISTERS 16
#include "feature_map.h"
#include "prefix_attention.h"
#include "step.h"

void attend_avx2(const Problem& problem, bool doubles, bool backward, Next* next, void* counter) {
    doubles ? attend_anywhere(problem, doubles, backward, next, counter)
            : work_through<float>(problem, backward, next, counter);
}

void map_avx2(const Features& problem, bool doubles, bool backward, Next* next, void* counter) {
    doubles ? map_anywhere(problem, doubles, backward, next, counter)
            : map_through<float>(problem, backward, next, counter);
}

bool take_avx2(const Step& step, bool doubles) {
    return doubles ? take_anywhere(step, doubles) : take_steps<float>(step);
}
#endif
