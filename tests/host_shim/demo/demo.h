// Three operators that show the shim at work, and a kernel that is wrong on purpose. Plain C17: launchers are called the same way whatever compiled the kernels.

#ifndef COP_TESTS_HOST_SHIM_DEMO_DEMO_H
#define COP_TESTS_HOST_SHIM_DEMO_DEMO_H

#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cop_demo_type { COP_DEMO_F32, COP_DEMO_BF16 } cop_demo_type;

// Distillation loss and its gradient, row by row. With p = softmax(teacher / temperature) and
// q = softmax(student / temperature), over the V entries of row r:
//     loss[r]       = temperature^2 * sum_v p[v] * (log p[v] - log q[v])
//     d_student[r]  = d_loss * temperature * (q - p)
// the convention of Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network"
// (2015), in which the size of the gradient does not depend on the temperature.
//
// student  [rows, V]  dtype, device: logits, overwritten with d_student (rounded to dtype)
// teacher  [rows, V]  dtype, device: logits; not the same memory as student
// loss     [rows]     f32, device, written
//
// rows >= 1, V >= 1, any size; temperature > 0; finite logits. `stream` is a cudaStream_t.
// Agrees with exact arithmetic on the same logits to 2e-5 * (1 + |loss|), and in the gradient to
// 2e-6 * |d_loss| * temperature plus one rounding to dtype.
COP_MUST_CHECK cop_status cop_demo_distill_loss_cuda(float *loss, void *student,
                                                     const void *teacher, cop_demo_type dtype,
                                                     int64_t rows, int64_t vocabulary,
                                                     float temperature, float d_loss, void *stream,
                                                     cop_error *err);

// y[r, c] = x[r, c] / sqrt(mean of x[r]² + eps) * gain[c]
//
// y, x   [rows, cols]  f32, device; y may be x
// gain   [cols]        f32, device
//
// rows, cols >= 1. Agrees with exact arithmetic to 1e-5 of each element.
COP_MUST_CHECK cop_status cop_demo_rmsnorm_cuda(float *y, const float *x, const float *gain,
                                                int64_t rows, int64_t cols, float eps, void *stream,
                                                cop_error *err);

// c[m, n] = sum_k a[m, k] * b[k, n]
//
// c  [M, N]  f32, device, written; overlaps neither input
// a  [M, K]  f32, device
// b  [K, N]  f32, device
//
// M, N, K >= 1, any size; M <= 16 * 65535. Agrees with exact arithmetic to K * 6e-8 * sum_k |a b|.
COP_MUST_CHECK cop_status cop_demo_matmul_cuda(float *c, const float *a, const float *b, int64_t m,
                                               int64_t n, int64_t k, void *stream, cop_error *err);

// Faults for the tests of the shim. Each runs one block of 64 threads (40 for the partial warp).
typedef enum cop_planted {
    COP_PLANTED_NONE,                   // y[i] = sum of x[0..63] for all i, correctly
    COP_PLANTED_NO_BARRIER_AFTER_WRITE, // the same, without the barrier before shared is read
    COP_PLANTED_NO_BARRIER_AFTER_READ,  // rotates twice through one buffer that is rewritten early
    COP_PLANTED_EXIT_BEFORE_BARRIER,    // thread 40 returns, the others wait
    COP_PLANTED_TWO_BARRIERS,           // odd and even warps wait at different lines
    COP_PLANTED_GLOBAL_WRITE,           // writes y[64]
    COP_PLANTED_STATIC_SHARED_INDEX,    // indexes a static shared array past its end
    COP_PLANTED_STATIC_SHARED_WRITE,    // the same, through a pointer
    COP_PLANTED_DYNAMIC_SHARED_WRITE,   // writes past the dynamic shared memory
    COP_PLANTED_STATIC_SHARED_READ,     // copies static shared memory nobody wrote
    COP_PLANTED_DYNAMIC_SHARED_READ,    // the same, dynamic
    COP_PLANTED_LANES_ABSENT,           // shuffles with a full mask in a branch of half a warp
    COP_PLANTED_LANE_OUTSIDE_MASK,      // reads lane 16 with a mask of lanes 0..15
    COP_PLANTED_PARTIAL_WARP            // reads lanes that a block of 40 threads does not have
} cop_planted;

// Runs the kernel with that fault. x [64] and y [64] are f32, device.
COP_MUST_CHECK cop_status cop_demo_planted_cuda(float *y, const float *x, cop_planted fault,
                                                cop_error *err);

#ifdef __cplusplus
}
#endif

#endif
