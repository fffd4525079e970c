#include "kernels/cpu/matmul.h"

#include <cblas.h>
#include <limits.h>

#include "base/dtype.h"
#include "kernels/cpu.h"

bool cop_matmul_has_bf16(void)
{
    return cop_onednn_has_bf16();
}

static uint64_t f32_bytes(cop_matrix m)
{
    const uint64_t bytes = (uint64_t)m.rows * (uint64_t)m.cols * sizeof(float);
    return (bytes + 63) / 64 * 64;
}

static bool needs_conversion(const cop_matmul_args *args)
{
    return args->a.dtype == COP_BF16 && !cop_matmul_has_bf16();
}

uint64_t cop_matmul_scratch_bytes(const cop_matmul_args *args)
{
    if (!needs_conversion(args)) {
        return 0;
    }
    return f32_bytes(args->a) + f32_bytes(args->b) +
           (args->c.dtype == COP_BF16 ? f32_bytes(args->c) : 0);
}

static void sgemm(const cop_matmul_args *args)
{
    const int64_t depth = args->transpose_a ? args->a.rows : args->a.cols;
    cblas_sgemm(CblasRowMajor, args->transpose_a ? CblasTrans : CblasNoTrans,
                args->transpose_b ? CblasTrans : CblasNoTrans, (blasint)args->c.rows,
                (blasint)args->c.cols, (blasint)depth, args->alpha, args->a.data,
                (blasint)args->a.stride, args->b.data, (blasint)args->b.stride, args->beta,
                args->c.data, (blasint)args->c.stride);
}

static void convert_rows(cop_matrix to, cop_matrix from)
{
    const size_t to_bytes = cop_dtype_bytes(to.dtype);
    const size_t from_bytes = cop_dtype_bytes(from.dtype);
    for (int64_t r = 0; r < from.rows; r++) {
        cop_dtype_convert((char *)to.data + (size_t)(r * to.stride) * to_bytes, to.dtype,
                          (const char *)from.data + (size_t)(r * from.stride) * from_bytes,
                          from.dtype, (size_t)from.cols);
    }
}

// bf16 operands on a CPU without bf16 instructions: everything in f32, in scratch.
static void matmul_converted(const cop_matmul_args *args)
{
    char *scratch = args->scratch;
    cop_matmul_args wide = *args;
    wide.a = cop_matrix_dense(scratch, COP_F32, args->a.rows, args->a.cols);
    scratch += f32_bytes(args->a);
    wide.b = cop_matrix_dense(scratch, COP_F32, args->b.rows, args->b.cols);
    scratch += f32_bytes(args->b);
    convert_rows(wide.a, args->a);
    convert_rows(wide.b, args->b);
    if (args->c.dtype == COP_BF16) {
        wide.c = cop_matrix_dense(scratch, COP_F32, args->c.rows, args->c.cols);
        if (args->beta != 0.0F) {
            convert_rows(wide.c, args->c);
        }
    }
    sgemm(&wide);
    if (args->c.dtype == COP_BF16) {
        convert_rows(args->c, wide.c);
    }
}

// c = beta * c, for products over nothing.
static void scale_only(const cop_matmul_args *args)
{
    const cop_matrix c = args->c;
    for (int64_t r = 0; r < c.rows; r++) {
        for (int64_t i = r * c.stride; i < r * c.stride + c.cols; i++) {
            if (c.dtype == COP_BF16) {
                uint16_t *data = c.data;
                const float old = args->beta != 0.0F ? cop_bf16_to_f32(data[i]) : 0.0F;
                data[i] = cop_bf16_from_f32(args->beta * old);
            } else {
                float *data = c.data;
                data[i] = args->beta != 0.0F ? args->beta * data[i] : 0.0F;
            }
        }
    }
}

static bool fits_int(cop_matrix m)
{
    return m.rows <= INT_MAX && m.cols <= INT_MAX && m.stride <= INT_MAX;
}

cop_status cop_matmul_run(const cop_matmul_args *args, cop_error *err)
{
    const int64_t depth = args->transpose_a ? args->a.rows : args->a.cols;
    if (args->c.rows == 0 || args->c.cols == 0) {
        return COP_OK;
    }
    if (depth == 0) {
        scale_only(args);
        return COP_OK;
    }
    if (!fits_int(args->a) || !fits_int(args->b) || !fits_int(args->c)) {
        return COP_FAIL(
            err, COP_ERR_UNSUPPORTED,
            "matmul: c is [%lld, %lld] over %lld (allowed: sizes and strides below 2^31)",
            (long long)args->c.rows, (long long)args->c.cols, (long long)depth);
    }
    if (args->a.dtype == COP_F32) {
        sgemm(args);
        return COP_OK;
    }
    if (needs_conversion(args)) {
        matmul_converted(args);
        return COP_OK;
    }
    return cop_onednn_matmul(args, err);
}
