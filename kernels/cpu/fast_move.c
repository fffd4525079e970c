// Operators that move rows: embedding, gather, convert, add, bias, rope.

#include <string.h>

#include "kernels/cpu/fast_row.h"

// y[r, c .. c + n) = x[q, c .. c + n)
static inline void copy_piece(cop_matrix y, int64_t r, cop_matrix x, int64_t q, int64_t c,
                              int64_t n)
{
    if (x.dtype == COP_BF16 && y.dtype == COP_BF16) {
        memcpy((uint16_t *)y.data + r * y.stride + c, (const uint16_t *)x.data + q * x.stride + c,
               (size_t)n * sizeof(uint16_t));
        return;
    }
    float buffer[COP_FAST_CHUNK];
    cop_row_store(y, r, c, n, cop_row_load(x, q, c, n, buffer));
}

void COP_FAST(embedding_forward)(const cop_embedding_forward_args *args)
{
    const cop_pieces pieces = cop_pieces_of(args->y);
#pragma omp parallel for schedule(static) if (pieces.count > COP_FAST_PARALLEL_MIN / COP_FAST_CHUNK)
    for (int64_t p = 0; p < pieces.count; p++) {
        const int64_t r = p / pieces.per_row;
        const int64_t c = p % pieces.per_row * COP_FAST_CHUNK;
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, args->y.cols - c);
        copy_piece(args->y, r, args->table, args->ids[r], c, n);
    }
}

// Every thread owns a strip of columns and walks the rows in order.
void COP_FAST(embedding_backward)(const cop_embedding_backward_args *args)
{
    enum { STRIP = 128 };

    const int64_t strips = (args->d_y.cols + STRIP - 1) / STRIP;
#pragma omp parallel for schedule(static)
    for (int64_t s = 0; s < strips; s++) {
        float buffer[STRIP];
        float narrow[STRIP];
        const int64_t c = s * STRIP;
        const int64_t n = cop_fast_min(STRIP, args->d_y.cols - c);
        for (int64_t r = 0; r < args->d_y.rows; r++) {
            const float *d_y = cop_row_load(args->d_y, r, c, n, buffer);
            const int64_t row = args->ids[r];
            float *sum = cop_row_target(args->d_table, row, c, narrow);
            (void)cop_row_load(args->d_table, row, c, n, narrow);
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                sum[i] += d_y[i];
            }
            cop_row_store(args->d_table, row, c, n, sum);
        }
    }
}

void COP_FAST(gather)(const cop_gather_args *args)
{
    const cop_matrix x = args->x;
    const cop_matrix y = args->y;
    const cop_pieces pieces = cop_pieces_of(y);
#pragma omp parallel for schedule(static) if (pieces.count > COP_FAST_PARALLEL_MIN / COP_FAST_CHUNK)
    for (int64_t p = 0; p < pieces.count; p++) {
        float buffer[COP_FAST_CHUNK];
        const int64_t r = p / pieces.per_row;
        const int64_t c = p % pieces.per_row * COP_FAST_CHUNK;
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, y.cols - c);
        const int64_t row = args->row_index != NULL ? args->row_index[r] : r;
        if (args->col_index == NULL) {
            copy_piece(y, r, x, row, c, n);
            continue;
        }
        for (int64_t i = 0; i < n; i++) {
            const int64_t at = row * x.stride + args->col_index[c + i];
            buffer[i] = x.dtype == COP_F32 ? ((const float *)x.data)[at]
                                           : cop_bf16_to_f32(((const uint16_t *)x.data)[at]);
        }
        cop_row_store(y, r, c, n, buffer);
    }
}

void COP_FAST(convert)(const cop_convert_args *args)
{
    const bool is_flat = cop_fast_is_dense(args->x) && cop_fast_is_dense(args->y);
    const cop_matrix x = is_flat ? cop_fast_flat(args->x) : args->x;
    const cop_matrix y = is_flat ? cop_fast_flat(args->y) : args->y;
    const cop_pieces pieces = cop_pieces_of(y);
#pragma omp parallel for schedule(static) if (pieces.count > COP_FAST_PARALLEL_MIN / COP_FAST_CHUNK)
    for (int64_t p = 0; p < pieces.count; p++) {
        const int64_t r = p / pieces.per_row;
        const int64_t c = p % pieces.per_row * COP_FAST_CHUNK;
        copy_piece(y, r, x, r, c, cop_fast_min(COP_FAST_CHUNK, y.cols - c));
    }
}

void COP_FAST(add)(const cop_add_args *args)
{
    const bool is_flat = cop_fast_is_dense(args->x) && cop_fast_is_dense(args->y);
    const cop_matrix x = is_flat ? cop_fast_flat(args->x) : args->x;
    const cop_matrix y = is_flat ? cop_fast_flat(args->y) : args->y;
    const float alpha = args->alpha;
    const float beta = args->beta;
    const cop_pieces pieces = cop_pieces_of(y);
#pragma omp parallel for schedule(static) if (pieces.count > COP_FAST_PARALLEL_MIN / COP_FAST_CHUNK)
    for (int64_t p = 0; p < pieces.count; p++) {
        float x_buffer[COP_FAST_CHUNK];
        float y_buffer[COP_FAST_CHUNK];
        const int64_t r = p / pieces.per_row;
        const int64_t c = p % pieces.per_row * COP_FAST_CHUNK;
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, y.cols - c);
        const float *from = cop_row_load(x, r, c, n, x_buffer);
        float *to = cop_row_target(y, r, c, y_buffer);
        if (beta != 0.0F) {
            const float *old = cop_row_load(y, r, c, n, y_buffer);
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                to[i] = alpha * from[i] + beta * old[i];
            }
        } else {
#pragma omp simd
            for (int64_t i = 0; i < n; i++) {
                to[i] = alpha * from[i];
            }
        }
        cop_row_store(y, r, c, n, to);
    }
}

void COP_FAST(bias_add)(const cop_bias_add_args *args)
{
    const cop_pieces pieces = cop_pieces_of(args->x);
#pragma omp parallel for schedule(static) if (pieces.count > COP_FAST_PARALLEL_MIN / COP_FAST_CHUNK)
    for (int64_t p = 0; p < pieces.count; p++) {
        float buffer[COP_FAST_CHUNK];
        const int64_t r = p / pieces.per_row;
        const int64_t c = p % pieces.per_row * COP_FAST_CHUNK;
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, args->x.cols - c);
        const float *bias = (const float *)args->bias.data + c;
        const float *x = cop_row_load(args->x, r, c, n, buffer);
        float *y = cop_row_target(args->x, r, c, buffer);
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            y[i] = x[i] + bias[i];
        }
        cop_row_store(args->x, r, c, n, y);
    }
}

// One head: [low | high] of n pairs each.
static inline void rotate(float *low, float *high, const float *cosine, const float *sine,
                          float sign, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float a = low[i];
        const float b = high[i];
        const float s = sign * sine[i];
        low[i] = a * cosine[i] - b * s;
        high[i] = b * cosine[i] + a * s;
    }
}

static inline void rotate_bf16(uint16_t *low, uint16_t *high, const float *cosine,
                               const float *sine, float sign, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float a = cop_bf16_to_f32(low[i]);
        const float b = cop_bf16_to_f32(high[i]);
        const float s = sign * sine[i];
        low[i] = cop_bf16_from_f32(a * cosine[i] - b * s);
        high[i] = cop_bf16_from_f32(b * cosine[i] + a * s);
    }
}

void COP_FAST(rope)(const cop_rope_args *args)
{
    const cop_matrix x = args->x;
    const int64_t pairs = args->cos.cols;
    const float sign = args->inverse ? -1.0F : 1.0F;
#pragma omp parallel for schedule(static) if (x.rows * x.cols > COP_FAST_PARALLEL_MIN)
    for (int64_t r = 0; r < x.rows; r++) {
        const int64_t t = r % args->sequence;
        const float *cosine = (const float *)args->cos.data + t * args->cos.stride;
        const float *sine = (const float *)args->sin.data + t * args->sin.stride;
        for (int64_t h = 0; h < args->heads; h++) {
            const int64_t at = r * x.stride + h * args->head_dim;
            if (x.dtype == COP_F32) {
                float *row = (float *)x.data + at;
                rotate(row, row + pairs, cosine, sine, sign, pairs);
            } else {
                uint16_t *row = (uint16_t *)x.data + at;
                rotate_bf16(row, row + pairs, cosine, sine, sign, pairs);
            }
        }
    }
}
