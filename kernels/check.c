// One function per operator, in the order of the table: long, not deep.

#include "kernels/check.h"

#include <math.h>

#include "base/dtype.h"
#include "kernels/check_matrix.h"

static cop_status check_matmul(const cop_checker *check, const cop_matmul_args *args)
{
    cop_status status = COP_OK;
    const cop_matrix a = args->a;
    const cop_matrix b = args->b;
    const int64_t m = args->transpose_a ? a.cols : a.rows;
    const int64_t k = args->transpose_a ? a.rows : a.cols;
    const int64_t k_b = args->transpose_b ? b.cols : b.rows;
    const int64_t n = args->transpose_b ? b.rows : b.cols;
    if (k != k_b) {
        return COP_FAIL(check->err, COP_ERR_SHAPE,
                        "matmul: op(a) is [%lld, %lld], op(b) [%lld, %lld] (allowed: columns of "
                        "op(a) = rows of op(b))",
                        (long long)m, (long long)k, (long long)k_b, (long long)n);
    }
    COP_TRY(status, cop_check_matrix(check, "a", a, a.rows, a.cols, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "b", b, b.rows, b.cols, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "c", args->c, m, n, COP_CHECK_ACTIVATION));
    if (check->types != COP_CHECK_ANY) {
        if (a.dtype != b.dtype) {
            return COP_FAIL(check->err, COP_ERR_UNSUPPORTED,
                            "matmul: type of b is %s (allowed: %s, as a)", cop_dtype_name(b.dtype),
                            cop_dtype_name(a.dtype));
        }
        if (args->c.dtype != COP_F32 && args->c.dtype != a.dtype) {
            return COP_FAIL(check->err, COP_ERR_UNSUPPORTED,
                            "matmul: type of c is %s (allowed: f32, or %s as a)",
                            cop_dtype_name(args->c.dtype), cop_dtype_name(a.dtype));
        }
    }

done:
    return status;
}

static cop_status check_norm_forward(const cop_checker *check, const cop_norm_forward_args *args)
{
    cop_status status = COP_OK;
    const int64_t n = args->x.rows;
    const int64_t cols = args->x.cols;
    COP_TRY(status, cop_check_kind(check, (int)args->kind, COP_NORM_LAYER_1P + 1));
    COP_TRY(status, cop_check_matrix(check, "x", args->x, n, cols, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_i64(check, "columns of x", cols, 1));
    COP_TRY(status,
            cop_check_optional(check, "residual", args->residual, n, cols, COP_CHECK_ACTIVATION));
    if (cop_check_is_present(check, args->residual)) {
        COP_TRY(status, cop_check_matrix(check, "sum", args->sum, n, cols, COP_CHECK_ACTIVATION));
    } else {
        COP_TRY(status, cop_check_absent(check, "sum", args->sum, "without residual"));
    }
    COP_TRY(status, cop_check_matrix(check, "gain", args->gain, 1, cols, COP_CHECK_PARAMETER));
    if (args->kind == COP_NORM_RMS) {
        COP_TRY(status, cop_check_absent(check, "bias", args->bias, "for rms"));
    }
    COP_TRY(status, cop_check_optional(check, "bias", args->bias, 1, cols, COP_CHECK_PARAMETER));
    COP_TRY(status, cop_check_matrix(check, "y", args->y, n, cols, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_optional(check, "stats", args->stats, n, 2, COP_CHECK_PARAMETER));

done:
    return status;
}

static cop_status check_norm_backward(const cop_checker *check, const cop_norm_backward_args *args)
{
    cop_status status = COP_OK;
    const int64_t n = args->x.rows;
    const int64_t cols = args->x.cols;
    COP_TRY(status, cop_check_kind(check, (int)args->kind, COP_NORM_LAYER_1P + 1));
    COP_TRY(status, cop_check_matrix(check, "x", args->x, n, cols, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_i64(check, "columns of x", cols, 1));
    COP_TRY(status, cop_check_matrix(check, "d_y", args->d_y, n, cols, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "gain", args->gain, 1, cols, COP_CHECK_PARAMETER));
    COP_TRY(status, cop_check_matrix(check, "stats", args->stats, n, 2, COP_CHECK_PARAMETER));
    COP_TRY(status, cop_check_matrix(check, "d_x", args->d_x, n, cols, COP_CHECK_ACTIVATION));
    COP_TRY(status,
            cop_check_optional(check, "d_gain", args->d_gain, 1, cols, COP_CHECK_PARAMETER));
    COP_TRY(status,
            cop_check_optional(check, "d_bias", args->d_bias, 1, cols, COP_CHECK_PARAMETER));

done:
    return status;
}

static cop_status check_rope(const cop_checker *check, const cop_rope_args *args)
{
    cop_status status = COP_OK;
    const int64_t pairs = args->cos.cols;
    COP_TRY(status, cop_check_i64(check, "heads", args->heads, 1));
    COP_TRY(status, cop_check_i64(check, "head_dim", args->head_dim, 1));
    COP_TRY(status, cop_check_i64(check, "sequence", args->sequence, 1));
    COP_TRY(status, cop_check_matrix(check, "x", args->x, args->x.rows,
                                     args->heads * args->head_dim, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_multiple(check, "rows of x", args->x.rows, args->sequence));
    COP_TRY(status,
            cop_check_matrix(check, "cos", args->cos, args->cos.rows, pairs, COP_CHECK_PARAMETER));
    COP_TRY(status, cop_check_i64(check, "rows of cos", args->cos.rows, args->sequence));
    COP_TRY(status,
            cop_check_matrix(check, "sin", args->sin, args->sin.rows, pairs, COP_CHECK_PARAMETER));
    COP_TRY(status, cop_check_i64(check, "rows of sin", args->sin.rows, args->sequence));
    if (2 * pairs > args->head_dim) {
        return COP_FAIL(check->err, COP_ERR_SHAPE,
                        "rope: columns of cos are %lld (allowed: 0..%lld)", (long long)pairs,
                        (long long)args->head_dim / 2);
    }

done:
    return status;
}

static cop_status check_heads(const cop_checker *check, int64_t batch, int64_t sequence,
                              int64_t heads, int64_t kv_heads, int64_t head_dim)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_check_i64(check, "batch", batch, 0));
    COP_TRY(status, cop_check_i64(check, "sequence", sequence, batch == 0 ? 0 : 1));
    COP_TRY(status, cop_check_i64(check, "heads", heads, 1));
    COP_TRY(status, cop_check_i64(check, "kv_heads", kv_heads, 1));
    COP_TRY(status, cop_check_i64(check, "head_dim", head_dim, 1));
    COP_TRY(status, cop_check_multiple(check, "heads", heads, kv_heads));

done:
    return status;
}

static cop_status check_attention_forward(const cop_checker *check,
                                          const cop_attention_forward_args *args)
{
    cop_status status = COP_OK;
    const int64_t n = args->batch * args->sequence;
    const int64_t width = args->heads * args->head_dim;
    const int64_t kv_width = args->kv_heads * args->head_dim;
    COP_TRY(status, check_heads(check, args->batch, args->sequence, args->heads, args->kv_heads,
                                args->head_dim));
    COP_TRY(status, cop_check_matrix(check, "q", args->q, n, width, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "k", args->k, n, kv_width, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "v", args->v, n, kv_width, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "o", args->o, n, width, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_optional(check, "lse", args->lse, args->batch * args->heads,
                                       args->sequence, COP_CHECK_PARAMETER));

done:
    return status;
}

static cop_status check_attention_backward(const cop_checker *check,
                                           const cop_attention_backward_args *args)
{
    cop_status status = COP_OK;
    const int64_t n = args->batch * args->sequence;
    const int64_t width = args->heads * args->head_dim;
    const int64_t kv_width = args->kv_heads * args->head_dim;
    COP_TRY(status, check_heads(check, args->batch, args->sequence, args->heads, args->kv_heads,
                                args->head_dim));
    COP_TRY(status, cop_check_matrix(check, "q", args->q, n, width, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "k", args->k, n, kv_width, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "v", args->v, n, kv_width, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "o", args->o, n, width, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "lse", args->lse, args->batch * args->heads,
                                     args->sequence, COP_CHECK_PARAMETER));
    COP_TRY(status, cop_check_matrix(check, "d_o", args->d_o, n, width, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "d_q", args->d_q, n, width, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "d_k", args->d_k, n, kv_width, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "d_v", args->d_v, n, kv_width, COP_CHECK_ACTIVATION));

done:
    return status;
}

static cop_status check_activation_forward(const cop_checker *check,
                                           const cop_activation_forward_args *args)
{
    cop_status status = COP_OK;
    const int64_t n = args->up.rows;
    const int64_t cols = args->up.cols;
    COP_TRY(status, cop_check_kind(check, (int)args->kind, COP_ACTIVATION_GELU_TANH + 1));
    COP_TRY(status, cop_check_matrix(check, "up", args->up, n, cols, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_optional(check, "gate", args->gate, n, cols, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "y", args->y, n, cols, COP_CHECK_ACTIVATION));

done:
    return status;
}

static cop_status check_activation_backward(const cop_checker *check,
                                            const cop_activation_backward_args *args)
{
    cop_status status = COP_OK;
    const int64_t n = args->up.rows;
    const int64_t cols = args->up.cols;
    COP_TRY(status, cop_check_kind(check, (int)args->kind, COP_ACTIVATION_GELU_TANH + 1));
    COP_TRY(status, cop_check_matrix(check, "up", args->up, n, cols, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_optional(check, "gate", args->gate, n, cols, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "d_y", args->d_y, n, cols, COP_CHECK_ACTIVATION));
    if (cop_check_is_present(check, args->gate)) {
        COP_TRY(status,
                cop_check_matrix(check, "d_gate", args->d_gate, n, cols, COP_CHECK_ACTIVATION));
    } else {
        COP_TRY(status, cop_check_absent(check, "d_gate", args->d_gate, "without gate"));
    }
    COP_TRY(status, cop_check_matrix(check, "d_up", args->d_up, n, cols, COP_CHECK_ACTIVATION));

done:
    return status;
}

static cop_status check_embedding_forward(const cop_checker *check,
                                          const cop_embedding_forward_args *args)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_check_matrix(check, "table", args->table, args->table.rows,
                                     args->table.cols, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "y", args->y, args->y.rows, args->table.cols,
                                     COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_ids(check, "ids", args->ids, args->y.rows, 0, args->table.rows));

done:
    return status;
}

static cop_status check_embedding_backward(const cop_checker *check,
                                           const cop_embedding_backward_args *args)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_check_matrix(check, "d_table", args->d_table, args->d_table.rows,
                                     args->d_table.cols, COP_CHECK_GRADIENT));
    COP_TRY(status, cop_check_matrix(check, "d_y", args->d_y, args->d_y.rows, args->d_table.cols,
                                     COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_ids(check, "ids", args->ids, args->d_y.rows, 0, args->d_table.rows));

done:
    return status;
}

static cop_status check_vector_pair(const cop_checker *check, cop_matrix x, const char *name,
                                    cop_matrix vector)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_check_matrix(check, "x", x, x.rows, x.cols, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, name, vector, 1, x.cols, COP_CHECK_PARAMETER));

done:
    return status;
}

static cop_status check_pair(const cop_checker *check, cop_matrix x, cop_matrix y)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_check_matrix(check, "x", x, x.rows, x.cols, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "y", y, x.rows, x.cols, COP_CHECK_ACTIVATION));

done:
    return status;
}

static cop_status check_gather(const cop_checker *check, const cop_gather_args *args)
{
    cop_status status = COP_OK;
    const cop_matrix x = args->x;
    const cop_matrix y = args->y;
    COP_TRY(status, cop_check_matrix(check, "x", x, x.rows, x.cols, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "y", y, y.rows, y.cols, COP_CHECK_ACTIVATION));
    if (args->row_index != NULL) {
        COP_TRY(status, cop_check_ids(check, "row_index", args->row_index, y.rows, 0, x.rows));
    } else if (check->stage == COP_CHECK_CALL && y.rows > x.rows) {
        return COP_FAIL(check->err, COP_ERR_SHAPE, "gather: rows of y are %lld (allowed: 0..%lld)",
                        (long long)y.rows, (long long)x.rows);
    }
    if (args->col_index != NULL) {
        COP_TRY(status, cop_check_ids(check, "col_index", args->col_index, y.cols, 0, x.cols));
    } else if (check->stage == COP_CHECK_CALL && y.cols > x.cols) {
        return COP_FAIL(check->err, COP_ERR_SHAPE,
                        "gather: columns of y are %lld (allowed: 0..%lld)", (long long)y.cols,
                        (long long)x.cols);
    }

done:
    return status;
}

static cop_status check_state_loss(const cop_checker *check, const cop_state_loss_args *args)
{
    cop_status status = COP_OK;
    const int64_t n = args->student.rows;
    const int64_t cols = args->student.cols;
    COP_TRY(status, cop_check_kind(check, (int)args->kind, COP_STATE_LOSS_COSINE + 1));
    COP_TRY(status,
            cop_check_matrix(check, "student", args->student, n, cols, COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_i64(check, "columns of student", cols, 1));
    COP_TRY(status,
            cop_check_matrix(check, "teacher", args->teacher, n, cols, COP_CHECK_ACTIVATION));
    if (n > 0) {
        COP_TRY(status, cop_check_matrix(check, "loss", args->loss, 1, n, COP_CHECK_PARAMETER));
    }
    COP_TRY(status,
            cop_check_optional(check, "d_student", args->d_student, n, cols, COP_CHECK_ACTIVATION));

done:
    return status;
}

static cop_status check_adamw(const cop_checker *check, const cop_adamw_args *args)
{
    cop_status status = COP_OK;
    const int64_t rows = args->gradient.rows;
    const int64_t cols = args->gradient.cols;
    const bool has_master = cop_check_is_present(check, args->parameter);
    COP_TRY(status,
            cop_check_matrix(check, "gradient", args->gradient, rows, cols, COP_CHECK_GRADIENT));
    COP_TRY(status, cop_check_optional(check, "parameter", args->parameter, rows, cols,
                                       COP_CHECK_PARAMETER));
    if (has_master) {
        COP_TRY(status, cop_check_optional(check, "working", args->working, rows, cols,
                                           COP_CHECK_ACTIVATION));
    } else {
        COP_TRY(status, cop_check_matrix(check, "working", args->working, rows, cols,
                                         COP_CHECK_ACTIVATION));
        if (args->working.dtype != COP_BF16) {
            return COP_FAIL(check->err, COP_ERR_UNSUPPORTED,
                            "adamw: type of working is %s (allowed: bf16 without parameter)",
                            cop_dtype_name(args->working.dtype));
        }
    }
    COP_TRY(status, cop_check_matrix(check, "m", args->m, rows, cols, COP_CHECK_GRADIENT));
    COP_TRY(status, cop_check_matrix(check, "v", args->v, rows, cols, COP_CHECK_GRADIENT));
    if (args->m.dtype != args->v.dtype) {
        return COP_FAIL(check->err, COP_ERR_UNSUPPORTED,
                        "adamw: type of v is %s (allowed: %s, as m)", cop_dtype_name(args->v.dtype),
                        cop_dtype_name(args->m.dtype));
    }
    if (args->schedule == NULL) {
        COP_TRY(status, cop_check_i64(check, "step", args->step, 1));
    }
    COP_TRY(status, cop_check_i64(check, "first_index", args->first_index, 0));

done:
    return status;
}

static cop_status check_moments(const cop_checker *check, const cop_sequence_moments_args *args)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_check_i64(check, "sequence", args->sequence, 1));
    COP_TRY(status, cop_check_i64(check, "group", args->group, 1));
    COP_TRY(status, cop_check_matrix(check, "x", args->x, args->x.rows, args->x.cols,
                                     COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_multiple(check, "rows of x", args->x.rows, args->sequence));
    COP_TRY(status, cop_check_multiple(check, "columns of x", args->x.cols, args->group));
    COP_TRY(status, cop_check_pointer(check, "out", args->out));

done:
    return status;
}

static cop_status check_sum_squares(const cop_checker *check, const cop_sum_squares_args *args)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_check_matrix(check, "x", args->x, args->x.rows, args->x.cols,
                                     COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_pointer(check, "sum", args->sum));

done:
    return status;
}

static cop_status check_row_cosine(const cop_checker *check, const cop_row_cosine_args *args)
{
    cop_status status = COP_OK;
    COP_TRY(status, check_pair(check, args->x, args->y));
    COP_TRY(status, cop_check_pointer(check, "sum", args->sum));

done:
    return status;
}

cop_status cop_check_op(cop_op op, const void *args, cop_check_types types, cop_check_stage stage,
                        cop_error *err)
{
    const cop_checker check = {.op = cop_op_name(op), .types = types, .stage = stage, .err = err};
    switch (op) {
    case COP_OP_MATMUL: return check_matmul(&check, args);
    case COP_OP_NORM_FORWARD: return check_norm_forward(&check, args);
    case COP_OP_NORM_BACKWARD: return check_norm_backward(&check, args);
    case COP_OP_ROPE: return check_rope(&check, args);
    case COP_OP_ATTENTION_FORWARD: return check_attention_forward(&check, args);
    case COP_OP_ATTENTION_BACKWARD: return check_attention_backward(&check, args);
    case COP_OP_ACTIVATION_FORWARD: return check_activation_forward(&check, args);
    case COP_OP_ACTIVATION_BACKWARD: return check_activation_backward(&check, args);
    case COP_OP_EMBEDDING_FORWARD: return check_embedding_forward(&check, args);
    case COP_OP_EMBEDDING_BACKWARD: return check_embedding_backward(&check, args);
    case COP_OP_BIAS_ADD: {
        const cop_bias_add_args *bias_add = args;
        return check_vector_pair(&check, bias_add->x, "bias", bias_add->bias);
    }
    case COP_OP_COLUMN_SUM: {
        const cop_column_sum_args *column_sum = args;
        return check_vector_pair(&check, column_sum->x, "sum", column_sum->sum);
    }
    case COP_OP_ADD: {
        const cop_add_args *add = args;
        return check_pair(&check, add->x, add->y);
    }
    case COP_OP_CONVERT: {
        const cop_convert_args *convert = args;
        return check_pair(&check, convert->x, convert->y);
    }
    case COP_OP_GATHER: return check_gather(&check, args);
    case COP_OP_HEAD_LOSS: return cop_check_head_loss(&check, args);
    case COP_OP_STATE_LOSS: return check_state_loss(&check, args);
    case COP_OP_SUM_SQUARES: return check_sum_squares(&check, args);
    case COP_OP_ADAMW: return check_adamw(&check, args);
    case COP_OP_SEQUENCE_MOMENTS: return check_moments(&check, args);
    case COP_OP_ROW_COSINE: return check_row_cosine(&check, args);
    case COP_OP_SAMPLE_TARGETS: return cop_check_sample_targets(&check, args);
    case COP_OP_COUNT: break;
    }
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "operator: number is %d (allowed: 0..%d)", (int)op,
                    COP_OP_COUNT - 1);
}

cop_status cop_check_scratch(cop_op op, const void *scratch, uint64_t bytes, cop_error *err)
{
    if (bytes == 0) {
        return COP_OK;
    }
    if (scratch == NULL || (uintptr_t)scratch % 64 != 0) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "%s: scratch is %s (allowed: %llu bytes, aligned to 64)", cop_op_name(op),
                        scratch == NULL ? "absent" : "not aligned", (unsigned long long)bytes);
    }
    return COP_OK;
}
