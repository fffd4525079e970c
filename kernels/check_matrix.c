#include "kernels/check_matrix.h"

#include <stdio.h>

#include "base/dtype.h"

bool cop_check_is_present(const cop_checker *check, cop_matrix m)
{
    return check->stage == COP_CHECK_PLAN ? m.cols > 0 : m.data != NULL;
}

static cop_status check_type(const cop_checker *check, const char *name, cop_matrix m,
                             cop_check_content what)
{
    const bool is_wide = m.dtype == COP_F64;
    const bool is_half = m.dtype == COP_BF16;
    bool is_fine = m.dtype == COP_F32 || is_wide || is_half;
    const char *allowed = "f32, bf16 or f64";
    if (check->types != COP_CHECK_ANY) {
        is_fine = is_fine && !is_wide && !(is_half && what == COP_CHECK_PARAMETER);
        allowed = what == COP_CHECK_PARAMETER ? "f32" : "f32 or bf16";
    }
    if (!is_fine) {
        return COP_FAIL(check->err, COP_ERR_UNSUPPORTED, "%s: type of %s is %s (allowed: %s)",
                        check->op, name, cop_dtype_name(m.dtype), allowed);
    }
    return COP_OK;
}

cop_status cop_check_matrix(const cop_checker *check, const char *name, cop_matrix m, int64_t rows,
                            int64_t cols, cop_check_content what)
{
    char wanted[64];
    if (rows == COP_CHECK_ANY_ROWS) {
        (void)snprintf(wanted, sizeof wanted, "[any, %lld]", (long long)cols);
    } else {
        (void)snprintf(wanted, sizeof wanted, "[%lld, %lld]", (long long)rows, (long long)cols);
    }
    const bool is_empty = cols == 0 || (m.rows == 0 && (rows == 0 || rows == COP_CHECK_ANY_ROWS));
    if (!cop_check_is_present(check, m) && !is_empty) {
        return COP_FAIL(check->err, COP_ERR_SHAPE, "%s: %s is absent (allowed: %s)", check->op,
                        name, wanted);
    }
    if ((rows != COP_CHECK_ANY_ROWS && m.rows != rows) || m.cols != cols || m.rows < 0 ||
        m.cols < 0) {
        return COP_FAIL(check->err, COP_ERR_SHAPE, "%s: %s is [%lld, %lld] (allowed: %s)",
                        check->op, name, (long long)m.rows, (long long)m.cols, wanted);
    }
    if (m.stride < m.cols) {
        return COP_FAIL(check->err, COP_ERR_SHAPE,
                        "%s: stride of %s is %lld (allowed: %lld or more)", check->op, name,
                        (long long)m.stride, (long long)m.cols);
    }
    return check_type(check, name, m, what);
}

cop_status cop_check_dense(const cop_checker *check, const char *name, cop_matrix m, int64_t rows,
                           int64_t cols)
{
    const cop_status status = cop_check_matrix(check, name, m, rows, cols, COP_CHECK_PARAMETER);
    if (status == COP_OK && m.stride != m.cols && rows > 1) {
        return COP_FAIL(check->err, COP_ERR_SHAPE, "%s: stride of %s is %lld (allowed: %lld)",
                        check->op, name, (long long)m.stride, (long long)m.cols);
    }
    return status;
}

cop_status cop_check_optional(const cop_checker *check, const char *name, cop_matrix m,
                              int64_t rows, int64_t cols, cop_check_content what)
{
    return cop_check_is_present(check, m) ? cop_check_matrix(check, name, m, rows, cols, what)
                                          : COP_OK;
}

cop_status cop_check_absent(const cop_checker *check, const char *name, cop_matrix m,
                            const char *why)
{
    if (cop_check_is_present(check, m)) {
        return COP_FAIL(check->err, COP_ERR_SHAPE, "%s: %s is present (allowed: absent %s)",
                        check->op, name, why);
    }
    return COP_OK;
}

cop_status cop_check_i64(const cop_checker *check, const char *name, int64_t value, int64_t least)
{
    if (value < least) {
        return COP_FAIL(check->err, COP_ERR_SHAPE, "%s: %s is %lld (allowed: %lld or more)",
                        check->op, name, (long long)value, (long long)least);
    }
    return COP_OK;
}

cop_status cop_check_multiple(const cop_checker *check, const char *name, int64_t part,
                              int64_t unit)
{
    if (part % unit != 0) {
        return COP_FAIL(check->err, COP_ERR_SHAPE, "%s: %s is %lld (allowed: multiples of %lld)",
                        check->op, name, (long long)part, (long long)unit);
    }
    return COP_OK;
}

cop_status cop_check_kind(const cop_checker *check, int kind, int count)
{
    if (kind < 0 || kind >= count) {
        return COP_FAIL(check->err, COP_ERR_UNSUPPORTED, "%s: kind is %d (allowed: 0..%d)",
                        check->op, kind, count - 1);
    }
    return COP_OK;
}

cop_status cop_check_ids(const cop_checker *check, const char *name, const int32_t *ids,
                         int64_t count, int64_t least, int64_t limit)
{
    if (check->stage == COP_CHECK_PLAN) {
        return COP_OK;
    }
    if (ids == NULL && count > 0) {
        return COP_FAIL(check->err, COP_ERR_SHAPE, "%s: %s are absent (allowed: %lld values)",
                        check->op, name, (long long)count);
    }
    if (check->types == COP_CHECK_DEVICE) {
        return COP_OK;
    }
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] < least || ids[i] >= limit) {
            return COP_FAIL(check->err, COP_ERR_SHAPE, "%s: %s[%lld] is %d (allowed: %lld..%lld)",
                            check->op, name, (long long)i, ids[i], (long long)least,
                            (long long)limit - 1);
        }
    }
    return COP_OK;
}

cop_status cop_check_pointer(const cop_checker *check, const char *name, const void *pointer)
{
    if (check->stage == COP_CHECK_CALL && pointer == NULL) {
        return COP_FAIL(check->err, COP_ERR_SHAPE, "%s: %s is absent (allowed: a pointer)",
                        check->op, name);
    }
    return COP_OK;
}
