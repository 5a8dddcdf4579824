// What Python calls, by ctypes: runs a problem on threads of its own, with the code that this processor knows.
#include <algorithm>
#include <atomic>
#include <exception>
#include <initializer_list>
#include <thread>
#include <vector>

#include "problem.h"

#ifndef LEAP_SOURCES  // by setup.py: the sha256 of all files of this folder
#define LEAP_SOURCES ""
#endif

namespace {

struct Family {
    const char* name;
    Attend* attend;
    Map* map;
    Take* take;
};

// Those that this processor can run, the best first.
std::vector<Family> families() {
    std::vector<Family> found;
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl"))
        found.push_back({"AVX-512", attend_avx512, map_avx512, take_avx512});
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        found.push_back({"AVX2", attend_avx2, map_avx2, take_avx2});
#endif
    found.push_back({"any processor", attend_anywhere, map_anywhere, take_anywhere});
    return found;
}

const std::vector<Family> FAMILIES = families();

int64_t next_item(void* counter) { return (*static_cast<std::atomic<int64_t>*>(counter))++; }

enum Status { DONE, REFUSED, NO_MEMORY };

// Products of sizes are those of tensors in memory; alone, a size may be that of one number, expanded.
constexpr int64_t MOST = int64_t(1) << 48;

bool any_null(std::initializer_list<const void*> pointers) {
    return std::find(pointers.begin(), pointers.end(), nullptr) != pointers.end();
}

bool goes_on(const int64_t* visible, int64_t queries, int64_t keys) {
    return visible[0] >= 0 && visible[queries - 1] <= keys && std::is_sorted(visible, visible + queries);
}

// Whether no number outside of the tensors handed over would be read or written, as far as can be seen from here.
bool can_be(const Problem& p, bool backward) {
    for (int64_t size : {p.batch, p.heads, p.queries, p.key_dim, p.value_dim, p.threads, p.keys + 1})
        if (size < 1 || size > MOST) return false;
    if (p.key_dim > LARGEST_HEAD || p.value_dim > LARGEST_HEAD) return false;
    if (any_null({p.visible, p.q, p.out, p.denominator}) || (p.keys && any_null({p.k, p.v}))) return false;
    if (p.reweighted && (any_null({p.q_cos, p.q_sin}) || (p.keys && any_null({p.k_cos, p.k_sin})))) return false;
    if (p.clock && (!p.half_life || (backward && !p.dclock))) return false;
    if (p.contrast && (p.reweighted || p.initial || !(backward ? p.dcontrast : p.contrasted) || (p.keys && !p.mass)))
        return false;
    if (backward) {
        if (any_null({p.out_gradient, p.dq}) || (p.keys && any_null({p.states, p.dk, p.dv}))) return false;
        if (p.reweighted && (any_null({p.dq_cos, p.dq_sin}) || (p.keys && any_null({p.dk_cos, p.dk_sin})))) return false;
    }
    return goes_on(p.visible, p.queries, p.keys);
}

bool can_be(const Step& p) {
    for (int64_t size : {p.batch, p.heads, p.queries, p.keys, p.value_dim + 1, p.key_dim})
        if (size < 0 || size > MOST) return false;
    if (p.key_dim > LARGEST_HEAD || p.value_dim > LARGEST_HEAD) return false;
    if (!p.batch || !p.heads) return true;
    if ((p.key_dim && !p.before) || (p.half_life && !p.keys) || (p.clock && !p.half_life)) return false;
    if (p.queries && ((p.key_dim && !p.q) || (p.value_dim && !p.out) || (p.reweighted && !p.query_proportion))) return false;
    return !p.keys || !((p.key_dim && any_null({p.k, p.after})) || (p.value_dim && !p.v) || (p.reweighted && !p.key_proportion));
}

bool can_be(const Features& p, bool backward) {
    for (int64_t size : {p.tokens, p.heads, p.key_dim, p.chunks, p.threads})
        if (size < 1 || size > MOST) return false;
    if (p.key_dim > LARGEST_HEAD || any_null({p.x, p.scale, p.features})) return false;
    return !backward || !any_null({p.features_gradient, p.x_gradient, p.scale_gradients});
}

// All items, by threads that each call `work(counter)`.
template <class Work>
int deal_out(int64_t items, int64_t most_threads, Work work) {
    std::atomic<int64_t> counter{0};
    std::vector<std::thread> threads;
    try {
        for (int64_t n = 1; n < std::min(most_threads, items); n++) threads.emplace_back(work, &counter);
    } catch (const std::exception&) {
        // Those that could be started do all of it.
    }
    work(&counter);
    for (auto& thread : threads) thread.join();
    // A thread that finds no memory takes no item.
    return counter < items ? NO_MEMORY : DONE;
}

bool known(int family) { return family >= 0 && family < (int)FAMILIES.size(); }

}  // namespace

extern "C" {

// To compare with what Python believes them to be.
int64_t leap_problem_size() { return sizeof(Problem); }
int64_t leap_step_size() { return sizeof(Step); }
int64_t leap_map_size() { return sizeof(Features); }
const char* leap_sources() { return LEAP_SOURCES; }

int64_t leap_stretches(int64_t keys) { return stretches_of(keys); }

// The families that this processor can run, the best first; null behind the last.
const char* leap_family(int number) { return number < (int)FAMILIES.size() ? FAMILIES[number].name : nullptr; }

// Each returns a Status; unless it is DONE, the results are not to be used.

int leap_attend(const Problem* problem, int doubles, int backward, int family) {
    if (!known(family) || !can_be(*problem, backward)) return REFUSED;
    return deal_out(problem->batch * groups_of(*problem), problem->threads, [&](void* counter) {
        FAMILIES[family].attend(*problem, doubles, backward, next_item, counter);
    });
}

int leap_map(const Features* problem, int doubles, int backward, int family) {
    if (!known(family) || !can_be(*problem, backward)) return REFUSED;
    return deal_out(problem->chunks, problem->threads, [&](void* counter) {
        FAMILIES[family].map(*problem, doubles, backward, next_item, counter);
    });
}

int leap_step(const Step* step, int doubles, int family) {
    if (!known(family) || !can_be(*step)) return REFUSED;
    return FAMILIES[family].take(*step, doubles) ? DONE : NO_MEMORY;
}
}
