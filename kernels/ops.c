#include "kernels/ops.h"

#include "base/dtype.h"
#include "kernels/check.h"

cop_matrix cop_matrix_dense(void *data, cop_dtype dtype, int64_t rows, int64_t cols)
{
    return (cop_matrix){.data = data, .dtype = dtype, .rows = rows, .cols = cols, .stride = cols};
}

cop_matrix cop_matrix_part(cop_matrix whole, int64_t row, int64_t rows, int64_t col, int64_t cols)
{
    cop_matrix part = whole;
    if (whole.data != NULL) {
        const int64_t offset = row * whole.stride + col;
        part.data = (char *)whole.data + offset * (int64_t)cop_dtype_bytes(whole.dtype);
    }
    part.rows = rows;
    part.cols = cols;
    return part;
}

const char *cop_op_name(cop_op op)
{
    static const char *const names[COP_OP_COUNT] = {
        [COP_OP_MATMUL] = "matmul",
        [COP_OP_NORM_FORWARD] = "norm_forward",
        [COP_OP_NORM_BACKWARD] = "norm_backward",
        [COP_OP_ROPE] = "rope",
        [COP_OP_ATTENTION_FORWARD] = "attention_forward",
        [COP_OP_ATTENTION_BACKWARD] = "attention_backward",
        [COP_OP_ACTIVATION_FORWARD] = "activation_forward",
        [COP_OP_ACTIVATION_BACKWARD] = "activation_backward",
        [COP_OP_EMBEDDING_FORWARD] = "embedding_forward",
        [COP_OP_EMBEDDING_BACKWARD] = "embedding_backward",
        [COP_OP_BIAS_ADD] = "bias_add",
        [COP_OP_COLUMN_SUM] = "column_sum",
        [COP_OP_ADD] = "add",
        [COP_OP_CONVERT] = "convert",
        [COP_OP_GATHER] = "gather",
        [COP_OP_HEAD_LOSS] = "head_loss",
        [COP_OP_STATE_LOSS] = "state_loss",
        [COP_OP_SUM_SQUARES] = "sum_squares",
        [COP_OP_ADAMW] = "adamw",
        [COP_OP_SEQUENCE_MOMENTS] = "sequence_moments",
        [COP_OP_ROW_COSINE] = "row_cosine",
        [COP_OP_SAMPLE_TARGETS] = "sample_targets",
    };
    return op >= 0 && op < COP_OP_COUNT ? names[op] : "unknown operator";
}
