#include <math.h>

#include "kernels/cpu/reference.h"
#include "kernels/random.h"

// out[v] = hidden[r] · head[v]
static void logits_of(double *out, cop_matrix hidden, cop_matrix head, int64_t r)
{
    for (int64_t v = 0; v < head.rows; v++) {
        out[v] = 0.0;
        for (int64_t c = 0; c < head.cols; c++) {
            out[v] += cop_get(hidden, r, c) * cop_get(head, v, c);
        }
    }
}

static double log_sum_exp(const double *x, int64_t count, double temperature)
{
    double max = -HUGE_VAL;
    for (int64_t v = 0; v < count; v++) {
        max = fmax(max, x[v] / temperature);
    }
    double sum = 0.0;
    for (int64_t v = 0; v < count; v++) {
        sum += exp(x[v] / temperature - max);
    }
    return max + log(sum);
}

// The lowest index of the largest value.
static int64_t argmax(const double *x, int64_t count)
{
    int64_t best = 0;
    for (int64_t v = 1; v < count; v++) {
        best = x[v] > x[best] ? v : best;
    }
    return best;
}

static double divergence(const double *z, const double *u, int64_t count, double temperature)
{
    const double lse_z = log_sum_exp(z, count, temperature);
    const double lse_u = log_sum_exp(u, count, temperature);
    double kl = 0.0;
    for (int64_t v = 0; v < count; v++) {
        const double log_p = u[v] / temperature - lse_u;
        kl += exp(log_p) * (log_p - (z[v] / temperature - lse_z));
    }
    return fmax(kl, 0.0);
}

// -entropy - Σ w log softmax(z) over the row's sample.
static double sampled_divergence(const cop_head_loss_args *args, int64_t r, const double *z)
{
    const int64_t samples = args->sample_weights.cols;
    const double lse = log_sum_exp(z, args->head.rows, 1.0);
    double sum = cop_has(args->sample_entropy) ? -cop_get(args->sample_entropy, 0, r) : 0.0;
    for (int64_t k = 0; k < samples; k++) {
        const int32_t id = args->sample_ids[r * samples + k];
        sum -= id >= 0 ? cop_get(args->sample_weights, r, k) * (z[id] - lse) : 0.0;
    }
    return sum;
}

// Statistics of one row; z and u are its logits.
static void put_row_losses(const cop_head_loss_args *args, int64_t r, const double *z,
                           const double *u)
{
    const int64_t vocab = args->head.rows;
    const int64_t target = args->targets != NULL ? args->targets[r] : -1;
    const bool has_teacher = cop_has(args->teacher_hidden);
    if (cop_has(args->cross_entropy)) {
        cop_put(args->cross_entropy, 0, r,
                target >= 0 ? log_sum_exp(z, vocab, 1.0) - z[target] : 0.0);
    }
    if (cop_has(args->teacher_cross_entropy)) {
        cop_put(args->teacher_cross_entropy, 0, r,
                target >= 0 ? log_sum_exp(u, vocab, 1.0) - u[target] : 0.0);
    }
    if (cop_has(args->kl)) {
        cop_put(args->kl, 0, r,
                has_teacher ? divergence(z, u, vocab, (double)args->temperature)
                            : sampled_divergence(args, r, z));
    }
    if (cop_has(args->agree)) {
        const int64_t wanted = has_teacher ? argmax(u, vocab) : target;
        cop_put(args->agree, 0, r, argmax(z, vocab) == wanted ? 1.0 : 0.0);
    }
}

// Replaces z by grad_scale * ∂loss/∂z. With s = softmax(z / τ): ∂(τ² KL)/∂z = τ (s - p).
static void logits_gradient(const cop_head_loss_args *args, int64_t r, double *z, const double *u)
{
    const int64_t vocab = args->head.rows;
    const int64_t target = args->targets != NULL ? args->targets[r] : -1;
    const double tau = (double)args->temperature;
    const bool has_teacher = cop_has(args->teacher_hidden);
    const bool has_sample = cop_has(args->sample_weights);
    const double lse = log_sum_exp(z, vocab, 1.0);
    const double lse_z = log_sum_exp(z, vocab, tau);
    const double lse_u = has_teacher ? log_sum_exp(u, vocab, tau) : 0.0;
    for (int64_t v = 0; v < vocab; v++) {
        double d_z = 0.0;
        if (target >= 0) {
            d_z += (double)args->ce_weight * (exp(z[v] - lse) - (v == target ? 1.0 : 0.0));
        }
        if (has_teacher) {
            d_z +=
                (double)args->kl_weight * tau * (exp(z[v] / tau - lse_z) - exp(u[v] / tau - lse_u));
        }
        if (has_sample) {
            d_z += (double)args->kl_weight * exp(z[v] - lse);
        }
        z[v] = d_z * (double)args->grad_scale;
    }
    for (int64_t k = 0; has_sample && k < args->sample_weights.cols; k++) {
        const int32_t id = args->sample_ids[r * args->sample_weights.cols + k];
        if (id >= 0) {
            z[id] -= (double)args->kl_weight * cop_get(args->sample_weights, r, k) *
                     (double)args->grad_scale;
        }
    }
}

void cop_reference_head_loss(const cop_head_loss_args *args)
{
    const int64_t vocab = args->head.rows;
    double *z = args->scratch; // [V]
    double *u = z + vocab;     // [V]
    for (int64_t r = 0; r < args->hidden.rows; r++) {
        logits_of(z, args->hidden, args->head, r);
        if (cop_has(args->teacher_hidden)) {
            logits_of(u, args->teacher_hidden, args->teacher_head, r);
        }
        put_row_losses(args, r, z, u);
        if (!cop_has(args->d_hidden)) {
            continue;
        }
        logits_gradient(args, r, z, u);
        for (int64_t c = 0; c < args->hidden.cols; c++) {
            double d_hidden = 0.0;
            for (int64_t v = 0; v < vocab; v++) {
                d_hidden += z[v] * cop_get(args->head, v, c);
            }
            cop_put(args->d_hidden, r, c, d_hidden);
        }
        for (int64_t v = 0; cop_has(args->d_head) && v < vocab; v++) {
            for (int64_t c = 0; c < args->hidden.cols; c++) {
                cop_put(args->d_head, v, c,
                        cop_get(args->d_head, v, c) + z[v] * cop_get(args->hidden, r, c));
            }
        }
    }
}

// Puts `id` among the ids [0, used) of a row, or counts it there: in its weight, which is divided by
// the draws afterwards. Returns the new `used`.
static int64_t count_draw(const cop_sample_targets_args *args, int64_t r, int64_t used, int32_t id)
{
    int32_t *ids = args->ids + r * args->draws;
    int64_t at = 0;
    while (at < used && ids[at] != id) {
        at++;
    }
    const double before = at < used ? cop_get(args->weights, r, at) : 0.0;
    ids[at] = id;
    cop_put(args->weights, r, at, before + 1.0);
    return at == used ? used + 1 : used;
}

void cop_reference_sample_targets(const cop_sample_targets_args *args)
{
    const int64_t vocab = args->head.rows;
    double *p = args->scratch; // [V]
    for (int64_t r = 0; r < args->hidden.rows; r++) {
        double entropy = 0.0;
        double total = 0.0;
        logits_of(p, args->hidden, args->head, r);
        const double lse = log_sum_exp(p, vocab, 1.0);
        for (int64_t v = 0; v < vocab; v++) {
            const double log_p = p[v] - lse;
            entropy -= exp(log_p) * log_p;
            total += exp(log_p);
            p[v] = total;
        }
        cop_put(args->entropy, 0, r, entropy);
        for (int64_t k = 0; k < args->draws; k++) {
            args->ids[r * args->draws + k] = -1;
            cop_put(args->weights, r, k, 0.0);
        }
        const uint64_t key = cop_random_key(args->seed, (uint64_t)(args->first_row + r));
        int64_t used = 0;
        for (int64_t k = 0; k < args->draws; k++) {
            const double wanted =
                (double)cop_random_uniform(cop_random_bits(key, (uint64_t)k)) * total;
            int64_t v = 0;
            while (v < vocab - 1 && !(p[v] > wanted)) {
                v++;
            }
            used = count_draw(args, r, used, (int32_t)v);
        }
        for (int64_t k = 0; k < used; k++) {
            cop_put(args->weights, r, k, cop_get(args->weights, r, k) / (double)args->draws);
        }
    }
}

typedef struct row_products {
    double xx;
    double xy;
    double yy;
} row_products;

static row_products products_of(cop_matrix x, cop_matrix y, int64_t r)
{
    row_products sum = {0};
    for (int64_t c = 0; c < x.cols; c++) {
        const double a = cop_get(x, r, c);
        const double b = cop_get(y, r, c);
        sum.xx += a * a;
        sum.xy += a * b;
        sum.yy += b * b;
    }
    return sum;
}

static double cosine_of(row_products sum)
{
    if (sum.xx == 0.0 || sum.yy == 0.0) {
        return sum.xx == sum.yy ? 1.0 : 0.0;
    }
    return sum.xy / (sqrt(sum.xx) * sqrt(sum.yy));
}

void cop_reference_state_loss(const cop_state_loss_args *args)
{
    const int64_t cols = args->student.cols;
    const double weight = (double)args->grad_scale;
    for (int64_t r = 0; r < args->student.rows; r++) {
        const row_products sum = products_of(args->student, args->teacher, r);
        const double cosine = cosine_of(sum);
        const bool is_flat = sum.xx == 0.0 || sum.yy == 0.0; // no direction: no gradient
        double squares = 0.0;
        for (int64_t c = 0; c < cols; c++) {
            const double s = cop_get(args->student, r, c);
            const double t = cop_get(args->teacher, r, c);
            squares += (s - t) * (s - t) / (double)cols;
            double d_s = 2.0 * (s - t) / (double)cols;
            if (args->kind == COP_STATE_LOSS_COSINE) {
                d_s = is_flat ? 0.0 : s * cosine / sum.xx - t / (sqrt(sum.xx) * sqrt(sum.yy));
            }
            if (cop_has(args->d_student)) {
                cop_put(args->d_student, r, c, d_s * weight);
            }
        }
        cop_put(args->loss, 0, r, args->kind == COP_STATE_LOSS_MSE ? squares : 1.0 - cosine);
    }
}

void cop_reference_row_cosine(const cop_row_cosine_args *args)
{
    for (int64_t r = 0; r < args->x.rows; r++) {
        *args->sum += cosine_of(products_of(args->x, args->y, r));
    }
}

void cop_reference_sum_squares(const cop_sum_squares_args *args)
{
    for (int64_t r = 0; r < args->x.rows; r++) {
        for (int64_t c = 0; c < args->x.cols; c++) {
            const double x = cop_get(args->x, r, c);
            *args->sum += x * x;
        }
    }
}

void cop_reference_sequence_moments(const cop_sequence_moments_args *args)
{
    const int64_t units = args->x.cols / args->group;
    for (int64_t r = 0; r < args->x.rows; r++) {
        double *out = args->out + r / args->sequence * 3 * units;
        for (int64_t u = 0; u < units; u++) {
            double s = cop_get(args->x, r, u * args->group);
            if (args->group > 1) {
                double squares = 0.0;
                for (int64_t i = 0; i < args->group; i++) {
                    const double x = cop_get(args->x, r, u * args->group + i);
                    squares += x * x;
                }
                s = sqrt(squares);
            }
            out[u] += fabs(s);
            out[units + u] += s * s;
            out[2 * units + u] += s;
        }
    }
}
