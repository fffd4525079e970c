// The checks of the LM head and its samples: the operators with the most options.

#include <math.h>

#include "base/dtype.h"
#include "kernels/check_matrix.h"

static cop_status check_sample(const cop_checker *check, const cop_head_loss_args *args,
                               bool has_sample)
{
    cop_status status = COP_OK;
    const int64_t n = args->hidden.rows;
    if (!has_sample) {
        COP_TRY(status, cop_check_absent(check, "sample_entropy", args->sample_entropy,
                                         "without sample_weights"));
        goto done;
    }
    COP_TRY(status, cop_check_dense(check, "sample_weights", args->sample_weights, n,
                                    args->sample_weights.cols));
    COP_TRY(status, cop_check_optional(check, "sample_entropy", args->sample_entropy, 1, n,
                                       COP_CHECK_PARAMETER));
    COP_TRY(status, cop_check_ids(check, "sample_ids", args->sample_ids,
                                  n * args->sample_weights.cols, -1, args->head.rows));
    if (args->temperature != 1.0F) {
        return COP_FAIL(check->err, COP_ERR_SHAPE,
                        "head_loss: temperature is %g (allowed: 1 with sample_weights)",
                        (double)args->temperature);
    }

done:
    return status;
}

static cop_status check_head_outputs(const cop_checker *check, const cop_head_loss_args *args,
                                     bool has_teacher, bool has_sample)
{
    cop_status status = COP_OK;
    const int64_t n = args->hidden.rows;
    COP_TRY(status, cop_check_optional(check, "cross_entropy", args->cross_entropy, 1, n,
                                       COP_CHECK_PARAMETER));
    COP_TRY(status, cop_check_optional(check, "kl", args->kl, 1, n, COP_CHECK_PARAMETER));
    COP_TRY(status, cop_check_optional(check, "agree", args->agree, 1, n, COP_CHECK_PARAMETER));
    COP_TRY(status, cop_check_optional(check, "teacher_cross_entropy", args->teacher_cross_entropy,
                                       1, n, COP_CHECK_PARAMETER));
    if (!has_teacher && !has_sample) {
        COP_TRY(status, cop_check_absent(check, "kl", args->kl, "without teacher_hidden"));
    }
    if (!has_teacher) {
        COP_TRY(status, cop_check_absent(check, "teacher_cross_entropy",
                                         args->teacher_cross_entropy, "without teacher_hidden"));
    }
    COP_TRY(status, cop_check_optional(check, "d_hidden", args->d_hidden, n, args->hidden.cols,
                                       COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_optional(check, "d_head", args->d_head, args->head.rows,
                                       args->head.cols, COP_CHECK_GRADIENT));
    if (cop_check_is_present(check, args->d_head) && !cop_check_is_present(check, args->d_hidden) &&
        n > 0) {
        return COP_FAIL(check->err, COP_ERR_SHAPE,
                        "head_loss: d_head is present (allowed: absent without d_hidden)");
    }
    if (check->stage == COP_CHECK_CALL && args->targets == NULL) {
        COP_TRY(status,
                cop_check_absent(check, "cross_entropy", args->cross_entropy, "without targets"));
        COP_TRY(status, cop_check_absent(check, "teacher_cross_entropy",
                                         args->teacher_cross_entropy, "without targets"));
        if (!has_teacher) {
            COP_TRY(status, cop_check_absent(check, "agree", args->agree,
                                             "without targets and teacher_hidden"));
        }
    }

done:
    return status;
}

cop_status cop_check_head_loss(const cop_checker *check, const cop_head_loss_args *args)
{
    cop_status status = COP_OK;
    const int64_t n = args->hidden.rows;
    const int64_t vocab = args->head.rows;
    const bool has_teacher = cop_check_is_present(check, args->teacher_hidden);
    const bool has_sample = cop_check_is_present(check, args->sample_weights);
    COP_TRY(status, cop_check_matrix(check, "hidden", args->hidden, n, args->hidden.cols,
                                     COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "head", args->head, vocab, args->hidden.cols,
                                     COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_i64(check, "rows of head", vocab, 1));
    if (has_teacher) {
        const int64_t cols = args->teacher_hidden.cols;
        COP_TRY(status, cop_check_matrix(check, "teacher_hidden", args->teacher_hidden, n, cols,
                                         COP_CHECK_ACTIVATION));
        COP_TRY(status, cop_check_matrix(check, "teacher_head", args->teacher_head, vocab, cols,
                                         COP_CHECK_ACTIVATION));
        COP_TRY(status, cop_check_absent(check, "sample_weights", args->sample_weights,
                                         "with teacher_hidden"));
    } else if (args->kl_weight != 0.0F && n > 0 && !has_sample) {
        return COP_FAIL(check->err, COP_ERR_SHAPE,
                        "head_loss: kl_weight is %g (allowed: 0 without teacher_hidden)",
                        (double)args->kl_weight);
    }
    if (check->types != COP_CHECK_ANY && args->head.dtype != args->hidden.dtype) {
        return COP_FAIL(check->err, COP_ERR_UNSUPPORTED,
                        "head_loss: type of head is %s (allowed: %s, as hidden)",
                        cop_dtype_name(args->head.dtype), cop_dtype_name(args->hidden.dtype));
    }
    if (check->types != COP_CHECK_ANY && has_teacher &&
        args->teacher_head.dtype != args->teacher_hidden.dtype) {
        return COP_FAIL(check->err, COP_ERR_UNSUPPORTED,
                        "head_loss: type of teacher_head is %s (allowed: %s, as teacher_hidden)",
                        cop_dtype_name(args->teacher_head.dtype),
                        cop_dtype_name(args->teacher_hidden.dtype));
    }
    if (!(args->temperature > 0.0F) || isinf(args->temperature)) {
        return COP_FAIL(check->err, COP_ERR_SHAPE, "head_loss: temperature is %g (allowed: > 0)",
                        (double)args->temperature);
    }
    if (check->stage == COP_CHECK_CALL && args->targets == NULL && args->ce_weight != 0.0F &&
        n > 0) {
        return COP_FAIL(check->err, COP_ERR_SHAPE,
                        "head_loss: ce_weight is %g (allowed: 0 without targets)",
                        (double)args->ce_weight);
    }
    if (args->targets != NULL) {
        COP_TRY(status, cop_check_ids(check, "targets", args->targets, n, INT32_MIN, vocab));
    }
    COP_TRY(status, check_sample(check, args, has_sample));
    COP_TRY(status, check_head_outputs(check, args, has_teacher, has_sample));

done:
    return status;
}

cop_status cop_check_sample_targets(const cop_checker *check, const cop_sample_targets_args *args)
{
    cop_status status = COP_OK;
    const int64_t n = args->hidden.rows;
    COP_TRY(status, cop_check_matrix(check, "hidden", args->hidden, n, args->hidden.cols,
                                     COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_matrix(check, "head", args->head, args->head.rows, args->hidden.cols,
                                     COP_CHECK_ACTIVATION));
    COP_TRY(status, cop_check_i64(check, "rows of head", args->head.rows, 1));
    COP_TRY(status, cop_check_i64(check, "draws", args->draws, 1));
    COP_TRY(status, cop_check_i64(check, "first_row", args->first_row, 0));
    if (args->draws > COP_SAMPLE_DRAWS_MAX) {
        return COP_FAIL(check->err, COP_ERR_SHAPE,
                        "sample_targets: draws are %lld (allowed: 1..%d)", (long long)args->draws,
                        (int)COP_SAMPLE_DRAWS_MAX);
    }
    if (check->types != COP_CHECK_ANY && args->head.dtype != args->hidden.dtype) {
        return COP_FAIL(check->err, COP_ERR_UNSUPPORTED,
                        "sample_targets: type of head is %s (allowed: %s, as hidden)",
                        cop_dtype_name(args->head.dtype), cop_dtype_name(args->hidden.dtype));
    }
    if (n > 0) {
        COP_TRY(status, cop_check_pointer(check, "ids", args->ids));
        COP_TRY(status, cop_check_dense(check, "weights", args->weights, n, args->draws));
        COP_TRY(status,
                cop_check_matrix(check, "entropy", args->entropy, 1, n, COP_CHECK_PARAMETER));
    }

done:
    return status;
}
