// The operator table of the "reference" backend: checks, then the plain functions.

#include "kernels/cpu/reference.h"

#include "kernels/check.h"
#include "kernels/cpu/host.h"

uint64_t cop_reference_scratch_bytes(cop_op op, const void *args)
{
    uint64_t doubles = 0;
    if (op == COP_OP_ATTENTION_FORWARD) {
        const cop_attention_forward_args *attention = args;
        doubles = (uint64_t)attention->sequence;
    } else if (op == COP_OP_ATTENTION_BACKWARD) {
        const cop_attention_backward_args *attention = args;
        doubles = (2 * (uint64_t)attention->sequence + 1) * (uint64_t)attention->head_dim;
    } else if (op == COP_OP_HEAD_LOSS) {
        const cop_head_loss_args *head_loss = args;
        doubles = 2 * (uint64_t)head_loss->head.rows;
    } else if (op == COP_OP_SAMPLE_TARGETS) {
        const cop_sample_targets_args *sample = args;
        doubles = (uint64_t)sample->head.rows;
    }
    return doubles * sizeof(double);
}

static bool supports(cop_backend *backend, cop_op op, const void *args)
{
    (void)backend;
    return cop_check_op(op, args, COP_CHECK_ANY, COP_CHECK_PLAN, NULL) == COP_OK;
}

static uint64_t scratch_bytes(cop_backend *backend, cop_op op, const void *args)
{
    (void)backend;
    return cop_reference_scratch_bytes(op, args);
}

static cop_status check(cop_op op, const void *args, const void *scratch, cop_error *err)
{
    const cop_status status = cop_check_op(op, args, COP_CHECK_ANY, COP_CHECK_CALL, err);
    return status != COP_OK
               ? status
               : cop_check_scratch(op, scratch, cop_reference_scratch_bytes(op, args), err);
}

// One entry of the table: `scratch` is the argument's scratch or NULL for operators without.
#define REFERENCE_OP(name, OP, scratch)                                   \
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

REFERENCE_OP(matmul, COP_OP_MATMUL, NULL)
REFERENCE_OP(norm_forward, COP_OP_NORM_FORWARD, NULL)
REFERENCE_OP(norm_backward, COP_OP_NORM_BACKWARD, NULL)
REFERENCE_OP(rope, COP_OP_ROPE, NULL)
REFERENCE_OP(attention_forward, COP_OP_ATTENTION_FORWARD, args->scratch)
REFERENCE_OP(attention_backward, COP_OP_ATTENTION_BACKWARD, args->scratch)
REFERENCE_OP(activation_forward, COP_OP_ACTIVATION_FORWARD, NULL)
REFERENCE_OP(activation_backward, COP_OP_ACTIVATION_BACKWARD, NULL)
REFERENCE_OP(embedding_forward, COP_OP_EMBEDDING_FORWARD, NULL)
REFERENCE_OP(embedding_backward, COP_OP_EMBEDDING_BACKWARD, NULL)
REFERENCE_OP(bias_add, COP_OP_BIAS_ADD, NULL)
REFERENCE_OP(column_sum, COP_OP_COLUMN_SUM, NULL)
REFERENCE_OP(add, COP_OP_ADD, NULL)
REFERENCE_OP(convert, COP_OP_CONVERT, NULL)
REFERENCE_OP(gather, COP_OP_GATHER, NULL)
REFERENCE_OP(head_loss, COP_OP_HEAD_LOSS, args->scratch)
REFERENCE_OP(state_loss, COP_OP_STATE_LOSS, NULL)
REFERENCE_OP(sum_squares, COP_OP_SUM_SQUARES, NULL)
REFERENCE_OP(adamw, COP_OP_ADAMW, NULL)
REFERENCE_OP(sequence_moments, COP_OP_SEQUENCE_MOMENTS, NULL)
REFERENCE_OP(row_cosine, COP_OP_ROW_COSINE, NULL)
REFERENCE_OP(sample_targets, COP_OP_SAMPLE_TARGETS, args->scratch)

const cop_ops *cop_reference_ops(void)
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
