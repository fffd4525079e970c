// The fast operators, compiled once per instruction set: every variant is one table of functions
// with its own names (COP_FAST adds the suffix), chosen at run time by kernels/cpu/simd.h.
// Arguments have been checked. The layout of scratch is common to all variants.

#ifndef COP_KERNELS_CPU_FAST_H
#define COP_KERNELS_CPU_FAST_H

#include "kernels/ops.h"

typedef struct cop_fast_table {
    void (*norm_forward)(const cop_norm_forward_args *args);
    void (*norm_backward)(const cop_norm_backward_args *args);
    void (*rope)(const cop_rope_args *args);
    void (*attention_forward)(const cop_attention_forward_args *args);
    void (*attention_backward)(const cop_attention_backward_args *args);
    void (*activation_forward)(const cop_activation_forward_args *args);
    void (*activation_backward)(const cop_activation_backward_args *args);
    void (*embedding_forward)(const cop_embedding_forward_args *args);
    void (*embedding_backward)(const cop_embedding_backward_args *args);
    void (*bias_add)(const cop_bias_add_args *args);
    void (*column_sum)(const cop_column_sum_args *args);
    void (*add)(const cop_add_args *args);
    void (*convert)(const cop_convert_args *args);
    void (*gather)(const cop_gather_args *args);
    cop_status (*head_loss)(const cop_head_loss_args *args, cop_error *err);
    void (*state_loss)(const cop_state_loss_args *args);
    void (*sum_squares)(const cop_sum_squares_args *args);
    void (*adamw)(const cop_adamw_args *args);
    void (*sequence_moments)(const cop_sequence_moments_args *args);
    void (*row_cosine)(const cop_row_cosine_args *args);
    cop_status (*sample_targets)(const cop_sample_targets_args *args, cop_error *err);
} cop_fast_table;

const cop_fast_table *cop_fast_table_baseline(void);
#if defined(__x86_64__)
const cop_fast_table *cop_fast_table_avx2(void);
const cop_fast_table *cop_fast_table_avx512(void);
const cop_fast_table *cop_fast_table_avx512_bf16(void);
#endif

// Bytes of scratch of an operator; the data pointers are not looked at.
uint64_t cop_fast_scratch_bytes(cop_op op, const void *args);

// How many threads may work on an operator that has one scratch area per thread: the number of
// processors when first asked, so that scratch_bytes() and the call agree.
int cop_fast_slots(void);

// Rows of one block of a reduction over rows, and how many blocks there are: by the size alone, so
// that sums do not depend on the number of threads.
enum { COP_FAST_BLOCKS_MAX = 32, COP_FAST_BLOCK_ROWS_MIN = 32 };

static inline int64_t cop_fast_block_rows(int64_t rows)
{
    const int64_t even = (rows + COP_FAST_BLOCKS_MAX - 1) / COP_FAST_BLOCKS_MAX;
    return even < COP_FAST_BLOCK_ROWS_MIN ? COP_FAST_BLOCK_ROWS_MIN : even;
}

static inline int64_t cop_fast_blocks(int64_t rows)
{
    const int64_t block = cop_fast_block_rows(rows);
    return (rows + block - 1) / block;
}

// Tokens that the LM head handles at a time: as many as fit their logits into 64 MiB, at least 128.
int64_t cop_fast_head_chunk(const cop_head_loss_args *args, bool has_teacher);
int64_t cop_fast_sample_chunk(const cop_sample_targets_args *args);
// Rows of the head's gradient that are computed in f32 and then rounded, when it is bf16 and a product
// of f32 operands cannot write it; 0: it is written at once.
int64_t cop_fast_head_wide(const cop_head_loss_args *args);

static inline uint64_t cop_fast_round(uint64_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

// Bytes of f32 [rows, cols], rounded up to whole cache lines.
static inline uint64_t cop_fast_f32_bytes(int64_t rows, int64_t cols)
{
    return cop_fast_round((uint64_t)rows * (uint64_t)cols * sizeof(float));
}

#endif
