// The operator table of the "cpu" backend.

#include <pthread.h>

#include "kernels/check.h"
#include "kernels/cpu/host.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/reference.h"

static bool supports(cop_backend *backend, cop_op op, const void *args)
{
    (void)backend;
    return cop_check_op(op, args, COP_CHECK_FAST, COP_CHECK_PLAN, NULL) == COP_OK;
}

static uint64_t fast_scratch_bytes(cop_op op, const void *args)
{
    return op == COP_OP_MATMUL ? cop_matmul_scratch_bytes(args)
                               : cop_reference_scratch_bytes(op, args);
}

static uint64_t scratch_bytes(cop_backend *backend, cop_op op, const void *args)
{
    (void)backend;
    return fast_scratch_bytes(op, args);
}

static cop_status check(cop_op op, const void *args, const void *scratch, cop_error *err)
{
    const cop_status status = cop_check_op(op, args, COP_CHECK_FAST, COP_CHECK_CALL, err);
    return status != COP_OK ? status
                            : cop_check_scratch(op, scratch, fast_scratch_bytes(op, args), err);
}

static cop_status matmul(cop_backend *backend, cop_stream *stream, const cop_matmul_args *args,
                         cop_error *err)
{
    (void)backend;
    (void)stream;
    const cop_status status = check(COP_OP_MATMUL, args, args->scratch, err);
    return status != COP_OK ? status : cop_matmul_run(args, err);
}

// One entry of the table: `scratch` is the argument's scratch or NULL for operators without.
#define PLAIN_OP(name, OP, scratch)                                       \
    static cop_status name(cop_backend *backend, cop_stream *stream,      \
                           const cop_##name##_args *args, cop_error *err) \
    {                                                                     \
        (void)backend;                                                    \
        (void)stream;                                                     \
        const cop_status status = check((OP), args, (scratch), err);      \
        if (status == COP_OK) {                                           \
            cop_reference_##name(args);                                   \
        }                                                                 \
        return status;                                                    \
    }

PLAIN_OP(norm_forward, COP_OP_NORM_FORWARD, NULL)
PLAIN_OP(norm_backward, COP_OP_NORM_BACKWARD, NULL)
PLAIN_OP(rope, COP_OP_ROPE, NULL)
PLAIN_OP(attention_forward, COP_OP_ATTENTION_FORWARD, args->scratch)
PLAIN_OP(attention_backward, COP_OP_ATTENTION_BACKWARD, args->scratch)
PLAIN_OP(activation_forward, COP_OP_ACTIVATION_FORWARD, NULL)
PLAIN_OP(activation_backward, COP_OP_ACTIVATION_BACKWARD, NULL)
PLAIN_OP(embedding_forward, COP_OP_EMBEDDING_FORWARD, NULL)
PLAIN_OP(embedding_backward, COP_OP_EMBEDDING_BACKWARD, NULL)
PLAIN_OP(bias_add, COP_OP_BIAS_ADD, NULL)
PLAIN_OP(column_sum, COP_OP_COLUMN_SUM, NULL)
PLAIN_OP(add, COP_OP_ADD, NULL)
PLAIN_OP(convert, COP_OP_CONVERT, NULL)
PLAIN_OP(gather, COP_OP_GATHER, NULL)
PLAIN_OP(head_loss, COP_OP_HEAD_LOSS, args->scratch)
PLAIN_OP(state_loss, COP_OP_STATE_LOSS, NULL)
PLAIN_OP(sum_squares, COP_OP_SUM_SQUARES, NULL)
PLAIN_OP(adamw, COP_OP_ADAMW, NULL)
PLAIN_OP(sequence_moments, COP_OP_SEQUENCE_MOMENTS, NULL)
PLAIN_OP(row_cosine, COP_OP_ROW_COSINE, NULL)

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
    };
    return &ops;
}
