// The reference operators: slow, obvious, computing in f64 whatever the matrices hold. They are
// the oracle of every faster backend, so nothing here is optimized, and they are compiled without
// contraction of floating-point expressions. Arguments have been checked by the caller.

#ifndef COP_KERNELS_CPU_REFERENCE_H
#define COP_KERNELS_CPU_REFERENCE_H

#include "base/dtype.h"
#include "kernels/ops.h"

static inline double cop_get(cop_matrix m, int64_t r, int64_t c)
{
    const int64_t at = r * m.stride + c;
    switch (m.dtype) {
    case COP_F64: return ((const double *)m.data)[at];
    case COP_F32: return (double)((const float *)m.data)[at];
    case COP_BF16: return (double)cop_bf16_to_f32(((const uint16_t *)m.data)[at]);
    case COP_F16:
    case COP_I32:
    case COP_I64:
    case COP_U8: break;
    }
    return 0.0;
}

static inline void cop_put(cop_matrix m, int64_t r, int64_t c, double value)
{
    const int64_t at = r * m.stride + c;
    switch (m.dtype) {
    case COP_F64: ((double *)m.data)[at] = value; break;
    case COP_F32: ((float *)m.data)[at] = (float)value; break;
    case COP_BF16: ((uint16_t *)m.data)[at] = cop_bf16_from_f32((float)value); break;
    case COP_F16:
    case COP_I32:
    case COP_I64:
    case COP_U8: break;
    }
}

static inline bool cop_has(cop_matrix m)
{
    return m.data != NULL;
}

void cop_reference_matmul(const cop_matmul_args *args);
void cop_reference_norm_forward(const cop_norm_forward_args *args);
void cop_reference_norm_backward(const cop_norm_backward_args *args);
void cop_reference_rope(const cop_rope_args *args);
void cop_reference_attention_forward(const cop_attention_forward_args *args);
void cop_reference_attention_backward(const cop_attention_backward_args *args);
void cop_reference_activation_forward(const cop_activation_forward_args *args);
void cop_reference_activation_backward(const cop_activation_backward_args *args);
void cop_reference_embedding_forward(const cop_embedding_forward_args *args);
void cop_reference_embedding_backward(const cop_embedding_backward_args *args);
void cop_reference_bias_add(const cop_bias_add_args *args);
void cop_reference_column_sum(const cop_column_sum_args *args);
void cop_reference_add(const cop_add_args *args);
void cop_reference_convert(const cop_convert_args *args);
void cop_reference_gather(const cop_gather_args *args);
void cop_reference_head_loss(const cop_head_loss_args *args);
void cop_reference_state_loss(const cop_state_loss_args *args);
void cop_reference_sum_squares(const cop_sum_squares_args *args);
void cop_reference_adamw(const cop_adamw_args *args);
void cop_reference_sequence_moments(const cop_sequence_moments_args *args);
void cop_reference_row_cosine(const cop_row_cosine_args *args);
void cop_reference_sample_targets(const cop_sample_targets_args *args);

// Bytes of scratch that the reference of an operator needs.
uint64_t cop_reference_scratch_bytes(cop_op op, const void *args);

#endif
