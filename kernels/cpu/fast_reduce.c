// Reductions over rows or elements. Sums over many rows go by blocks of a fixed number of rows,
// then over the blocks in order: the number of threads does not change a bit.

#include <math.h>

#include "kernels/cpu/fast_row.h"

// scratch: [blocks, C] f32.
void COP_FAST(column_sum)(const cop_column_sum_args *args)
{
    const int64_t rows = args->x.rows;
    const int64_t cols = args->x.cols;
    const int64_t block = cop_fast_block_rows(rows);
    const int64_t blocks = cop_fast_blocks(rows);
    float *parts = args->scratch;
    float *sum = args->sum.data;
#pragma omp parallel for schedule(static) if (rows * cols > COP_FAST_PARALLEL_MIN)
    for (int64_t b = 0; b < blocks; b++) {
        float buffer[COP_FAST_CHUNK];
        float *part = parts + b * cols;
        for (int64_t c = 0; c < cols; c += COP_FAST_CHUNK) {
            const int64_t n = cop_fast_min(COP_FAST_CHUNK, cols - c);
            for (int64_t i = 0; i < n; i++) {
                part[c + i] = 0.0F;
            }
            for (int64_t r = b * block; r < cop_fast_min(rows, (b + 1) * block); r++) {
                const float *x = cop_row_load(args->x, r, c, n, buffer);
#pragma omp simd
                for (int64_t i = 0; i < n; i++) {
                    part[c + i] += x[i];
                }
            }
        }
    }
    for (int64_t b = 0; b < blocks; b++) {
#pragma omp simd
        for (int64_t c = 0; c < cols; c++) {
            sum[c] += parts[b * cols + c];
        }
    }
}

static inline double squares_of(const float *x, int64_t n)
{
    double sum = 0.0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        sum += (double)x[i] * (double)x[i];
    }
    return sum;
}

// scratch: [COP_FAST_BLOCKS_MAX] f64; block b takes the pieces from b * count / blocks on.
void COP_FAST(sum_squares)(const cop_sum_squares_args *args)
{
    const cop_matrix x = cop_fast_is_dense(args->x) ? cop_fast_flat(args->x) : args->x;
    const cop_pieces pieces = cop_pieces_of(x);
    double *parts = args->scratch;
#pragma omp parallel for schedule(static) if (pieces.count > COP_FAST_PARALLEL_MIN / COP_FAST_CHUNK)
    for (int64_t b = 0; b < COP_FAST_BLOCKS_MAX; b++) {
        float buffer[COP_FAST_CHUNK];
        double sum = 0.0;
        const int64_t end = (b + 1) * pieces.count / COP_FAST_BLOCKS_MAX;
        for (int64_t p = b * pieces.count / COP_FAST_BLOCKS_MAX; p < end; p++) {
            const int64_t c = p % pieces.per_row * COP_FAST_CHUNK;
            const int64_t n = cop_fast_min(COP_FAST_CHUNK, x.cols - c);
            sum += squares_of(cop_row_load(x, p / pieces.per_row, c, n, buffer), n);
        }
        parts[b] = sum;
    }
    for (int64_t b = 0; b < COP_FAST_BLOCKS_MAX; b++) {
        *args->sum += parts[b];
    }
}

typedef struct row_products {
    double xx;
    double xy;
    double yy;
    double distance; // Σ (x - y)²
} row_products;

static row_products products_of(cop_matrix x, cop_matrix y, int64_t r)
{
    float x_buffer[COP_FAST_CHUNK];
    float y_buffer[COP_FAST_CHUNK];
    row_products sum = {0};
    for (int64_t c = 0; c < x.cols; c += COP_FAST_CHUNK) {
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, x.cols - c);
        const float *a = cop_row_load(x, r, c, n, x_buffer);
        const float *b = cop_row_load(y, r, c, n, y_buffer);
        double xx = 0.0;
        double xy = 0.0;
        double yy = 0.0;
        double distance = 0.0;
#pragma omp simd reduction(+ : xx, xy, yy, distance)
        for (int64_t i = 0; i < n; i++) {
            const double p = (double)a[i];
            const double q = (double)b[i];
            xx += p * p;
            xy += p * q;
            yy += q * q;
            distance += (p - q) * (p - q);
        }
        sum.xx += xx;
        sum.xy += xy;
        sum.yy += yy;
        sum.distance += distance;
    }
    return sum;
}

static inline double cosine_of(row_products sum)
{
    if (sum.xx == 0.0 || sum.yy == 0.0) {
        return sum.xx == sum.yy ? 1.0 : 0.0;
    }
    return sum.xy / (sqrt(sum.xx) * sqrt(sum.yy));
}

// scratch: [blocks] f64.
void COP_FAST(row_cosine)(const cop_row_cosine_args *args)
{
    const int64_t rows = args->x.rows;
    const int64_t block = cop_fast_block_rows(rows);
    const int64_t blocks = cop_fast_blocks(rows);
    double *parts = args->scratch;
#pragma omp parallel for schedule(static) if (rows * args->x.cols > COP_FAST_PARALLEL_MIN)
    for (int64_t b = 0; b < blocks; b++) {
        parts[b] = 0.0;
        for (int64_t r = b * block; r < cop_fast_min(rows, (b + 1) * block); r++) {
            parts[b] += cosine_of(products_of(args->x, args->y, r));
        }
    }
    for (int64_t b = 0; b < blocks; b++) {
        *args->sum += parts[b];
    }
}

// d = a * student + b * teacher: the gradient of both kinds of distance.
static void put_state_gradient(const cop_state_loss_args *args, int64_t r, float a, float b)
{
    float student_buffer[COP_FAST_CHUNK];
    float teacher_buffer[COP_FAST_CHUNK];
    float d_buffer[COP_FAST_CHUNK];
    for (int64_t c = 0; c < args->student.cols; c += COP_FAST_CHUNK) {
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, args->student.cols - c);
        const float *student = cop_row_load(args->student, r, c, n, student_buffer);
        const float *teacher = cop_row_load(args->teacher, r, c, n, teacher_buffer);
        float *d = cop_row_target(args->d_student, r, c, d_buffer);
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            d[i] = a * student[i] + b * teacher[i];
        }
        cop_row_store(args->d_student, r, c, n, d);
    }
}

void COP_FAST(state_loss)(const cop_state_loss_args *args)
{
    const int64_t rows = args->student.rows;
    const double cols = (double)args->student.cols;
    const double weight = (double)args->grad_scale;
    float *loss = args->loss.data;
#pragma omp parallel for schedule(static) if (rows * args->student.cols > COP_FAST_PARALLEL_MIN)
    for (int64_t r = 0; r < rows; r++) {
        const row_products sum = products_of(args->student, args->teacher, r);
        const double cosine = cosine_of(sum);
        const bool is_mse = args->kind == COP_STATE_LOSS_MSE;
        double a = 2.0 * weight / cols;
        double b = -a;
        if (!is_mse) {
            const bool is_flat = sum.xx == 0.0 || sum.yy == 0.0; // no direction: no gradient
            a = is_flat ? 0.0 : weight * cosine / sum.xx;
            b = is_flat ? 0.0 : -weight / (sqrt(sum.xx) * sqrt(sum.yy));
        }
        loss[r] = (float)(is_mse ? sum.distance / cols : 1.0 - cosine);
        if (cop_fast_is_present(args->d_student)) {
            put_state_gradient(args, r, (float)a, (float)b);
        }
    }
}

enum {
    MOMENT_COLUMNS = 512, // of a strip: three rows of sums in f64 fill 12 KiB, a row of x 1 KiB
    MOMENT_ROWS = 4       // rows added up before they go into f64 sums in memory
};

// Adds rows [r, r + count) of units [u, u + n) into sums; group = 1.
static inline void add_plain_moments(const cop_sequence_moments_args *args, int64_t r,
                                     int64_t count, int64_t u, int64_t n, double *out,
                                     int64_t units)
{
    float buffer[MOMENT_ROWS][MOMENT_COLUMNS];
    const float *x[MOMENT_ROWS];
    for (int64_t i = 0; i < count; i++) {
        x[i] = cop_row_load(args->x, r + i, u, n, buffer[i]);
    }
    if (count == MOMENT_ROWS) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            const double a = (double)x[0][i];
            const double b = (double)x[1][i];
            const double c = (double)x[2][i];
            const double d = (double)x[3][i];
            out[i] += (fabs(a) + fabs(b)) + (fabs(c) + fabs(d));
            out[units + i] += (a * a + b * b) + (c * c + d * d);
            out[2 * units + i] += (a + b) + (c + d);
        }
        return;
    }
    for (int64_t row = 0; row < count; row++) {
        for (int64_t i = 0; i < n; i++) {
            const double a = (double)x[row][i];
            out[i] += fabs(a);
            out[units + i] += a * a;
            out[2 * units + i] += a;
        }
    }
}

static inline void add_group_moments(const cop_sequence_moments_args *args, int64_t r, int64_t u,
                                     double *out, int64_t units)
{
    float buffer[COP_FAST_CHUNK];
    double squares = 0.0;
    for (int64_t c = 0; c < args->group; c += COP_FAST_CHUNK) {
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, args->group - c);
        const float *x = cop_row_load(args->x, r, u * args->group + c, n, buffer);
        float part = 0.0F; // within one head f32 is enough; the sums over positions are f64
#pragma omp simd reduction(+ : part)
        for (int64_t i = 0; i < n; i++) {
            part += x[i] * x[i];
        }
        squares += (double)part;
    }
    const double s = sqrt(squares);
    out[0] += s;
    out[units] += squares;
    out[2 * units] += s;
}

void COP_FAST(sequence_moments)(const cop_sequence_moments_args *args)
{
    const int64_t units = args->x.cols / args->group;
    const int64_t per_strip = args->group < MOMENT_COLUMNS ? MOMENT_COLUMNS / args->group : 1;
    const int64_t strips = (units + per_strip - 1) / per_strip;
    const int64_t tasks = args->x.rows / args->sequence * strips;
#pragma omp parallel for schedule(static) if (args->x.rows * args->x.cols > COP_FAST_PARALLEL_MIN)
    for (int64_t task = 0; task < tasks; task++) {
        const int64_t first = task / strips * args->sequence;
        const int64_t u = task % strips * per_strip;
        const int64_t n = cop_fast_min(per_strip, units - u);
        double *out = args->out + task / strips * 3 * units + u;
        for (int64_t t = 0; t < args->sequence; t += MOMENT_ROWS) {
            const int64_t count = cop_fast_min(MOMENT_ROWS, args->sequence - t);
            if (args->group == 1) {
                add_plain_moments(args, first + t, count, u, n, out, units);
                continue;
            }
            for (int64_t i = 0; i < count * n; i++) {
                add_group_moments(args, first + t + i / n, u + i % n, out + i % n, units);
            }
        }
    }
}
