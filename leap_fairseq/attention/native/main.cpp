// What Python calls, by ctypes: runs a problem on threads of its own, with the code that this processor knows.
#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "problem.h"
#include "step.h"

namespace {

struct Family {
    const char* name;
    Work* work;
};

// Those that this processor can run, the best first.
std::vector<Family> families() {
    std::vector<Family> found;
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        found.push_back({"AVX-512", work_avx512});
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) found.push_back({"AVX2", work_avx2});
#endif
    found.push_back({"any processor", work_anywhere});
    return found;
}

const std::vector<Family> FAMILIES = families();

int64_t next_item(void* counter) { return (*static_cast<std::atomic<int64_t>*>(counter))++; }

}  // namespace

extern "C" {

// To compare with what Python believes them to be.
int64_t leap_problem_size() { return sizeof(Problem); }
int64_t leap_step_size() { return sizeof(Step); }

int64_t leap_stretches(int64_t keys) { return stretches_of(keys); }

// The families that this processor can run, the best first; null behind the last.
const char* leap_family(int number) { return number < (int)FAMILIES.size() ? FAMILIES[number].name : nullptr; }

void leap_prefix_attention(const Problem* problem, int doubles, int backward, int family) {
    std::atomic<int64_t> counter{0};
    auto work = [&] { FAMILIES[family].work(*problem, doubles, backward, next_item, &counter); };
    std::vector<std::thread> threads;
    for (int64_t n = 1; n < std::min(problem->threads, problem->batch * groups_of(*problem)); n++) threads.emplace_back(work);
    work();
    for (auto& thread : threads) thread.join();
}

void leap_step(const Step* step, int doubles) { doubles ? take_step<double>(*step) : take_step<float>(*step); }
}
