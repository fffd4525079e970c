// Which instruction set the own kernels run with, decided once at run time.

#ifndef COP_KERNELS_CPU_SIMD_H
#define COP_KERNELS_CPU_SIMD_H

#include <stdbool.h>

typedef enum cop_simd {
    COP_SIMD_BASELINE = 0, // what every CPU of the architecture has
    COP_SIMD_AVX2,         // with FMA
    COP_SIMD_AVX512,       // F, BW, VL, DQ
    COP_SIMD_COUNT
} cop_simd;

// The best set that this CPU has and this build was compiled for.
cop_simd cop_simd_best(void);

// The set in use, "avx512", "avx2" or "baseline".
const char *cop_simd_name(void);
cop_simd cop_simd_used(void);

// Whether AVX-512 is in use and the CPU multiplies bf16 (AVX512_BF16).
bool cop_simd_has_bf16(void);

// Test hook: uses `simd` from now on; not above cop_simd_best(). Not thread-safe.
void cop_simd_use(cop_simd simd);

#endif
