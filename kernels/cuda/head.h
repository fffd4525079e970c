// What the files of the LM head share: sizes of the pieces that logits are computed in, and the
// kernels that go over rows of logits.
//
// Rows of logits are padded to a multiple of 32 elements, so that every row is aligned for 16-byte
// loads and for the products, whatever the vocabulary; what lies behind the last logit is never read.

#ifndef COP_KERNELS_CUDA_HEAD_H
#define COP_KERNELS_CUDA_HEAD_H

#include "kernels/cuda/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { COP_HEAD_ROW_ALIGNMENT = 32 };

static inline int64_t cop_head_stride(int64_t vocab)
{
    return (vocab + COP_HEAD_ROW_ALIGNMENT - 1) / COP_HEAD_ROW_ALIGNMENT * COP_HEAD_ROW_ALIGNMENT;
}

// How many of `tokens` have f32 logits at a time: what fits 384 MiB in steps of 128, at least 128.
// 384 tokens at a vocabulary of 256,000: a product is bound by arithmetic from about 184.
int64_t cop_cuda_head_piece(const cop_cuda *cuda, int64_t vocab, int64_t tokens);
// How many have their gradient of the logits kept for one product with the hidden states: what fits
// 2 GiB in steps of 128. 4096 tokens in bf16 at a vocabulary of 256,000.
int64_t cop_cuda_head_group(const cop_cuda *cuda, int64_t vocab, int64_t tokens, cop_dtype dtype);

// f32 logits [hidden.rows, V] of `hidden` in `out`, rows cop_head_stride(V) apart.
COP_MUST_CHECK cop_status cop_cuda_head_logits(cop_cuda *cuda, cudaStream_t stream, float *out,
                                               cop_matrix hidden, cop_matrix head, void *scratch,
                                               cop_error *err);
uint64_t cop_cuda_head_logits_scratch(const cop_cuda *cuda, cop_matrix hidden, cop_matrix head);

// Rows [first, first + rows) of a call of head_loss: statistics, losses and, with d_logits present,
// the gradient of the logits, which may take the place of z.
typedef struct cop_head_rows {
    const float *z;      // [rows, V]
    const float *u;      // [rows, V] of the teacher; NULL: none
    cop_matrix d_logits; // [rows, V] f32: z itself; bf16: elsewhere; absent
    int64_t stride;      // of z and u, a multiple of 4
    int64_t first;
    int64_t rows;
} cop_head_rows;

COP_MUST_CHECK cop_status cop_cuda_head_rows(cudaStream_t stream, const cop_head_loss_args *args,
                                             const cop_head_rows *rows, cop_error *err);

// y = x + beta * y, in bf16, for results that a product of f32 operands cannot write.
COP_MUST_CHECK cop_status cop_cuda_head_narrow(cudaStream_t stream, cop_matrix x, cop_matrix y,
                                               float beta, cop_error *err);

// Rows [first, first + rows) of a call of sample_targets, from logits u [rows, V].
COP_MUST_CHECK cop_status cop_cuda_sample_rows(cudaStream_t stream,
                                               const cop_sample_targets_args *args, const float *u,
                                               int64_t stride, int64_t first, int64_t rows,
                                               cop_error *err);

#ifdef __cplusplus
}
#endif

#endif
