// Attention with bf16 tiles and the AVX512_BF16 instructions: see kernels/cpu/attention.h.
// The products and the packing of their operands are in kernels/cpu/attention_bf16_tile.h.

#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/dtype.h"
#include "kernels/cpu/attention.h"
#include "kernels/cpu/attention_bf16_tile.h"
#include "kernels/cpu/fast_math.h"

static inline uint32_t bits_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

// bf16 in the upper half, to nearest even.
static inline uint32_t rounded(float x)
{
    const uint32_t bits = bits_of(x);
    return bits + 0x7fffU + ((bits >> 16) & 1U);
}

static void put_row(cop_matrix m, int64_t r, int64_t c, const float *values, float factor,
                    int64_t n)
{
    if (m.dtype == COP_F32) {
        float *to = (float *)m.data + r * m.stride + c;
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            to[i] = values[i] * factor;
        }
        return;
    }
    uint16_t *to = (uint16_t *)m.data + r * m.stride + c;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        to[i] = cop_bf16_from_f32(values[i] * factor);
    }
}

static inline int64_t min_i64(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// How many of n keys from s on the query at `position` sees.
static inline int64_t visible(int64_t position, int64_t s, int64_t n)
{
    const int64_t count = position + 1 - s;
    return count < 0 ? 0 : min_i64(count, n);
}

// Scratch of one thread in the forward pass.
typedef struct forward_area {
    uint16_t *k; // transposed
    uint16_t *v; // pairs of rows
    uint16_t *q; // rows
    uint16_t *p; // [TILE, KEYS]
    float *score;
    float *o; // [TILE, width]
    float *max;
    float *sum;
} forward_area;

enum { KEYS = COP_ATTENTION_KEYS_FORWARD };

static forward_area forward_area_at(char *at, int64_t sequence, int64_t dim)
{
    const int64_t rows = cop_attention_up(sequence, TILE);
    const int64_t width = cop_attention_up(dim, PANEL);
    forward_area area;
    area.k = cop_attention_carve(&at, rows, width, 2);
    area.v = cop_attention_carve(&at, rows, width, 2);
    area.q = cop_attention_carve(&at, TILE, width, 2);
    area.p = cop_attention_carve(&at, TILE, KEYS, 2);
    area.score = cop_attention_carve(&at, TILE, KEYS, 4);
    area.o = cop_attention_carve(&at, TILE, width, 4);
    area.max = cop_attention_carve(&at, 1, TILE, 4);
    area.sum = cop_attention_carve(&at, 1, TILE, 4);
    return area;
}

// Scores of one row into bf16 probabilities relative to the running maximum; returns by how much
// earlier sums must be scaled. max and sum are in units of scaled scores.
static float soften(const float *score, uint16_t *p, int64_t limit, int64_t n, float scale,
                    float *max, float *sum)
{
    float top = *max;
#pragma omp simd reduction(max : top)
    for (int64_t i = 0; i < limit; i++) {
        const float x = score[i] * scale;
        top = x > top ? x : top;
    }
    float added = 0.0F;
#pragma omp simd reduction(+ : added)
    for (int64_t i = 0; i < limit; i++) {
        const float x = cop_fast_exp(score[i] * scale - top);
        p[i] = (uint16_t)(rounded(x) >> 16);
        added += x;
    }
    memset(p + limit, 0, (size_t)(n - limit) * sizeof *p);
    const float correction = *max == top ? 1.0F : cop_fast_exp(*max - top);
    *sum = *sum * correction + added;
    *max = top;
    return correction;
}

static void forward_tile(const cop_attention_forward_args *args, const forward_area *area,
                         int64_t b, int64_t h, int64_t first)
{
    const int64_t dim = args->head_dim;
    const int64_t pairs = (dim + 1) / 2;
    const int64_t width = cop_attention_up(dim, PANEL);
    const int64_t row_pairs = cop_attention_up(args->sequence, TILE) / 2;
    const int64_t row = b * args->sequence + first;
    const int64_t rows = min_i64(TILE, args->sequence - first);
    const left q = {.data = area->q, .row = width, .pair = 2};
    const left p = {.data = area->p, .row = KEYS, .pair = 2};
    pack_rows(area->q, width, args->q, row, rows, h * dim, dim);
    memset(area->o, 0, (size_t)(TILE * width) * sizeof(float));
    memset(area->p, 0, (size_t)TILE * KEYS * sizeof *area->p);
    for (int64_t i = 0; i < rows; i++) {
        area->max[i] = -INFINITY;
        area->sum[i] = 0.0F;
    }
    for (int64_t s = 0; s < first + TILE; s += KEYS) {
        const int64_t n = min_i64(KEYS, first + TILE - s);
        multiply_keys(TILE, n, pairs, q, area->k + s * pairs * 2, area->score, KEYS);
        for (int64_t i = 0; i < rows; i++) {
            const float correction =
                soften(area->score + i * KEYS, area->p + i * KEYS, visible(first + i, s, n), n,
                       args->scale, &area->max[i], &area->sum[i]);
            float *o = area->o + i * width;
            for (int64_t c = 0; correction != 1.0F && c < dim; c++) {
                o[c] *= correction;
            }
        }
        multiply_head(TILE, dim, n / 2, p, area->v + s * PANEL, row_pairs, area->o, width);
    }
    for (int64_t i = 0; i < rows; i++) {
        put_row(args->o, row + i, h * dim, area->o + i * width, 1.0F / area->sum[i], dim);
        if (args->lse.data != NULL) {
            float *lse = (float *)args->lse.data + (b * args->heads + h) * args->lse.stride;
            lse[first + i] = area->max[i] + logf(area->sum[i]);
        }
    }
}

bool cop_attention_bf16_takes_forward(const cop_attention_forward_args *args)
{
    return args->q.dtype == COP_BF16 && args->k.dtype == COP_BF16 && args->v.dtype == COP_BF16;
}

// A task is a group of heads with their common keys, or, when groups are few, one head.
void cop_attention_bf16_forward(const cop_attention_forward_args *args)
{
    const int64_t dim = args->head_dim;
    const int64_t per_group = args->heads / args->kv_heads;
    const int slots = cop_attention_slots(args->batch * args->heads);
    const int64_t per_task = args->batch * args->kv_heads >= (int64_t)2 * slots ? per_group : 1;
    const int64_t tasks = args->batch * args->heads / per_task;
    const uint64_t slot_bytes = cop_attention_forward_slot(args->sequence, dim);
    if (tasks == 0) {
        return;
    }
#pragma omp parallel for schedule(dynamic) num_threads(cop_attention_threads(tasks))
    for (int64_t task = 0; task < tasks; task++) {
        char *scratch = (char *)args->scratch + (uint64_t)omp_get_thread_num() * slot_bytes;
        const forward_area area = forward_area_at(scratch, args->sequence, dim);
        const int64_t b = task * per_task / args->heads;
        const int64_t h = task * per_task % args->heads;
        const int64_t row = b * args->sequence;
        const int64_t column = h / per_group * dim;
        pack_transposed(area.k, args->k, row, args->sequence, column, dim);
        pack_pairs(area.v, cop_attention_up(args->sequence, TILE) / 2, args->v, row, args->sequence,
                   column, dim);
        for (int64_t i = 0; i < per_task; i++) {
            for (int64_t first = 0; first < args->sequence; first += TILE) {
                forward_tile(args, &area, b, h + i, first);
            }
        }
    }
}

enum { KEYS_BACK = COP_ATTENTION_KEYS_BACKWARD };

// Scratch of one thread in the backward pass.
typedef struct backward_area {
    uint16_t *k; // transposed
    uint16_t *v; // transposed
    uint16_t *k_pairs;
    float *d_k; // [rows, width]
    float *d_v;
    uint16_t *q; // rows
    uint16_t *d_o;
    uint16_t *q_pairs;
    uint16_t *d_o_pairs;
    float *d_q; // [TILE, width]
    float *score;
    float *d_p;
    uint16_t *p_pairs; // [TILE / 2, KEYS_BACK, 2]
    uint16_t *d_s_pairs;
    uint16_t *d_s; // [TILE, KEYS_BACK]
    float *lse;
    float *delta;
} backward_area;

static backward_area backward_area_at(char *at, int64_t sequence, int64_t dim)
{
    const int64_t rows = cop_attention_up(sequence, TILE);
    const int64_t width = cop_attention_up(dim, PANEL);
    backward_area area;
    area.k = cop_attention_carve(&at, rows, width, 2);
    area.v = cop_attention_carve(&at, rows, width, 2);
    area.k_pairs = cop_attention_carve(&at, rows, width, 2);
    area.d_k = cop_attention_carve(&at, rows, width, 4);
    area.d_v = cop_attention_carve(&at, rows, width, 4);
    area.q = cop_attention_carve(&at, TILE, width, 2);
    area.d_o = cop_attention_carve(&at, TILE, width, 2);
    area.q_pairs = cop_attention_carve(&at, TILE, width, 2);
    area.d_o_pairs = cop_attention_carve(&at, TILE, width, 2);
    area.d_q = cop_attention_carve(&at, TILE, width, 4);
    area.score = cop_attention_carve(&at, TILE, KEYS_BACK, 4);
    area.d_p = cop_attention_carve(&at, TILE, KEYS_BACK, 4);
    area.p_pairs = cop_attention_carve(&at, TILE, KEYS_BACK, 2);
    area.d_s_pairs = cop_attention_carve(&at, TILE, KEYS_BACK, 2);
    area.d_s = cop_attention_carve(&at, TILE, KEYS_BACK, 2);
    area.lse = cop_attention_carve(&at, 1, TILE, 4);
    area.delta = cop_attention_carve(&at, 1, TILE, 4);
    return area;
}

// Rows i and i + 1 of a block: probabilities and gradients of scores, as pairs of queries and, the
// latter, as rows too.
static void backward_rows(const backward_area *area, int64_t i, const int64_t limit[2], int64_t n,
                          float scale)
{
    const float *s0 = area->score + i * KEYS_BACK;
    const float *s1 = s0 + KEYS_BACK;
    const float *d0 = area->d_p + i * KEYS_BACK;
    const float *d1 = d0 + KEYS_BACK;
    uint16_t *d_s0 = area->d_s + i * KEYS_BACK;
    uint16_t *d_s1 = d_s0 + KEYS_BACK;
    uint16_t *p_pairs = area->p_pairs + i * KEYS_BACK;
    uint16_t *d_s_pairs = area->d_s_pairs + i * KEYS_BACK;
    const float lse0 = area->lse[i];
    const float lse1 = area->lse[i + 1];
    const float delta0 = area->delta[i];
    const float delta1 = area->delta[i + 1];
    const int32_t limit0 = (int32_t)limit[0];
    const int32_t limit1 = (int32_t)limit[1];
#pragma omp simd
    for (int32_t j = 0; j < (int32_t)n; j++) {
        const float p0 = j < limit0 ? cop_fast_exp(s0[j] * scale - lse0) : 0.0F;
        const float p1 = j < limit1 ? cop_fast_exp(s1[j] * scale - lse1) : 0.0F;
        const uint32_t x0 = rounded(p0 * (d0[j] - delta0) * scale);
        const uint32_t x1 = rounded(p1 * (d1[j] - delta1) * scale);
        const uint32_t p = (rounded(p0) >> 16) | (rounded(p1) & 0xffff0000U);
        const uint32_t x = (x0 >> 16) | (x1 & 0xffff0000U);
        memcpy(p_pairs + (ptrdiff_t)2 * j, &p, sizeof p);
        memcpy(d_s_pairs + (ptrdiff_t)2 * j, &x, sizeof x);
        d_s0[j] = (uint16_t)(x0 >> 16);
        d_s1[j] = (uint16_t)(x1 >> 16);
    }
}

// What a query tile needs before its blocks: operands in both forms, delta = Σ o d_o.
static void backward_load(const cop_attention_backward_args *args, const backward_area *area,
                          int64_t b, int64_t h, int64_t first, int64_t rows)
{
    const int64_t dim = args->head_dim;
    const int64_t width = cop_attention_up(dim, PANEL);
    const int64_t row = b * args->sequence + first;
    const float *lse = (const float *)args->lse.data + (b * args->heads + h) * args->lse.stride;
    pack_rows(area->q, width, args->q, row, rows, h * dim, dim);
    pack_rows(area->d_o, width, args->d_o, row, rows, h * dim, dim);
    pack_pairs(area->q_pairs, TILE / 2, args->q, row, rows, h * dim, dim);
    pack_pairs(area->d_o_pairs, TILE / 2, args->d_o, row, rows, h * dim, dim);
    memset(area->d_q, 0, (size_t)(TILE * width) * sizeof(float));
    for (int64_t i = 0; i < TILE; i++) {
        float delta = 0.0F;
        if (i < rows) {
            const uint16_t *o = row_of(args->o, row + i, h * dim);
            const uint16_t *d_o = row_of(args->d_o, row + i, h * dim);
#pragma omp simd reduction(+ : delta)
            for (int64_t c = 0; c < dim; c++) {
                delta += cop_bf16_to_f32(o[c]) * cop_bf16_to_f32(d_o[c]);
            }
        }
        area->delta[i] = delta;
        area->lse[i] = i < rows ? lse[first + i] : 0.0F;
    }
}

static void backward_tile(const cop_attention_backward_args *args, const backward_area *area,
                          int64_t b, int64_t h, int64_t first)
{
    const int64_t dim = args->head_dim;
    const int64_t pairs = (dim + 1) / 2;
    const int64_t width = cop_attention_up(dim, PANEL);
    const int64_t row_pairs = cop_attention_up(args->sequence, TILE) / 2;
    const int64_t rows = min_i64(TILE, args->sequence - first);
    const left q = {.data = area->q, .row = width, .pair = 2};
    const left d_o = {.data = area->d_o, .row = width, .pair = 2};
    const left d_s = {.data = area->d_s, .row = KEYS_BACK, .pair = 2};
    const left p_turned = {.data = area->p_pairs, .row = 2, .pair = (int64_t)2 * KEYS_BACK};
    const left d_s_turned = {.data = area->d_s_pairs, .row = 2, .pair = (int64_t)2 * KEYS_BACK};
    backward_load(args, area, b, h, first, rows);
    for (int64_t s = 0; s < first + TILE; s += KEYS_BACK) {
        const int64_t n = min_i64(KEYS_BACK, first + TILE - s);
        multiply_keys(TILE, n, pairs, q, area->k + s * pairs * 2, area->score, KEYS_BACK);
        multiply_keys(TILE, n, pairs, d_o, area->v + s * pairs * 2, area->d_p, KEYS_BACK);
        for (int64_t i = 0; i < TILE; i += 2) {
            const int64_t limit[2] = {
                i < rows ? visible(first + i, s, n) : 0,
                i + 1 < rows ? visible(first + i + 1, s, n) : 0,
            };
            backward_rows(area, i, limit, n, args->scale);
        }
        multiply_head(n, dim, TILE / 2, p_turned, area->d_o_pairs, TILE / 2, area->d_v + s * width,
                      width);
        multiply_head(n, dim, TILE / 2, d_s_turned, area->q_pairs, TILE / 2, area->d_k + s * width,
                      width);
        multiply_head(TILE, dim, n / 2, d_s, area->k_pairs + s * PANEL, row_pairs, area->d_q,
                      width);
    }
    for (int64_t i = 0; i < rows; i++) {
        put_row(args->d_q, b * args->sequence + first + i, h * dim, area->d_q + i * width, 1.0F,
                dim);
    }
}

bool cop_attention_bf16_takes_backward(const cop_attention_backward_args *args)
{
    return args->q.dtype == COP_BF16 && args->k.dtype == COP_BF16 && args->v.dtype == COP_BF16 &&
           args->o.dtype == COP_BF16 && args->d_o.dtype == COP_BF16;
}

void cop_attention_bf16_backward(const cop_attention_backward_args *args)
{
    const int64_t dim = args->head_dim;
    const int64_t sequence = args->sequence;
    const int64_t width = cop_attention_up(dim, PANEL);
    const int64_t padded = cop_attention_up(sequence, TILE);
    const int64_t per_group = args->heads / args->kv_heads;
    const int64_t tasks = args->batch * args->kv_heads;
    const uint64_t slot_bytes = cop_attention_backward_slot(sequence, dim);
    if (tasks == 0) {
        return;
    }
#pragma omp parallel for schedule(dynamic) num_threads(cop_attention_threads(tasks))
    for (int64_t task = 0; task < tasks; task++) {
        char *scratch = (char *)args->scratch + (uint64_t)omp_get_thread_num() * slot_bytes;
        const backward_area area = backward_area_at(scratch, sequence, dim);
        const int64_t b = task / args->kv_heads;
        const int64_t g = task % args->kv_heads;
        const int64_t row = b * sequence;
        pack_transposed(area.k, args->k, row, sequence, g * dim, dim);
        pack_transposed(area.v, args->v, row, sequence, g * dim, dim);
        pack_pairs(area.k_pairs, padded / 2, args->k, row, sequence, g * dim, dim);
        memset(area.d_k, 0, (size_t)(padded * width) * sizeof(float));
        memset(area.d_v, 0, (size_t)(padded * width) * sizeof(float));
        for (int64_t h = g * per_group; h < (g + 1) * per_group; h++) {
            for (int64_t first = 0; first < sequence; first += TILE) {
                backward_tile(args, &area, b, h, first);
            }
        }
        for (int64_t t = 0; t < sequence; t++) {
            put_row(args->d_k, row + t, g * dim, area.d_k + t * width, 1.0F, dim);
            put_row(args->d_v, row + t, g * dim, area.d_v + t * width, 1.0F, dim);
        }
    }
}
