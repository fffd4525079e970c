#include <math.h>
#include <string.h>

#include "kernels/cpu/reference.h"

void cop_reference_rope(const cop_rope_args *args)
{
    const int64_t pairs = args->cos.cols;
    for (int64_t r = 0; r < args->x.rows; r++) {
        const int64_t t = r % args->sequence;
        for (int64_t h = 0; h < args->heads; h++) {
            for (int64_t i = 0; i < pairs; i++) {
                const int64_t at = h * args->head_dim + i;
                const double cosine = cop_get(args->cos, t, i);
                const double sine = cop_get(args->sin, t, i) * (args->inverse ? -1.0 : 1.0);
                const double low = cop_get(args->x, r, at);
                const double high = cop_get(args->x, r, at + pairs);
                cop_put(args->x, r, at, low * cosine - high * sine);
                cop_put(args->x, r, at + pairs, high * cosine + low * sine);
            }
        }
    }
}

// Dot product of head `h` of row r of x and head `g` of row s of y.
static double dot(cop_matrix x, int64_t r, int64_t h, cop_matrix y, int64_t s, int64_t g,
                  int64_t head_dim)
{
    double sum = 0.0;
    for (int64_t i = 0; i < head_dim; i++) {
        sum += cop_get(x, r, h * head_dim + i) * cop_get(y, s, g * head_dim + i);
    }
    return sum;
}

void cop_reference_attention_forward(const cop_attention_forward_args *args)
{
    const int64_t dim = args->head_dim;
    double *score = args->scratch; // [T]
    for (int64_t b = 0; b < args->batch; b++) {
        for (int64_t h = 0; h < args->heads; h++) {
            const int64_t g = h / (args->heads / args->kv_heads);
            const int64_t first = b * args->sequence;
            for (int64_t t = 0; t < args->sequence; t++) {
                double max = -HUGE_VAL;
                for (int64_t s = 0; s <= t; s++) {
                    score[s] = (double)args->scale *
                               dot(args->q, first + t, h, args->k, first + s, g, dim);
                    max = fmax(max, score[s]);
                }
                double sum = 0.0;
                for (int64_t s = 0; s <= t; s++) {
                    sum += exp(score[s] - max);
                }
                const double lse = max + log(sum);
                for (int64_t i = 0; i < dim; i++) {
                    double o = 0.0;
                    for (int64_t s = 0; s <= t; s++) {
                        o += exp(score[s] - lse) * cop_get(args->v, first + s, g * dim + i);
                    }
                    cop_put(args->o, first + t, h * dim + i, o);
                }
                if (cop_has(args->lse)) {
                    cop_put(args->lse, b * args->heads + h, t, lse);
                }
            }
        }
    }
}

// Adds what query row t of head h gives to d_k and d_v of its group, and writes its d_q.
static void attention_backward_row(const cop_attention_backward_args *args, int64_t b, int64_t h,
                                   int64_t t, double *d_k, double *d_v, double *d_q)
{
    const int64_t dim = args->head_dim;
    const int64_t g = h / (args->heads / args->kv_heads);
    const int64_t first = b * args->sequence;
    const double lse = cop_get(args->lse, b * args->heads + h, t);
    const double delta = dot(args->d_o, first + t, h, args->o, first + t, h, dim);
    memset(d_q, 0, (size_t)dim * sizeof *d_q);
    for (int64_t s = 0; s <= t; s++) {
        const double scale = (double)args->scale;
        const double p = exp(scale * dot(args->q, first + t, h, args->k, first + s, g, dim) - lse);
        const double d_p = dot(args->d_o, first + t, h, args->v, first + s, g, dim);
        const double d_s = p * (d_p - delta) * scale;
        for (int64_t i = 0; i < dim; i++) {
            d_v[s * dim + i] += p * cop_get(args->d_o, first + t, h * dim + i);
            d_k[s * dim + i] += d_s * cop_get(args->q, first + t, h * dim + i);
            d_q[i] += d_s * cop_get(args->k, first + s, g * dim + i);
        }
    }
    for (int64_t i = 0; i < dim; i++) {
        cop_put(args->d_q, first + t, h * dim + i, d_q[i]);
    }
}

void cop_reference_attention_backward(const cop_attention_backward_args *args)
{
    const int64_t dim = args->head_dim;
    const int64_t per_group = args->heads / args->kv_heads;
    double *d_k = args->scratch;              // [T, D]
    double *d_v = d_k + args->sequence * dim; // [T, D]
    double *d_q = d_v + args->sequence * dim; // [D]
    for (int64_t b = 0; b < args->batch; b++) {
        for (int64_t g = 0; g < args->kv_heads; g++) {
            memset(d_k, 0, (size_t)(2 * args->sequence * dim) * sizeof *d_k);
            for (int64_t h = g * per_group; h < (g + 1) * per_group; h++) {
                for (int64_t t = 0; t < args->sequence; t++) {
                    attention_backward_row(args, b, h, t, d_k, d_v, d_q);
                }
            }
            for (int64_t t = 0; t < args->sequence; t++) {
                for (int64_t i = 0; i < dim; i++) {
                    const int64_t row = b * args->sequence + t;
                    cop_put(args->d_k, row, g * dim + i, d_k[t * dim + i]);
                    cop_put(args->d_v, row, g * dim + i, d_v[t * dim + i]);
                }
            }
        }
    }
}
