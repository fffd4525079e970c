#include <math.h>
#include <string.h>

#include "kernels/cpu/fast_row.h"
#include "kernels/random.h"

// The constants of one step, in the form the inner loop wants.
typedef struct step {
    float clip;
    float b1;
    float b2;
    float rate;         // learning_rate / (1 - b1^step)
    float v_correction; // 1 / (1 - b2^step)
    float eps;
    float keep;   // 1 - learning_rate * weight_decay
    uint64_t key; // of random bits
} step;

static step step_of(const cop_adamw_args *args)
{
    double clip = 1.0;
    if (args->norm_squared != NULL && *args->norm_squared > 0.0) {
        clip = fmin(1.0, (double)args->max_norm / sqrt(*args->norm_squared));
    }
    const cop_adamw_schedule *schedule = args->schedule;
    const double count = (double)args->step;
    const double rate = (double)(schedule != NULL ? schedule->learning_rate : args->learning_rate);
    const double correction1 =
        schedule != NULL ? (double)schedule->correction1 : 1.0 - pow((double)args->beta1, count);
    const double correction2 =
        schedule != NULL ? (double)schedule->correction2 : 1.0 - pow((double)args->beta2, count);
    const uint64_t number = schedule != NULL ? schedule->step : (uint64_t)args->step;
    return (step){
        .clip = (float)clip,
        .b1 = args->beta1,
        .b2 = args->beta2,
        .rate = (float)(rate / correction1),
        .v_correction = (float)(1.0 / correction2),
        .eps = args->eps,
        .keep = (float)(1.0 - rate * (double)args->weight_decay),
        .key = cop_random_key(args->seed, number),
    };
}

static inline void update(const step *s, int64_t n, float *parameter, const float *gradient,
                          float *m, float *v)
{
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        const float g = gradient[i] * s->clip;
        const float m_new = s->b1 * m[i] + (1.0F - s->b1) * g;
        const float v_new = s->b2 * v[i] + (1.0F - s->b2) * g * g;
        m[i] = m_new;
        v[i] = v_new;
        parameter[i] =
            s->keep * parameter[i] - s->rate * m_new / (sqrtf(v_new * s->v_correction) + s->eps);
    }
}

// bf16 of n values, rounded by 16 of the random bits of each.
static inline void round_stochastic(const float *values, const uint64_t *random, int shift,
                                    uint16_t *to, int64_t n)
{
    uint32_t words[COP_FAST_CHUNK];
    memcpy(words, values, (size_t)n * sizeof *words);
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        to[i] = cop_bf16_round_stochastic(words[i], (uint32_t)(random[i] >> shift) & 0xffffu);
    }
}

// Elements [c, c + n) of row r. A buffer stands for what is not f32; lone weights are in p.
static void update_piece(const cop_adamw_args *a, const step *s, int64_t r, int64_t c, int64_t n)
{
    enum { P_SHIFT = 0, M_SHIFT = 16, V_SHIFT = 32 };

    float buffer[4][COP_FAST_CHUNK];
    uint64_t random[COP_FAST_CHUNK];
    const bool has_master = cop_fast_is_present(a->parameter);
    const bool is_narrow = a->m.dtype == COP_BF16;
    const cop_matrix from = has_master ? a->parameter : a->working;
    // What is f32 is updated where it lies: these point to the matrices themselves then.
    float *p = cop_row_target(from, r, c, buffer[0]);
    float *m = cop_row_target(a->m, r, c, buffer[1]);
    float *v = cop_row_target(a->v, r, c, buffer[2]);
    const float *g = cop_row_load(a->gradient, r, c, n, buffer[3]);
    (void)cop_row_load(from, r, c, n, buffer[0]);
    (void)cop_row_load(a->m, r, c, n, buffer[1]);
    (void)cop_row_load(a->v, r, c, n, buffer[2]);
    if (is_narrow || !has_master) {
        const uint64_t first = (uint64_t)(a->first_index + r * from.cols + c);
#pragma omp simd
        for (int64_t i = 0; i < n; i++) {
            random[i] = cop_random_bits(s->key, first + (uint64_t)i);
        }
    }
    update(s, n, p, g, m, v);
    if (is_narrow) {
        round_stochastic(m, random, M_SHIFT, (uint16_t *)a->m.data + r * a->m.stride + c, n);
        round_stochastic(v, random, V_SHIFT, (uint16_t *)a->v.data + r * a->v.stride + c, n);
    }
    if (!has_master) {
        round_stochastic(p, random, P_SHIFT, (uint16_t *)from.data + r * from.stride + c, n);
    } else if (cop_fast_is_present(a->working)) {
        cop_row_store(a->working, r, c, n, p);
    }
    if (a->zero_gradient) {
        const size_t bytes = cop_dtype_bytes(a->gradient.dtype);
        memset((char *)a->gradient.data + (size_t)(r * a->gradient.stride + c) * bytes, 0,
               (size_t)n * bytes);
    }
}

void COP_FAST(adamw)(const cop_adamw_args *args)
{
    const bool is_flat = cop_fast_is_dense(args->parameter) && cop_fast_is_dense(args->working) &&
                         cop_fast_is_dense(args->gradient) && cop_fast_is_dense(args->m) &&
                         cop_fast_is_dense(args->v);
    cop_adamw_args a = *args;
    if (is_flat) {
        a.parameter = cop_fast_flat(a.parameter);
        a.working = cop_fast_flat(a.working);
        a.gradient = cop_fast_flat(a.gradient);
        a.m = cop_fast_flat(a.m);
        a.v = cop_fast_flat(a.v);
    }
    const step s = step_of(args);
    const cop_pieces pieces = cop_pieces_of(a.gradient);
#pragma omp parallel for schedule(static) if (pieces.count > COP_FAST_PARALLEL_MIN / COP_FAST_CHUNK)
    for (int64_t p = 0; p < pieces.count; p++) {
        const int64_t c = p % pieces.per_row * COP_FAST_CHUNK;
        update_piece(&a, &s, p / pieces.per_row, c,
                     cop_fast_min(COP_FAST_CHUNK, a.gradient.cols - c));
    }
}
