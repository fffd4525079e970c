#include "kernels/peak.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "kernels/ops.h"

enum { HOST_ROWS = 2048, HOST_SIDE = 1024, DEVICE_SIDE = 8192, ROWS_MIN = 64, RUNS_MIN = 3 };

// Values that are made; the operands repeat them. A prime: no row or column looks like another.
enum { VALUES = 1000003 };

static const double product_seconds_max = 0.25;

typedef struct product {
    cop_matmul_args args;
    void *a;
    void *b;
    void *c;
    void *scratch;
} product;

static void release(const product *p, cop_backend *backend)
{
    void *const memory[] = {p->a, p->b, p->c, p->scratch};
    for (size_t i = 0; i < sizeof memory / sizeof memory[0]; i++) {
        if (memory[i] != NULL) {
            backend->type->memory_free(backend, memory[i]);
        }
    }
}

// Around zero and of one magnitude, as in training: what the operands are changes how fast a device
// clocks.
static void make_values(void *values, cop_dtype dtype)
{
    uint32_t state = 12345U;
    for (int64_t i = 0; i < VALUES; i++) {
        state = state * 1664525U + 1013904223U;
        const float value = (float)(state >> 8) / 16777216.0F - 0.5F;
        if (dtype == COP_BF16) {
            ((uint16_t *)values)[i] = cop_bf16_from_f32(value);
        } else {
            ((float *)values)[i] = value;
        }
    }
}

static cop_status fill(cop_backend *backend, const cop_matrix *matrix, const void *values,
                       cop_error *err)
{
    const uint64_t element = cop_dtype_bytes(matrix->dtype);
    const uint64_t all = (uint64_t)(matrix->rows * matrix->cols) * element;
    cop_status status = COP_OK;
    for (uint64_t at = 0; at < all;) {
        const uint64_t left = all - at;
        const uint64_t bytes = left < VALUES * element ? left : VALUES * element;
        COP_TRY(status, cop_backend_to_device(backend, NULL, (char *)matrix->data + at, values,
                                              bytes, err));
        at += bytes;
    }

done:
    return status;
}

// Memory past the backend's accounts: it is free again before anything else is allocated.
static cop_status make(product *p, cop_backend *backend, cop_dtype dtype, bool is_host,
                       cop_error *err)
{
    const int64_t rows = is_host ? HOST_ROWS : DEVICE_SIDE;
    const int64_t side = is_host ? HOST_SIDE : DEVICE_SIDE;
    const cop_dtype out = is_host ? COP_F32 : dtype;
    const uint64_t element = cop_dtype_bytes(dtype);
    const uint64_t out_bytes = (uint64_t)(rows * side) * cop_dtype_bytes(out);
    const cop_backend_type *type = backend->type;
    uint64_t scratch = 0;
    cop_status status = COP_OK;
    void *values = cop_alloc(VALUES, element);

    if (values == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "matmul peak: operands: %llu bytes (allowed: less)",
                        (unsigned long long)(VALUES * element));
    }
    make_values(values, dtype);
    COP_TRY(status, type->memory_alloc(backend, &p->a, (uint64_t)(rows * side) * element, err));
    COP_TRY(status, type->memory_alloc(backend, &p->b, (uint64_t)(side * side) * element, err));
    COP_TRY(status, type->memory_alloc(backend, &p->c, out_bytes, err));
    p->args = (cop_matmul_args){.transpose_b = true, .alpha = 1.0F};
    p->args.a = cop_matrix_dense(p->a, dtype, rows, side);
    p->args.b = cop_matrix_dense(p->b, dtype, side, side);
    p->args.c = cop_matrix_dense(p->c, out, rows, side);
    scratch = backend->ops->scratch_bytes(backend, COP_OP_MATMUL, &p->args);
    if (scratch > 0) {
        COP_TRY(status, type->memory_alloc(backend, &p->scratch, scratch, err));
        p->args.scratch = p->scratch;
    }
    COP_TRY(status, fill(backend, &p->args.a, values, err));
    COP_TRY(status, fill(backend, &p->args.b, values, err));

done:
    cop_free(values);
    return status;
}

// Seconds of one product, alone on the device.
static cop_status run(cop_backend *backend, const cop_matmul_args *args, double *seconds,
                      cop_error *err)
{
    cop_status status = COP_OK;
    double start = 0.0;

    COP_TRY(status, cop_backend_synchronize(backend, NULL, err));
    start = cop_clock_seconds();
    COP_TRY(status, backend->ops->matmul(backend, NULL, args, err));
    COP_TRY(status, cop_backend_synchronize(backend, NULL, err));
    *seconds = cop_clock_seconds() - start;

done:
    return status;
}

// Cuts the product to as many rows as a slow backend multiplies in time.
static cop_status fit_rows(cop_backend *backend, cop_matmul_args *args, cop_error *err)
{
    const int64_t all = args->a.rows;
    int64_t rows = all;
    double seconds = 0.0;
    cop_status status = COP_OK;

    args->a.rows = ROWS_MIN;
    args->c.rows = ROWS_MIN;
    COP_TRY(status, run(backend, args, &seconds, err)); // sets things up
    COP_TRY(status, run(backend, args, &seconds, err));
    while (rows > ROWS_MIN && seconds * (double)rows / ROWS_MIN > product_seconds_max) {
        rows /= 2;
    }
    args->a.rows = rows;
    args->c.rows = rows;

done:
    return status;
}

cop_status cop_matmul_peak(cop_backend *backend, double *flops_per_second, cop_dtype dtype,
                           double seconds, cop_error *err)
{
    product p = {0};
    cop_device_info info = {0};
    cop_status status = COP_OK;
    double best = 0.0;
    double start = 0.0;

    if (dtype != COP_F32 && dtype != COP_BF16) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED, "matmul peak: type is %s (allowed: f32, bf16)",
                        cop_dtype_name(dtype));
    }
    COP_TRY(status, cop_backend_info(backend, &info, err));
    COP_TRY(status, make(&p, backend, dtype, info.is_host_memory, err));
    COP_TRY(status, fit_rows(backend, &p.args, err));
    start = cop_clock_seconds();
    for (int i = 0; i < RUNS_MIN || cop_clock_seconds() - start < seconds; i++) {
        double taken = 0.0;
        COP_TRY(status, run(backend, &p.args, &taken, err));
        const double flops =
            2.0 * (double)p.args.c.rows * (double)p.args.c.cols * (double)p.args.a.cols;
        best = i > 0 && flops / taken > best ? flops / taken : best; // the first sets things up
    }
    *flops_per_second = best;

done:
    release(&p, backend);
    return status;
}
