// For any processor; the only one that knows float64, in which gradients are checked.
#define VECTOR_BYTES 16
#ifdef __aarch64__
#define VECTOR_REGISTERS 32
#else
#define VECTOR_REGISTERS 16
#endif
#include "feature_map.h"
#include "prefix_attention.h"
#include "step.h"

void attend_anywhere(const Problem& problem, bool doubles, bool backward, Next* next, void* counter) {
    doubles ? work_through<double>(problem, backward, next, counter)
            : work_through<float>(problem, backward, next, counter);
}

void map_anywhere(const Features& problem, bool doubles, bool backward, Next* next, void* counter) {
    doubles ? map_through<double>(problem, backward, next, counter)
            : map_through<float>(problem, backward, next, counter);
}

bool take_anywhere(const Step& step, bool doubles) {
    return doubles ? take_steps<double>(step) : take_steps<float>(step);
}
