#include <math.h>

#include "kernels/cpu/fast_row.h"

static inline float sum_of(const float *x, int64_t n)
{
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        sum += x[i];
    }
    return sum;
}

static inline float squares_of(const float *x, float mean, int64_t n)
{
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        const float centred = x[i] - mean;
        sum += centred * centred;
    }
    return sum;
}

static void norm_row(const cop_norm_forward_args *args, int64_t r)
{
    float x_buffer[COP_FAST_CHUNK];
    float y_buffer[COP_FAST_CHUNK];
    const int64_t cols = args->x.cols;
    const bool has_residual = cop_fast_is_present(args->residual);
    const cop_matrix from = has_residual ? args->sum : args->x;
    const bool is_layer = args->kind != COP_NORM_RMS;
    const bool is_short = cols <= COP_FAST_CHUNK; // one piece: loaded once
    const float *x = NULL;
    double total = 0.0;
    double squares = 0.0;
    for (int64_t c = 0; c < cols; c += COP_FAST_CHUNK) {
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, cols - c);
        x = cop_row_load(args->x, r, c, n, x_buffer);
        if (has_residual) {
            const float *residual = cop_row_load(args->residual, r, c, n, y_buffer);
            float *sum = cop_row_target(args->sum, r, c, x_buffer);
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                sum[i] = x[i] + residual[i];
            }
            cop_row_store(args->sum, r, c, n, sum);
            // What is normalized is what was stored: the backward pass sees no other.
            x = cop_row_load(args->sum, r, c, n, x_buffer);
        }
        if (is_layer) {
            total += (double)sum_of(x, n);
        } else {
            squares += (double)squares_of(x, 0.0F, n);
        }
    }
    const float mean = (float)(total / (double)cols);
    for (int64_t c = 0; is_layer && c < cols; c += COP_FAST_CHUNK) {
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, cols - c);
        x = is_short ? x : cop_row_load(from, r, c, n, x_buffer);
        squares += (double)squares_of(x, mean, n);
    }
    const float scale = (float)(1.0 / sqrt(squares / (double)cols + (double)args->eps));
    const float shift = args->kind == COP_NORM_LAYER_1P ? 1.0F : 0.0F;
    for (int64_t c = 0; c < cols; c += COP_FAST_CHUNK) {
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, cols - c);
        const float *gain = (const float *)args->gain.data + c;
        x = is_short ? x : cop_row_load(from, r, c, n, x_buffer);
        float *y = cop_row_target(args->y, r, c, y_buffer);
        if (cop_fast_is_present(args->bias)) {
            const float *bias = (const float *)args->bias.data + c;
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                y[i] = (x[i] - mean) * scale * (gain[i] + shift) + bias[i];
            }
        } else {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                y[i] = (x[i] - mean) * scale * (gain[i] + shift);
            }
        }
        cop_row_store(args->y, r, c, n, y);
    }
    if (cop_fast_is_present(args->stats)) {
        float *stats = (float *)args->stats.data + r * args->stats.stride;
        stats[0] = mean;
        stats[1] = scale;
    }
}

void COP_FAST(norm_forward)(const cop_norm_forward_args *args)
{
#pragma omp parallel for schedule(static) if (args->x.rows * args->x.cols > COP_FAST_PARALLEL_MIN)
    for (int64_t r = 0; r < args->x.rows; r++) {
        norm_row(args, r);
    }
}

// The piece of a row in work; rows of one piece are loaded once.
typedef struct row_piece {
    float x_buffer[COP_FAST_CHUNK];
    float d_y_buffer[COP_FAST_CHUNK];
    const float *x;
    const float *d_y;
} row_piece;

static inline void load_piece(row_piece *piece, const cop_norm_backward_args *args, int64_t r,
                              int64_t c, int64_t n)
{
    piece->x = cop_row_load(args->x, r, c, n, piece->x_buffer);
    piece->d_y = cop_row_load(args->d_y, r, c, n, piece->d_y_buffer);
}

// What one row gives to the parameters' gradients of its block, and the two means that its d_x
// needs. d_gain and d_bias are [C] sums of the block or NULL.
typedef struct row_means {
    float g;
    float gh;
} row_means;

static row_means add_row(const cop_norm_backward_args *args, int64_t r, row_piece *piece,
                         float *d_gain, float *d_bias)
{
    const int64_t cols = args->x.cols;
    const float *stats = (const float *)args->stats.data + r * args->stats.stride;
    const float mean = stats[0];
    const float scale = stats[1];
    const float shift = args->kind == COP_NORM_LAYER_1P ? 1.0F : 0.0F;
    double total_g = 0.0;
    double total_gh = 0.0;
    for (int64_t c = 0; c < cols; c += COP_FAST_CHUNK) {
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, cols - c);
        const float *gain = (const float *)args->gain.data + c;
        load_piece(piece, args, r, c, n);
        const float *x = piece->x;
        const float *d_y = piece->d_y;
        float sum_g = 0.0F;
        float sum_gh = 0.0F;
#pragma omp simd reduction(+ : sum_g, sum_gh)
        for (int64_t i = 0; i < n; i++) {
            const float g = d_y[i] * (gain[i] + shift);
            sum_g += g;
            sum_gh += g * (x[i] - mean);
        }
        total_g += (double)sum_g;
        total_gh += (double)(sum_gh * scale);
        if (d_gain != NULL) {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                d_gain[c + i] += d_y[i] * (x[i] - mean) * scale;
            }
        }
        if (d_bias != NULL) {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                d_bias[c + i] += d_y[i];
            }
        }
    }
    return (row_means){
        .g = args->kind == COP_NORM_RMS ? 0.0F : (float)(total_g / (double)cols),
        .gh = (float)(total_gh / (double)cols),
    };
}

static void put_row(const cop_norm_backward_args *args, int64_t r, row_piece *piece,
                    row_means means)
{
    float d_x_buffer[COP_FAST_CHUNK];
    const int64_t cols = args->x.cols;
    const float *stats = (const float *)args->stats.data + r * args->stats.stride;
    const float mean = stats[0];
    const float scale = stats[1];
    const float shift = args->kind == COP_NORM_LAYER_1P ? 1.0F : 0.0F;
    const float slope = means.gh * scale;
    for (int64_t c = 0; c < cols; c += COP_FAST_CHUNK) {
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, cols - c);
        const float *gain = (const float *)args->gain.data + c;
        if (cols > COP_FAST_CHUNK) {
            load_piece(piece, args, r, c, n);
        }
        const float *x = piece->x;
        const float *d_y = piece->d_y;
        float *d_x = cop_row_target(args->d_x, r, c, d_x_buffer);
        if (args->accumulate) {
            const float *old = cop_row_load(args->d_x, r, c, n, d_x_buffer);
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                const float g = d_y[i] * (gain[i] + shift);
                d_x[i] = old[i] + scale * (g - means.g - (x[i] - mean) * slope);
            }
        } else {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                const float g = d_y[i] * (gain[i] + shift);
                d_x[i] = scale * (g - means.g - (x[i] - mean) * slope);
            }
        }
        cop_row_store(args->d_x, r, c, n, d_x);
    }
}

static void add_blocks(cop_matrix sum, const float *parts, int64_t blocks, int64_t step)
{
    float *to = sum.data;
    for (int64_t b = 0; b < blocks; b++) {
        const float *part = parts + b * step;
#pragma omp simd
        for (int64_t c = 0; c < sum.cols; c++) {
            to[c] += part[c];
        }
    }
}

// scratch: [blocks, 2, C] partial sums of d_gain and d_bias.
void COP_FAST(norm_backward)(const cop_norm_backward_args *args)
{
    const int64_t rows = args->x.rows;
    const int64_t cols = args->x.cols;
    const int64_t block = cop_fast_block_rows(rows);
    const int64_t blocks = cop_fast_blocks(rows);
    const bool has_gain = cop_fast_is_present(args->d_gain);
    const bool has_bias = cop_fast_is_present(args->d_bias);
    float *parts = args->scratch;
#pragma omp parallel for schedule(static) if (rows * cols > COP_FAST_PARALLEL_MIN)
    for (int64_t b = 0; b < blocks; b++) {
        float *d_gain = has_gain ? parts + (2 * b) * cols : NULL;
        float *d_bias = has_bias ? parts + (2 * b + 1) * cols : NULL;
        for (int64_t c = 0; has_gain && c < cols; c++) {
            d_gain[c] = 0.0F;
        }
        for (int64_t c = 0; has_bias && c < cols; c++) {
            d_bias[c] = 0.0F;
        }
        for (int64_t r = b * block; r < cop_fast_min(rows, (b + 1) * block); r++) {
            row_piece piece;
            const row_means means = add_row(args, r, &piece, d_gain, d_bias);
            put_row(args, r, &piece, means);
        }
    }
    if (has_gain) {
        add_blocks(args->d_gain, parts, blocks, 2 * cols);
    }
    if (has_bias) {
        add_blocks(args->d_bias, parts + cols, blocks, 2 * cols);
    }
}
