// What the CPU backends say about the machine beyond the operator table: for `doctor`, progress
// lines and benchmarks.

#ifndef COP_KERNELS_CPU_H
#define COP_KERNELS_CPU_H

#include <stdbool.h>

#include "base/dtype.h"
#include "base/status.h"

typedef struct cop_cpu_info {
    const char *matmul_f32;  // library and core type, e.g. "OpenBLAS 0.3.21 (Cooperlake)"
    const char *matmul_bf16; // e.g. "oneDNN 2.6.3 (avx512_core_bf16)", or why there is none
    bool has_fast_bf16;      // bf16 matmul in hardware
    const char *simd;        // instruction set of the own kernels: "avx512", "avx2", "baseline"
} cop_cpu_info;

cop_cpu_info cop_cpu_describe(void);

// Measures the matmul rate of this machine at 2048 x 1024 x 1024 (forward layout), best of
// several runs within about `seconds`, in FLOP/s. dtype is f32 or bf16 (bf16 in, f32 out).
COP_MUST_CHECK cop_status cop_cpu_matmul_peak(double *flops_per_second, cop_dtype dtype,
                                              double seconds, cop_error *err);

#endif
