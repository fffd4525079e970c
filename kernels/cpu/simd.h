// Which instruction set the own kernels run with, decided once at run time.

#ifndef COP_KERNELS_CPU_SIMD_H
#define COP_KERNELS_CPU_SIMD_H

typedef enum cop_simd {
    COP_SIMD_BASELINE = 0, // what every CPU of the architecture has
    COP_SIMD_AVX2,         // with FMA
    COP_SIMD_AVX512,       // F, BW, VL, DQ
    COP_SIMD_AVX512_BF16,  // and products and conversions of bf16
    COP_SIMD_COUNT
} cop_simd;

// The best set that this CPU has and this build was compiled for.
cop_simd cop_simd_best(void);

// The set in use, "baseline", "avx2", "avx512" or "avx512_bf16".
const char *cop_simd_name(void);
cop_simd cop_simd_used(void);

// Test hook: uses `simd` from now on; not above cop_simd_best(). Not thread-safe.
void cop_simd_use(cop_simd simd);

#endif
