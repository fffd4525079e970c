#include "kernels/cpu/simd.h"

#include <assert.h>
#include <stdatomic.h>

enum { UNDECIDED = -1 };

static atomic_int chosen = UNDECIDED;

cop_simd cop_simd_best(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("fma")) {
        return __builtin_cpu_supports("avx512bf16") ? COP_SIMD_AVX512_BF16 : COP_SIMD_AVX512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return COP_SIMD_AVX2;
    }
#endif
    return COP_SIMD_BASELINE;
}

cop_simd cop_simd_used(void)
{
    const int simd = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (simd != UNDECIDED) {
        return (cop_simd)simd;
    }
    const cop_simd best = cop_simd_best();
    atomic_store_explicit(&chosen, (int)best, memory_order_relaxed);
    return best;
}

const char *cop_simd_name(void)
{
    static const char *const names[COP_SIMD_COUNT] = {"baseline", "avx2", "avx512", "avx512_bf16"};
    return names[cop_simd_used()];
}

void cop_simd_use(cop_simd simd)
{
    assert(simd <= cop_simd_best());
    atomic_store_explicit(&chosen, (int)simd, memory_order_relaxed);
}
