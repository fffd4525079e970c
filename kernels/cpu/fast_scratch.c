// How much scratch the fast operators need: the same for every instruction set.

#include <omp.h>
#include <pthread.h>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/fast.h"
#include "kernels/cpu/matmul.h"

enum { HEAD_CHUNK_MIN = 128, HEAD_CHUNK_BYTES = 64 << 20, SAMPLE_PIECE = 1024 };

static int slots;
static pthread_once_t slots_once = PTHREAD_ONCE_INIT;

static void count_slots(void)
{
    slots = omp_get_num_procs();
}

int cop_fast_slots(void)
{
    (void)pthread_once(&slots_once, count_slots);
    return slots > 0 ? slots : 1;
}

static int64_t chunk_of(int64_t token_bytes, int64_t tokens)
{
    int64_t chunk = HEAD_CHUNK_BYTES / (token_bytes > 0 ? token_bytes : 1);
    chunk = chunk < HEAD_CHUNK_MIN ? HEAD_CHUNK_MIN : chunk;
    return chunk < tokens ? chunk : tokens;
}

int64_t cop_fast_head_chunk(const cop_head_loss_args *args, bool has_teacher)
{
    return chunk_of(args->head.rows * (has_teacher ? 2 : 1) * (int64_t)sizeof(float),
                    args->hidden.rows);
}

int64_t cop_fast_sample_chunk(const cop_sample_targets_args *args)
{
    return chunk_of(args->head.rows * (int64_t)sizeof(float), args->hidden.rows);
}

int64_t cop_fast_head_wide(const cop_head_loss_args *args)
{
    const bool is_wide =
        args->d_head.cols > 0 && args->d_head.dtype == COP_BF16 && args->hidden.dtype == COP_F32;
    return is_wide ? chunk_of(args->d_head.cols * (int64_t)sizeof(float), args->head.rows) : 0;
}

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

// The products of one chunk: logits of both models, d_hidden, d_head.
static uint64_t head_matmul_bytes(const cop_head_loss_args *args, int64_t chunk)
{
    const int64_t vocab = args->head.rows;
    const cop_matrix logits = cop_matrix_dense(NULL, COP_F32, chunk, vocab);
    const cop_matrix d_logits = cop_matrix_dense(NULL, args->hidden.dtype, chunk, vocab);
    cop_matmul_args matmul = {.a = args->hidden, .b = args->head, .c = logits, .transpose_b = true};
    matmul.a.rows = chunk;
    uint64_t bytes = cop_matmul_scratch_bytes(&matmul);
    matmul.a = args->teacher_hidden;
    matmul.a.rows = chunk;
    matmul.b = args->teacher_head;
    bytes = max_u64(bytes, cop_matmul_scratch_bytes(&matmul));
    matmul = (cop_matmul_args){.a = d_logits, .b = args->head, .c = args->d_hidden};
    matmul.c.rows = chunk;
    bytes = max_u64(bytes, cop_matmul_scratch_bytes(&matmul));
    matmul =
        (cop_matmul_args){.a = d_logits, .b = args->hidden, .c = args->d_head, .transpose_a = true};
    matmul.b.rows = chunk;
    if (cop_fast_head_wide(args) > 0) {
        matmul.a.cols = cop_fast_head_wide(args);
        matmul.c = cop_matrix_dense(NULL, COP_F32, matmul.a.cols, args->d_head.cols);
    }
    return max_u64(bytes, cop_matmul_scratch_bytes(&matmul));
}

static uint64_t head_loss_bytes(const cop_head_loss_args *args)
{
    const bool has_teacher = args->teacher_hidden.cols > 0;
    const int64_t chunk = cop_fast_head_chunk(args, has_teacher);
    const uint64_t logits = cop_fast_f32_bytes(chunk, args->head.rows);
    return logits * (has_teacher ? 2 : 1) + cop_fast_f32_bytes(chunk, args->hidden.cols) +
           cop_fast_f32_bytes(cop_fast_head_wide(args), args->hidden.cols) +
           head_matmul_bytes(args, chunk);
}

static uint64_t sample_targets_bytes(const cop_sample_targets_args *args)
{
    const int64_t chunk = cop_fast_sample_chunk(args);
    const int64_t vocab = args->head.rows;
    cop_matmul_args matmul = {.a = args->hidden,
                              .b = args->head,
                              .c = cop_matrix_dense(NULL, COP_F32, chunk, vocab),
                              .transpose_b = true};
    matmul.a.rows = chunk;
    return cop_fast_f32_bytes(chunk, vocab) +
           cop_fast_f32_bytes(chunk, 2 * ((vocab + SAMPLE_PIECE - 1) / SAMPLE_PIECE)) +
           cop_matmul_scratch_bytes(&matmul);
}

uint64_t cop_fast_scratch_bytes(cop_op op, const void *args)
{
    switch (op) {
    case COP_OP_MATMUL: return cop_matmul_scratch_bytes(args);
    case COP_OP_NORM_BACKWARD: {
        const cop_norm_backward_args *norm = args;
        return cop_fast_f32_bytes(2 * cop_fast_blocks(norm->x.rows), norm->x.cols);
    }
    case COP_OP_ATTENTION_FORWARD: return cop_attention_forward_bytes(args);
    case COP_OP_ATTENTION_BACKWARD: return cop_attention_backward_bytes(args);
    case COP_OP_COLUMN_SUM: {
        const cop_column_sum_args *column_sum = args;
        return cop_fast_f32_bytes(cop_fast_blocks(column_sum->x.rows), column_sum->x.cols);
    }
    case COP_OP_HEAD_LOSS: return head_loss_bytes(args);
    case COP_OP_SUM_SQUARES:
    case COP_OP_ROW_COSINE: return COP_FAST_BLOCKS_MAX * sizeof(double);
    case COP_OP_SAMPLE_TARGETS: return sample_targets_bytes(args);
    case COP_OP_NORM_FORWARD:
    case COP_OP_ROPE:
    case COP_OP_ACTIVATION_FORWARD:
    case COP_OP_ACTIVATION_BACKWARD:
    case COP_OP_EMBEDDING_FORWARD:
    case COP_OP_EMBEDDING_BACKWARD:
    case COP_OP_BIAS_ADD:
    case COP_OP_ADD:
    case COP_OP_CONVERT:
    case COP_OP_GATHER:
    case COP_OP_STATE_LOSS:
    case COP_OP_ADAMW:
    case COP_OP_SEQUENCE_MOMENTS:
    case COP_OP_COUNT: break;
    }
    return 0;
}
