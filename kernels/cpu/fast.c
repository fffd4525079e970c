// The operator table of the "cpu" backend: checks, then the variant for this CPU.

#include "kernels/cpu/fast.h"

#include "kernels/check.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/host.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/reference.h"
#include "kernels/cpu/simd.h"

static const cop_fast_table *table(void)
{
    switch (cop_simd_used()) {
#if defined(__x86_64__)
    case COP_SIMD_AVX512_BF16: return cop_fast_table_avx512_bf16();
    case COP_SIMD_AVX512: return cop_fast_table_avx512();
    case COP_SIMD_AVX2: return cop_fast_table_avx2();
#else
    case COP_SIMD_AVX512_BF16:
    case COP_SIMD_AVX512:
    case COP_SIMD_AVX2:
#endif
    case COP_SIMD_BASELINE:
    case COP_SIMD_COUNT: break;
    }
    return cop_fast_table_baseline();
}

static bool supports(cop_backend *backend, cop_op op, const void *args)
{
    (void)backend;
    return cop_check_op(op, args, COP_CHECK_FAST, COP_CHECK_PLAN, NULL) == COP_OK;
}

static uint64_t scratch_bytes(cop_backend *backend, cop_op op, const void *args)
{
    (void)backend;
    return cop_fast_scratch_bytes(op, args);
}

static cop_status check(cop_op op, const void *args, const void *scratch, cop_error *err)
{
    const cop_status status = cop_check_op(op, args, COP_CHECK_FAST, COP_CHECK_CALL, err);
    return status != COP_OK ? status
                            : cop_check_scratch(op, scratch, cop_fast_scratch_bytes(op, args), err);
}

// One entry of the table: `scratch` is the argument's scratch or NULL for operators without, and
// `run` what is done with checked arguments.
#define FAST_OP(name, OP, scratch, run)                                   \
    static cop_status name(cop_backend *backend, cop_stream *stream,      \
                           const cop_##name##_args *args, cop_error *err) \
    {                                                                     \
        (void)backend;                                                    \
        (void)stream;                                                     \
        cop_status status = check((OP), args, (scratch), err);            \
        if (status == COP_OK) {                                           \
            run;                                                          \
        }                                                                 \
        return status;                                                    \
    }
#define PLAIN_OP(name, OP)   FAST_OP(name, OP, NULL, table()->name(args))
#define SCRATCH_OP(name, OP) FAST_OP(name, OP, args->scratch, table()->name(args))

static bool has_bf16(void)
{
    return cop_simd_used() == COP_SIMD_AVX512_BF16;
}

static void run_attention_forward(const cop_attention_forward_args *args)
{
    if (has_bf16() && cop_attention_bf16_takes_forward(args)) {
        cop_attention_bf16_forward(args);
    } else {
        table()->attention_forward(args);
    }
}

static void run_attention_backward(const cop_attention_backward_args *args)
{
    if (has_bf16() && cop_attention_bf16_takes_backward(args)) {
        cop_attention_bf16_backward(args);
    } else {
        table()->attention_backward(args);
    }
}

FAST_OP(matmul, COP_OP_MATMUL, args->scratch, status = cop_matmul_run(args, err))
PLAIN_OP(norm_forward, COP_OP_NORM_FORWARD)
SCRATCH_OP(norm_backward, COP_OP_NORM_BACKWARD)
PLAIN_OP(rope, COP_OP_ROPE)
FAST_OP(attention_forward, COP_OP_ATTENTION_FORWARD, args->scratch, run_attention_forward(args))
FAST_OP(attention_backward, COP_OP_ATTENTION_BACKWARD, args->scratch, run_attention_backward(args))
PLAIN_OP(activation_forward, COP_OP_ACTIVATION_FORWARD)
PLAIN_OP(activation_backward, COP_OP_ACTIVATION_BACKWARD)
PLAIN_OP(embedding_forward, COP_OP_EMBEDDING_FORWARD)
PLAIN_OP(embedding_backward, COP_OP_EMBEDDING_BACKWARD)
PLAIN_OP(bias_add, COP_OP_BIAS_ADD)
SCRATCH_OP(column_sum, COP_OP_COLUMN_SUM)
PLAIN_OP(add, COP_OP_ADD)
PLAIN_OP(convert, COP_OP_CONVERT)
PLAIN_OP(gather, COP_OP_GATHER)
FAST_OP(head_loss, COP_OP_HEAD_LOSS, args->scratch, status = table()->head_loss(args, err))
PLAIN_OP(state_loss, COP_OP_STATE_LOSS)
SCRATCH_OP(sum_squares, COP_OP_SUM_SQUARES)
PLAIN_OP(adamw, COP_OP_ADAMW)
PLAIN_OP(sequence_moments, COP_OP_SEQUENCE_MOMENTS)
SCRATCH_OP(row_cosine, COP_OP_ROW_COSINE)
FAST_OP(sample_targets, COP_OP_SAMPLE_TARGETS, args->scratch, cop_reference_sample_targets(args))

const cop_ops *cop_fast_ops(void)
{
    static const cop_ops ops = {
        .supports = supports,
        .scratch_bytes = scratch_bytes,
        .matmul = matmul,
        .norm_forward = norm_forward,
        .norm_backward = norm_backward,
        .rope = rope,
        .attention_forward = attention_forward,
        .attention_backward = attention_backward,
        .activation_forward = activation_forward,
        .activation_backward = activation_backward,
        .embedding_forward = embedding_forward,
        .embedding_backward = embedding_backward,
        .bias_add = bias_add,
        .column_sum = column_sum,
        .add = add,
        .convert = convert,
        .gather = gather,
        .head_loss = head_loss,
        .state_loss = state_loss,
        .sum_squares = sum_squares,
        .adamw = adamw,
        .sequence_moments = sequence_moments,
        .row_cosine = row_cosine,
        .sample_targets = sample_targets,
    };
    return &ops;
}
