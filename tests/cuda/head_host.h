// Ways into the LM head of the host build that the operator table does not give.

#ifndef COP_TESTS_CUDA_HEAD_HOST_H
#define COP_TESTS_CUDA_HEAD_HOST_H

#include "kernels/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

// Tokens of a piece of logits and of a group of their gradients; 0: by memory, as on a device.
void cop_test_head_chunks(cop_backend *backend, int64_t piece, int64_t group);

// The row kernels of head_loss over logits that are there already, rows `stride` apart; `d_logits` is
// in bf16. As kernels/cuda/head.h, of all rows.
cop_status cop_test_head_rows(const cop_head_loss_args *args, const float *z, const float *u,
                              cop_matrix d_logits, int64_t stride, cop_error *err);
cop_status cop_test_sample_rows(const cop_sample_targets_args *args, const float *u, int64_t stride,
                                cop_error *err);

#ifdef __cplusplus
}
#endif

#endif
