// Launchers of the CUDA operators. Arguments have been checked (kernels/cuda/table.cu), scratch is
// there when asked for; they enqueue work on `stream` and return. Contracts: kernels/ops.h.

#ifndef COP_KERNELS_CUDA_OPS_H
#define COP_KERNELS_CUDA_OPS_H

#include "kernels/cuda/cuda.h"

#ifdef __cplusplus
extern "C" {
#endif

#define COP_CUDA_OP(name)                                                                          \
    cop_status cop_cuda_##name(cop_cuda *cuda, cudaStream_t stream, const cop_##name##_args *args, \
                               cop_error *err)

COP_CUDA_OP(matmul);
COP_CUDA_OP(norm_forward);
COP_CUDA_OP(norm_backward);
COP_CUDA_OP(rope);
COP_CUDA_OP(attention_forward);
COP_CUDA_OP(attention_backward);
COP_CUDA_OP(activation_forward);
COP_CUDA_OP(activation_backward);
COP_CUDA_OP(embedding_forward);
COP_CUDA_OP(embedding_backward);
COP_CUDA_OP(bias_add);
COP_CUDA_OP(column_sum);
COP_CUDA_OP(add);
COP_CUDA_OP(convert);
COP_CUDA_OP(gather);
COP_CUDA_OP(head_loss);
COP_CUDA_OP(state_loss);
COP_CUDA_OP(sum_squares);
COP_CUDA_OP(adamw);
COP_CUDA_OP(sequence_moments);
COP_CUDA_OP(row_cosine);
COP_CUDA_OP(sample_targets);

// Bytes of scratch of the operators that need some; the data pointers are not looked at.
uint64_t cop_cuda_matmul_scratch(const cop_cuda *cuda, const cop_matmul_args *args);
uint64_t cop_cuda_norm_backward_scratch(const cop_cuda *cuda, const cop_norm_backward_args *args);
uint64_t cop_cuda_attention_forward_scratch(const cop_cuda *cuda,
                                            const cop_attention_forward_args *args);
uint64_t cop_cuda_attention_backward_scratch(const cop_cuda *cuda,
                                             const cop_attention_backward_args *args);
uint64_t cop_cuda_embedding_backward_scratch(const cop_cuda *cuda,
                                             const cop_embedding_backward_args *args);
uint64_t cop_cuda_column_sum_scratch(const cop_cuda *cuda, const cop_column_sum_args *args);
uint64_t cop_cuda_head_loss_scratch(const cop_cuda *cuda, const cop_head_loss_args *args);
uint64_t cop_cuda_sum_squares_scratch(const cop_cuda *cuda, const cop_sum_squares_args *args);
uint64_t cop_cuda_row_cosine_scratch(const cop_cuda *cuda, const cop_row_cosine_args *args);
uint64_t cop_cuda_sample_targets_scratch(const cop_cuda *cuda, const cop_sample_targets_args *args);

// The product by an own kernel without tensor cores: the oracle of cuBLASLt on the device, and
// what runs where there is none.
COP_MUST_CHECK cop_status cop_cuda_matmul_plain(cop_cuda *cuda, cudaStream_t stream,
                                                const cop_matmul_args *args, cop_error *err);

// --- cuBLASLt: kernels/cuda/matmul_lt.cu, or on the host a stand-in (tests/cuda) ----------------

COP_MUST_CHECK cop_status cop_cuda_lt_create(cop_cuda_lt **out, cop_cuda *cuda, cop_error *err);
void cop_cuda_lt_destroy(cop_cuda_lt *lt);
// Bytes of scratch, and whether it takes this product (types, alignment); the plain kernel does else.
uint64_t cop_cuda_lt_scratch(const cop_cuda_lt *lt, const cop_matmul_args *args);
bool cop_cuda_lt_takes(const cop_cuda_lt *lt, const cop_matmul_args *args);
COP_MUST_CHECK cop_status cop_cuda_lt_matmul(cop_cuda_lt *lt, cudaStream_t stream,
                                             const cop_matmul_args *args, cop_error *err);

// --- cuDNN attention: kernels/cuda/attention_cudnn.cpp, or attention_cudnn_absent.cu ------------

// *out = NULL and COP_OK when there is none.
COP_MUST_CHECK cop_status cop_cuda_flash_create(cop_cuda_flash **out, cop_cuda *cuda,
                                                cop_error *err);
void cop_cuda_flash_destroy(cop_cuda_flash *flash);
bool cop_cuda_flash_takes_forward(cop_cuda_flash *flash, const cop_attention_forward_args *args);
bool cop_cuda_flash_takes_backward(cop_cuda_flash *flash, const cop_attention_backward_args *args);
uint64_t cop_cuda_flash_forward_scratch(cop_cuda_flash *flash,
                                        const cop_attention_forward_args *args);
uint64_t cop_cuda_flash_backward_scratch(cop_cuda_flash *flash,
                                         const cop_attention_backward_args *args);
COP_MUST_CHECK cop_status cop_cuda_flash_forward(cop_cuda_flash *flash, cudaStream_t stream,
                                                 const cop_attention_forward_args *args,
                                                 cop_error *err);
COP_MUST_CHECK cop_status cop_cuda_flash_backward(cop_cuda_flash *flash, cudaStream_t stream,
                                                  const cop_attention_backward_args *args,
                                                  cop_error *err);
// Version of cuDNN and its frontend, or why there is none.
const char *cop_cuda_flash_name(void);

// The whole table: checks, then the launchers above. Static storage.
const cop_ops *cop_cuda_ops(void);

// --- Memory, streams, copies, graphs: kernels/cuda/backend.cu -----------------------------------

// A backend on device `device`. COP_ERR_UNSUPPORTED: no such device, saying why.
COP_MUST_CHECK cop_status cop_cuda_backend_create(cop_backend **out, int device, cop_error *err);

#ifdef __cplusplus
}
#endif

#endif
