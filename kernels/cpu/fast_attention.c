// Attention with f32 tiles: see kernels/cpu/attention.h.

#include <cblas.h>
#include <math.h>
#include <omp.h>
#include <string.h>

#include "kernels/cpu/attention.h"
#include "kernels/cpu/fast_math.h"
#include "kernels/cpu/fast_row.h"

enum { QUERIES = COP_ATTENTION_QUERIES, KEYS = COP_ATTENTION_KEYS };

// A team of one is no parallel region to OpenBLAS, which would then split the products of a single
// task over all threads, and with its Haswell kernels the bits depend on how they are split. The
// setting is that of the task: it ends with the region.
static inline void keep_products_on_this_thread(void)
{
    if (!omp_in_parallel()) {
        omp_set_num_threads(1);
    }
}

// An f32 view of [rows, head_dim] with its stride.
typedef struct tile {
    const float *data;
    int64_t stride;
} tile;

// Head columns [c, c + dim) of rows [r, r + rows): the matrix itself when it is f32, else
// converted into `buffer`.
static tile tile_of(cop_matrix m, int64_t r, int64_t rows, int64_t c, int64_t dim, float *buffer)
{
    if (m.dtype == COP_F32) {
        return (tile){.data = (const float *)m.data + r * m.stride + c, .stride = m.stride};
    }
    for (int64_t i = 0; i < rows; i++) {
        (void)cop_row_load(m, r + i, c, dim, buffer + i * dim);
    }
    return (tile){.data = buffer, .stride = dim};
}

// c = alpha * a bᵀ + beta * c: [m, k] x [n, k]
static void multiply_nt(int64_t m, int64_t n, int64_t k, float alpha, tile a, tile b, float beta,
                        float *c, int64_t c_stride)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)m, (blasint)n, (blasint)k, alpha,
                a.data, (blasint)a.stride, b.data, (blasint)b.stride, beta, c, (blasint)c_stride);
}

// c = a b + beta * c: [m, k] x [k, n]
static void multiply_nn(int64_t m, int64_t n, int64_t k, tile a, tile b, float beta, float *c,
                        int64_t c_stride)
{
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)m, (blasint)n, (blasint)k, 1.0F,
                a.data, (blasint)a.stride, b.data, (blasint)b.stride, beta, c, (blasint)c_stride);
}

// c += aᵀ b: [k, m] x [k, n]
static void multiply_tn(int64_t m, int64_t n, int64_t k, tile a, tile b, float *c, int64_t c_stride)
{
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (blasint)m, (blasint)n, (blasint)k, 1.0F,
                a.data, (blasint)a.stride, b.data, (blasint)b.stride, 1.0F, c, (blasint)c_stride);
}

static tile rows_from(tile t, int64_t row)
{
    return (tile){.data = t.data + row * t.stride, .stride = t.stride};
}

// Scores of one row become probabilities relative to the running maximum; the first `limit` keys
// are visible, the rest become 0. Returns by how much earlier sums must be scaled.
static float soften(float *score, int64_t limit, int64_t n, float *max, float *sum)
{
    float top = *max;
#pragma omp simd reduction(max : top)
    for (int64_t i = 0; i < limit; i++) {
        top = score[i] > top ? score[i] : top;
    }
    float added = 0.0F;
#pragma omp simd reduction(+ : added)
    for (int64_t i = 0; i < limit; i++) {
        const float p = cop_fast_exp(score[i] - top);
        score[i] = p;
        added += p;
    }
    for (int64_t i = limit; i < n; i++) {
        score[i] = 0.0F;
    }
    const float correction = *max == top ? 1.0F : cop_fast_exp(*max - top);
    *sum = *sum * correction + added;
    *max = top;
    return correction;
}

static inline void scale_row(float *x, float factor, int64_t n)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        x[i] *= factor;
    }
}

// Scratch of one thread.
typedef struct forward_area {
    float *k;
    float *v;
    float *q;
    float *o;
    float *score;
    float *max;
    float *sum;
} forward_area;

static forward_area forward_area_at(char *at, int64_t sequence, int64_t dim)
{
    const int64_t f = (int64_t)sizeof(float);
    forward_area area;
    area.k = cop_attention_carve(&at, sequence, dim, f);
    area.v = cop_attention_carve(&at, sequence, dim, f);
    area.q = cop_attention_carve(&at, QUERIES, dim, f);
    area.o = cop_attention_carve(&at, QUERIES, dim, f);
    area.score = cop_attention_carve(&at, QUERIES, KEYS, f);
    area.max = cop_attention_carve(&at, 1, QUERIES, f);
    area.sum = cop_attention_carve(&at, 1, QUERIES, f);
    return area;
}

// Queries [first, first + rows) of head h of sequence b.
static void forward_tile(const cop_attention_forward_args *args, const forward_area *area,
                         int64_t b, int64_t h, int64_t first, tile k, tile v)
{
    const int64_t dim = args->head_dim;
    const int64_t row = b * args->sequence + first;
    const int64_t rows = cop_fast_min(QUERIES, args->sequence - first);
    const tile q = tile_of(args->q, row, rows, h * dim, dim, area->q);
    memset(area->o, 0, (size_t)(rows * dim) * sizeof(float));
    for (int64_t i = 0; i < rows; i++) {
        area->max[i] = -INFINITY;
        area->sum[i] = 0.0F;
    }
    for (int64_t s = 0; s < first + rows; s += KEYS) {
        const int64_t n = cop_fast_min(KEYS, first + rows - s);
        multiply_nt(rows, n, dim, args->scale, q, rows_from(k, s), 0.0F, area->score, KEYS);
        for (int64_t i = 0; i < rows; i++) {
            const int64_t visible = first + i + 1 - s;
            const int64_t limit = visible < 0 ? 0 : cop_fast_min(n, visible);
            const float correction =
                soften(area->score + i * KEYS, limit, n, &area->max[i], &area->sum[i]);
            if (correction != 1.0F) {
                scale_row(area->o + i * dim, correction, dim);
            }
        }
        const tile p = {.data = area->score, .stride = KEYS};
        multiply_nn(rows, dim, n, p, rows_from(v, s), 1.0F, area->o, dim);
    }
    for (int64_t i = 0; i < rows; i++) {
        scale_row(area->o + i * dim, 1.0F / area->sum[i], dim);
        cop_row_store(args->o, row + i, h * dim, dim, area->o + i * dim);
        if (cop_fast_is_present(args->lse)) {
            float *lse = (float *)args->lse.data + (b * args->heads + h) * args->lse.stride;
            lse[first + i] = area->max[i] + logf(area->sum[i]);
        }
    }
}

void COP_FAST(attention_forward)(const cop_attention_forward_args *args)
{
    const int64_t tasks = args->batch * args->heads;
    const uint64_t slot_bytes = cop_attention_forward_slot(args->sequence, args->head_dim);
    const int64_t dim = args->head_dim;
    const int64_t per_group = args->heads / args->kv_heads;
    if (tasks == 0) {
        return;
    }
#pragma omp parallel for schedule(dynamic) num_threads(cop_attention_threads(tasks))
    for (int64_t task = 0; task < tasks; task++) {
        keep_products_on_this_thread();
        char *scratch = (char *)args->scratch + (uint64_t)omp_get_thread_num() * slot_bytes;
        const forward_area area = forward_area_at(scratch, args->sequence, dim);
        const int64_t b = task / args->heads;
        const int64_t h = task % args->heads;
        const int64_t row = b * args->sequence;
        const int64_t column = h / per_group * dim;
        const tile k = tile_of(args->k, row, args->sequence, column, dim, area.k);
        const tile v = tile_of(args->v, row, args->sequence, column, dim, area.v);
        for (int64_t first = 0; first < args->sequence; first += QUERIES) {
            forward_tile(args, &area, b, h, first, k, v);
        }
    }
}

typedef struct backward_area {
    float *k;
    float *v;
    float *d_k;
    float *d_v;
    float *q;
    float *d_o;
    float *d_q;
    float *p;   // scores, then probabilities
    float *d_p; // then gradients of the scores
    float *delta;
} backward_area;

static backward_area backward_area_at(char *at, int64_t sequence, int64_t dim)
{
    const int64_t f = (int64_t)sizeof(float);
    backward_area area;
    area.k = cop_attention_carve(&at, sequence, dim, f);
    area.v = cop_attention_carve(&at, sequence, dim, f);
    area.d_k = cop_attention_carve(&at, sequence, dim, f);
    area.d_v = cop_attention_carve(&at, sequence, dim, f);
    area.q = cop_attention_carve(&at, QUERIES, dim, f);
    area.d_o = cop_attention_carve(&at, QUERIES, dim, f);
    area.d_q = cop_attention_carve(&at, QUERIES, dim, f);
    area.p = cop_attention_carve(&at, QUERIES, KEYS, f);
    area.d_p = cop_attention_carve(&at, QUERIES, KEYS, f);
    area.delta = cop_attention_carve(&at, 1, QUERIES, f);
    return area;
}

static inline float dot(const float *x, const float *y, int64_t n)
{
    float sum = 0.0F;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        sum += x[i] * y[i];
    }
    return sum;
}

// Scores become probabilities and d_p the gradient of the scores before scaling.
static void backward_row(float *p, float *d_p, int64_t limit, int64_t n, float lse, float delta,
                         float scale)
{
#pragma omp simd
    for (int64_t i = 0; i < limit; i++) {
        const float probability = cop_fast_exp(p[i] - lse);
        d_p[i] = probability * (d_p[i] - delta) * scale;
        p[i] = probability;
    }
    for (int64_t i = limit; i < n; i++) {
        p[i] = 0.0F;
        d_p[i] = 0.0F;
    }
}

static void backward_tile(const cop_attention_backward_args *args, const backward_area *area,
                          int64_t b, int64_t h, int64_t first, tile k, tile v)
{
    const int64_t dim = args->head_dim;
    const int64_t row = b * args->sequence + first;
    const int64_t rows = cop_fast_min(QUERIES, args->sequence - first);
    const float *lse = (const float *)args->lse.data + (b * args->heads + h) * args->lse.stride;
    // d_q is free until the first block: o is only needed for delta.
    const tile o = tile_of(args->o, row, rows, h * dim, dim, area->d_q);
    const tile d_o = tile_of(args->d_o, row, rows, h * dim, dim, area->d_o);
    const tile q = tile_of(args->q, row, rows, h * dim, dim, area->q);
    for (int64_t i = 0; i < rows; i++) {
        area->delta[i] = dot(o.data + i * o.stride, d_o.data + i * d_o.stride, dim);
    }
    memset(area->d_q, 0, (size_t)(rows * dim) * sizeof(float));
    for (int64_t s = 0; s < first + rows; s += KEYS) {
        const int64_t n = cop_fast_min(KEYS, first + rows - s);
        const tile p = {.data = area->p, .stride = KEYS};
        const tile d_s = {.data = area->d_p, .stride = KEYS};
        multiply_nt(rows, n, dim, args->scale, q, rows_from(k, s), 0.0F, area->p, KEYS);
        multiply_nt(rows, n, dim, 1.0F, d_o, rows_from(v, s), 0.0F, area->d_p, KEYS);
        for (int64_t i = 0; i < rows; i++) {
            const int64_t visible = first + i + 1 - s;
            const int64_t limit = visible < 0 ? 0 : cop_fast_min(n, visible);
            backward_row(area->p + i * KEYS, area->d_p + i * KEYS, limit, n, lse[first + i],
                         area->delta[i], args->scale);
        }
        multiply_tn(n, dim, rows, p, d_o, area->d_v + s * dim, dim);
        multiply_tn(n, dim, rows, d_s, q, area->d_k + s * dim, dim);
        multiply_nn(rows, dim, n, d_s, rows_from(k, s), 1.0F, area->d_q, dim);
    }
    for (int64_t i = 0; i < rows; i++) {
        cop_row_store(args->d_q, row + i, h * dim, dim, area->d_q + i * dim);
    }
}

void COP_FAST(attention_backward)(const cop_attention_backward_args *args)
{
    const int64_t tasks = args->batch * args->kv_heads;
    const uint64_t slot_bytes = cop_attention_backward_slot(args->sequence, args->head_dim);
    const int64_t dim = args->head_dim;
    const int64_t per_group = args->heads / args->kv_heads;
    if (tasks == 0) {
        return;
    }
#pragma omp parallel for schedule(dynamic) num_threads(cop_attention_threads(tasks))
    for (int64_t task = 0; task < tasks; task++) {
        keep_products_on_this_thread();
        char *scratch = (char *)args->scratch + (uint64_t)omp_get_thread_num() * slot_bytes;
        const backward_area area = backward_area_at(scratch, args->sequence, dim);
        const int64_t b = task / args->kv_heads;
        const int64_t g = task % args->kv_heads;
        const int64_t row = b * args->sequence;
        const tile k = tile_of(args->k, row, args->sequence, g * dim, dim, area.k);
        const tile v = tile_of(args->v, row, args->sequence, g * dim, dim, area.v);
        memset(area.d_k, 0, (size_t)(args->sequence * dim) * sizeof(float));
        memset(area.d_v, 0, (size_t)(args->sequence * dim) * sizeof(float));
        for (int64_t h = g * per_group; h < (g + 1) * per_group; h++) {
            for (int64_t first = 0; first < args->sequence; first += QUERIES) {
                backward_tile(args, &area, b, h, first, k, v);
            }
        }
        for (int64_t t = 0; t < args->sequence; t++) {
            cop_row_store(args->d_k, row + t, g * dim, dim, area.d_k + t * dim);
            cop_row_store(args->d_v, row + t, g * dim, dim, area.d_v + t * dim);
        }
    }
}
