#include <math.h>

#include "kernels/cpu/fast_row.h"

// The constants of one step, in the form the inner loop wants.
typedef struct step {
    float clip;
    float b1;
    float b2;
    float rate;         // learning_rate / (1 - b1^step)
    float v_correction; // 1 / (1 - b2^step)
    float eps;
    float keep; // 1 - learning_rate * weight_decay
} step;

static step step_of(const cop_adamw_args *args)
{
    double clip = 1.0;
    if (args->norm_squared != NULL && *args->norm_squared > 0.0) {
        clip = fmin(1.0, (double)args->max_norm / sqrt(*args->norm_squared));
    }
    const double count = (double)args->step;
    const double rate = (double)args->learning_rate;
    return (step){
        .clip = (float)clip,
        .b1 = args->beta1,
        .b2 = args->beta2,
        .rate = (float)(rate / (1.0 - pow((double)args->beta1, count))),
        .v_correction = (float)(1.0 / (1.0 - pow((double)args->beta2, count))),
        .eps = args->eps,
        .keep = (float)(1.0 - rate * (double)args->weight_decay),
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
    const cop_pieces pieces = cop_pieces_of(a.parameter);
#pragma omp parallel for schedule(static) if (pieces.count > COP_FAST_PARALLEL_MIN / COP_FAST_CHUNK)
    for (int64_t p = 0; p < pieces.count; p++) {
        const int64_t r = p / pieces.per_row;
        const int64_t c = p % pieces.per_row * COP_FAST_CHUNK;
        const int64_t n = cop_fast_min(COP_FAST_CHUNK, a.parameter.cols - c);
        float *parameter = (float *)a.parameter.data + r * a.parameter.stride + c;
        update(&s, n, parameter, (float *)a.gradient.data + r * a.gradient.stride + c,
               (float *)a.m.data + r * a.m.stride + c, (float *)a.v.data + r * a.v.stride + c);
        if (a.zero_gradient) {
            float *gradient = (float *)a.gradient.data + r * a.gradient.stride + c;
            for (int64_t i = 0; i < n; i++) {
                gradient[i] = 0.0F;
            }
        }
        if (cop_fast_is_present(a.working)) {
            cop_row_store(a.working, r, c, n, parameter);
        }
    }
}
