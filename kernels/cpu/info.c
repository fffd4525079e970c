#include <cblas.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "kernels/cpu.h"
#include "kernels/cpu/matmul.h"
#include "kernels/cpu/simd.h"

static char openblas_name[96];
static pthread_once_t info_once = PTHREAD_ONCE_INIT;

// openblas_get_config() is "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH … Cooperlake MAX_THREADS=64".
static void name_openblas(void)
{
    const char *config = openblas_get_config();
    const char *end = strncmp(config, "OpenBLAS ", 9) == 0 ? strchr(config + 9, ' ') : NULL;
    const int length = end != NULL ? (int)(end - config) : 8;
    (void)snprintf(openblas_name, sizeof openblas_name, "%.*s (%s)", length,
                   end != NULL ? config : "OpenBLAS", openblas_get_corename());
}

cop_cpu_info cop_cpu_describe(void)
{
    (void)pthread_once(&info_once, name_openblas);
    return (cop_cpu_info){
        .matmul_f32 = openblas_name,
        .matmul_bf16 = cop_onednn_name(),
        .has_fast_bf16 = cop_onednn_has_bf16(),
        .simd = cop_simd_name(),
    };
}

enum {
    PEAK_ROWS = 2048,
    PEAK_COLS = 1024,
    PEAK_DEPTH = 1024,
    PEAK_RUNS_MIN = 3,
};

// Small pseudo-random values: what the operands are changes how fast some CPUs clock.
static void fill(void *data, cop_dtype dtype, int64_t count)
{
    uint32_t state = 12345U;
    for (int64_t i = 0; i < count; i++) {
        state = state * 1664525U + 1013904223U;
        const float value = (float)(state >> 8) / 16777216.0F - 0.5F;
        if (dtype == COP_BF16) {
            ((uint16_t *)data)[i] = cop_bf16_from_f32(value);
        } else {
            ((float *)data)[i] = value;
        }
    }
}

cop_status cop_cpu_matmul_peak(double *flops_per_second, cop_dtype dtype, double seconds,
                               cop_error *err)
{
    cop_status status = COP_OK;
    void *a = NULL;
    void *b = NULL;
    void *c = NULL;
    void *scratch = NULL;
    double best = 0.0;
    double start = 0.0;
    cop_matmul_args args = {.transpose_b = true, .alpha = 1.0F};
    if (dtype != COP_F32 && dtype != COP_BF16) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED, "matmul peak: type is %s (allowed: f32, bf16)",
                        cop_dtype_name(dtype));
    }
    a = cop_alloc((size_t)PEAK_ROWS * PEAK_DEPTH, cop_dtype_bytes(dtype));
    b = cop_alloc((size_t)PEAK_COLS * PEAK_DEPTH, cop_dtype_bytes(dtype));
    c = cop_alloc((size_t)PEAK_ROWS * PEAK_COLS, sizeof(float));
    args.a = cop_matrix_dense(a, dtype, PEAK_ROWS, PEAK_DEPTH);
    args.b = cop_matrix_dense(b, dtype, PEAK_COLS, PEAK_DEPTH);
    args.c = cop_matrix_dense(c, COP_F32, PEAK_ROWS, PEAK_COLS);
    const uint64_t bytes = cop_matmul_scratch_bytes(&args);
    scratch = bytes > 0 ? cop_alloc((size_t)bytes, 1) : NULL;
    if (a == NULL || b == NULL || c == NULL || (bytes > 0 && scratch == NULL)) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "matmul peak: operands: %d MiB (allowed: less)", 20);
        goto done;
    }
    args.scratch = scratch;
    fill(a, dtype, (int64_t)PEAK_ROWS * PEAK_DEPTH);
    fill(b, dtype, (int64_t)PEAK_COLS * PEAK_DEPTH);
    start = cop_clock_seconds();
    for (int run = 0; run < PEAK_RUNS_MIN || cop_clock_seconds() - start < seconds; run++) {
        const double before = cop_clock_seconds();
        COP_TRY(status, cop_matmul_run(&args, err));
        const double rate =
            2.0 * PEAK_ROWS * PEAK_COLS * PEAK_DEPTH / (cop_clock_seconds() - before);
        best = rate > best && run > 0 ? rate : best; // the first run sets things up
    }
    *flops_per_second = best;

done:
    cop_free(a);
    cop_free(b);
    cop_free(c);
    cop_free(scratch);
    return status;
}
