// The operator table of the "cuda" backend: checks, then the launchers.

#include "kernels/check.h"
#include "kernels/cuda/ops.h"

static uint64_t scratch_of(const cop_cuda *cuda, cop_op op, const void *args)
{
    switch (op) {
    case COP_OP_MATMUL:
        return cop_cuda_matmul_scratch(cuda, static_cast<const cop_matmul_args *>(args));
    case COP_OP_NORM_BACKWARD:
        return cop_cuda_norm_backward_scratch(cuda,
                                              static_cast<const cop_norm_backward_args *>(args));
    case COP_OP_ATTENTION_FORWARD:
        return cop_cuda_attention_forward_scratch(
            cuda, static_cast<const cop_attention_forward_args *>(args));
    case COP_OP_ATTENTION_BACKWARD:
        return cop_cuda_attention_backward_scratch(
            cuda, static_cast<const cop_attention_backward_args *>(args));
    case COP_OP_EMBEDDING_BACKWARD:
        return cop_cuda_embedding_backward_scratch(
            cuda, static_cast<const cop_embedding_backward_args *>(args));
    case COP_OP_COLUMN_SUM:
        return cop_cuda_column_sum_scratch(cuda, static_cast<const cop_column_sum_args *>(args));
    case COP_OP_HEAD_LOSS:
        return cop_cuda_head_loss_scratch(cuda, static_cast<const cop_head_loss_args *>(args));
    case COP_OP_SUM_SQUARES:
        return cop_cuda_sum_squares_scratch(cuda, static_cast<const cop_sum_squares_args *>(args));
    case COP_OP_ROW_COSINE:
        return cop_cuda_row_cosine_scratch(cuda, static_cast<const cop_row_cosine_args *>(args));
    case COP_OP_SAMPLE_TARGETS:
        return cop_cuda_sample_targets_scratch(cuda,
                                               static_cast<const cop_sample_targets_args *>(args));
    case COP_OP_NORM_FORWARD:
    case COP_OP_ROPE:
    case COP_OP_ACTIVATION_FORWARD:
    case COP_OP_ACTIVATION_BACKWARD:
    case COP_OP_EMBEDDING_FORWARD:
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

static bool supports(cop_backend *backend, cop_op op, const void *args)
{
    (void)backend;
    return cop_check_op(op, args, COP_CHECK_DEVICE, COP_CHECK_PLAN, NULL) == COP_OK;
}

static uint64_t scratch_bytes(cop_backend *backend, cop_op op, const void *args)
{
    return scratch_of(static_cast<const cop_cuda *>(backend->context), op, args);
}

static cop_status check(const cop_cuda *cuda, cop_op op, const void *args, const void *scratch,
                        cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_check_op(op, args, COP_CHECK_DEVICE, COP_CHECK_CALL, err));
    COP_TRY(status, cop_check_scratch(op, scratch, scratch_of(cuda, op, args), err));
    status = cop_cuda_enter(cuda, err);

done:
    return status;
}

// One entry of the table: `scratch` is the argument's scratch or NULL for operators without.
#define DEVICE_OP(name, OP, scratch)                                                  \
    static cop_status name(cop_backend *backend, cop_stream *stream,                  \
                           const cop_##name##_args *args, cop_error *err)             \
    {                                                                                 \
        cop_cuda *cuda = static_cast<cop_cuda *>(backend->context);                   \
        cop_status status = check(cuda, (OP), args, (scratch), err);                  \
        if (status == COP_OK) {                                                       \
            status = cop_cuda_##name(cuda, cop_cuda_stream(cuda, stream), args, err); \
        }                                                                             \
        return cop_cuda_note(cuda, status);                                           \
    }

DEVICE_OP(matmul, COP_OP_MATMUL, args->scratch)
DEVICE_OP(norm_forward, COP_OP_NORM_FORWARD, NULL)
DEVICE_OP(norm_backward, COP_OP_NORM_BACKWARD, args->scratch)
DEVICE_OP(rope, COP_OP_ROPE, NULL)
DEVICE_OP(attention_forward, COP_OP_ATTENTION_FORWARD, args->scratch)
DEVICE_OP(attention_backward, COP_OP_ATTENTION_BACKWARD, args->scratch)
DEVICE_OP(activation_forward, COP_OP_ACTIVATION_FORWARD, NULL)
DEVICE_OP(activation_backward, COP_OP_ACTIVATION_BACKWARD, NULL)
DEVICE_OP(embedding_forward, COP_OP_EMBEDDING_FORWARD, NULL)
DEVICE_OP(embedding_backward, COP_OP_EMBEDDING_BACKWARD, args->scratch)
DEVICE_OP(bias_add, COP_OP_BIAS_ADD, NULL)
DEVICE_OP(column_sum, COP_OP_COLUMN_SUM, args->scratch)
DEVICE_OP(add, COP_OP_ADD, NULL)
DEVICE_OP(convert, COP_OP_CONVERT, NULL)
DEVICE_OP(gather, COP_OP_GATHER, NULL)
DEVICE_OP(head_loss, COP_OP_HEAD_LOSS, args->scratch)
DEVICE_OP(state_loss, COP_OP_STATE_LOSS, NULL)
DEVICE_OP(sum_squares, COP_OP_SUM_SQUARES, args->scratch)
DEVICE_OP(adamw, COP_OP_ADAMW, NULL)
DEVICE_OP(sequence_moments, COP_OP_SEQUENCE_MOMENTS, NULL)
DEVICE_OP(row_cosine, COP_OP_ROW_COSINE, args->scratch)
DEVICE_OP(sample_targets, COP_OP_SAMPLE_TARGETS, args->scratch)

const cop_ops *cop_cuda_ops(void)
{
    // In the order of the struct: C++17 has no designated initializers.
    static const cop_ops ops = {
        supports,
        scratch_bytes,
        matmul,
        norm_forward,
        norm_backward,
        rope,
        attention_forward,
        attention_backward,
        activation_forward,
        activation_backward,
        embedding_forward,
        embedding_backward,
        bias_add,
        column_sum,
        add,
        convert,
        gather,
        head_loss,
        state_loss,
        sum_squares,
        adamw,
        sequence_moments,
        row_cosine,
        sample_targets,
    };
    return &ops;
}
