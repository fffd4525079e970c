// What the CPU backends say about the machine beyond the operator table: for `doctor`, progress
// lines and benchmarks.

#ifndef COP_KERNELS_CPU_H
#define COP_KERNELS_CPU_H

#include <stdbool.h>

typedef struct cop_cpu_info {
    const char *matmul_f32;  // library and core type, e.g. "OpenBLAS 0.3.21 (Cooperlake)"
    const char *matmul_bf16; // e.g. "oneDNN 2.6.3 (avx512_core_bf16)", or why there is none
    bool has_fast_bf16;      // bf16 matmul in hardware
    const char *simd;        // instruction set of the own kernels: "avx512", "avx2", "baseline"
} cop_cpu_info;

cop_cpu_info cop_cpu_describe(void);

#endif
