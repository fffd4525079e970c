// Pieces of rows in f32, whatever the matrix holds: the loops of the fast operators see only f32
// arrays short enough for the first-level cache. Included by the files that are compiled once per
// instruction set.

#ifndef COP_KERNELS_CPU_FAST_ROW_H
#define COP_KERNELS_CPU_FAST_ROW_H

#if defined(__AVX512BF16__)
#    include <immintrin.h>
#endif

#include "base/dtype.h"
#include "kernels/cpu/fast.h"

// cop_fast_<name>_<COP_SIMD>: the build defines COP_SIMD.
#define COP_FAST_JOIN(a, b) a##_##b
#define COP_FAST_NAME(a, b) COP_FAST_JOIN(a, b)
#define COP_FAST(name)      COP_FAST_NAME(cop_fast_##name, COP_SIMD)

enum {
    COP_FAST_CHUNK = 1024,       // elements of a piece: 4 KiB in f32
    COP_FAST_PARALLEL_MIN = 8192 // elements; below, starting threads costs more than it gains
};

// Elements [c, c + n) of row r: the matrix itself when it is f32, else converted into `buffer`.
static inline const float *cop_row_load(cop_matrix m, int64_t r, int64_t c, int64_t n,
                                        float *buffer)
{
    const int64_t at = r * m.stride + c;
    if (m.dtype == COP_F32) {
        return (const float *)m.data + at;
    }
    const uint16_t *from = (const uint16_t *)m.data + at;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        buffer[i] = cop_bf16_to_f32(from[i]);
    }
    return buffer;
}

// Rounds n values to bf16.
static inline void cop_bf16_round(const float *values, uint16_t *to, int64_t n)
{
    int64_t i = 0;
#if defined(__AVX512BF16__)
    // One instruction for two registers; the portable form takes seven for one.
    for (; i + 32 <= n; i += 32) {
        const __m512bh pair =
            _mm512_cvtne2ps_pbh(_mm512_loadu_ps(values + i + 16), _mm512_loadu_ps(values + i));
        _mm512_storeu_si512(to + i, (__m512i)pair);
    }
#endif
#pragma omp simd
    for (int64_t j = i; j < n; j++) {
        to[j] = cop_bf16_from_f32(values[j]);
    }
}

// Where to write such a piece: the matrix itself, or `buffer`; then cop_row_store().
static inline float *cop_row_target(cop_matrix m, int64_t r, int64_t c, float *buffer)
{
    return m.dtype == COP_F32 ? (float *)m.data + (r * m.stride + c) : buffer;
}

static inline void cop_row_store(cop_matrix m, int64_t r, int64_t c, int64_t n, const float *values)
{
    const int64_t at = r * m.stride + c;
    if (m.dtype == COP_F32) {
        float *to = (float *)m.data + at;
        if (to != values) {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                to[i] = values[i];
            }
        }
        return;
    }
    cop_bf16_round(values, (uint16_t *)m.data + at, n);
}

static inline int64_t cop_fast_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline bool cop_fast_is_present(cop_matrix m)
{
    return m.data != NULL;
}

// A dense matrix as one long row, so that narrow matrices are handled in long pieces too.
static inline cop_matrix cop_fast_flat(cop_matrix m)
{
    m.cols *= m.rows;
    m.rows = m.cols > 0 ? 1 : 0;
    m.stride = m.cols;
    return m;
}

static inline bool cop_fast_is_dense(cop_matrix m)
{
    return m.data == NULL || m.stride == m.cols;
}

// Splits [rows, cols] into pieces of at most COP_FAST_CHUNK columns; piece u is in row
// u / per_row and starts at column u % per_row * COP_FAST_CHUNK.
typedef struct cop_pieces {
    int64_t count;
    int64_t per_row;
} cop_pieces;

static inline cop_pieces cop_pieces_of(cop_matrix m)
{
    const int64_t per_row = (m.cols + COP_FAST_CHUNK - 1) / COP_FAST_CHUNK;
    return (cop_pieces){.count = m.rows * per_row, .per_row = per_row};
}

// Names of all variants of the operators in the files that include this.
void COP_FAST(norm_forward)(const cop_norm_forward_args *args);
void COP_FAST(norm_backward)(const cop_norm_backward_args *args);
void COP_FAST(rope)(const cop_rope_args *args);
void COP_FAST(attention_forward)(const cop_attention_forward_args *args);
void COP_FAST(attention_backward)(const cop_attention_backward_args *args);
void COP_FAST(activation_forward)(const cop_activation_forward_args *args);
void COP_FAST(activation_backward)(const cop_activation_backward_args *args);
void COP_FAST(embedding_forward)(const cop_embedding_forward_args *args);
void COP_FAST(embedding_backward)(const cop_embedding_backward_args *args);
void COP_FAST(bias_add)(const cop_bias_add_args *args);
void COP_FAST(column_sum)(const cop_column_sum_args *args);
void COP_FAST(add)(const cop_add_args *args);
void COP_FAST(convert)(const cop_convert_args *args);
void COP_FAST(gather)(const cop_gather_args *args);
cop_status COP_FAST(head_loss)(const cop_head_loss_args *args, cop_error *err);
void COP_FAST(state_loss)(const cop_state_loss_args *args);
void COP_FAST(sum_squares)(const cop_sum_squares_args *args);
void COP_FAST(adamw)(const cop_adamw_args *args);
void COP_FAST(sequence_moments)(const cop_sequence_moments_args *args);
void COP_FAST(row_cosine)(const cop_row_cosine_args *args);
cop_status COP_FAST(sample_targets)(const cop_sample_targets_args *args, cop_error *err);

#endif
