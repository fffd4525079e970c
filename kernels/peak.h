// The rate of matrix products that a device reaches: what training is measured against.

#ifndef COP_KERNELS_PEAK_H
#define COP_KERNELS_PEAK_H

#include "kernels/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

// Measures the matmul rate of a backend in FLOP/s (forward layout), the best of several runs within
// about `seconds`: where the host's memory is the device's 2048 x 1024 x 1024, f32 out, fewer rows
// when one product would take more than a second ("reference"); elsewhere 8192 x 8192 x 8192,
// `dtype` out. dtype is f32 or bf16. The operands are not counted in memory_peak_bytes.
COP_MUST_CHECK cop_status cop_matmul_peak(cop_backend *backend, double *flops_per_second,
                                          cop_dtype dtype, double seconds, cop_error *err);

#ifdef __cplusplus
}
#endif

#endif
