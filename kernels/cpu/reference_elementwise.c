#include <math.h>
#include <string.h>

#include "kernels/cpu/reference.h"
#include "kernels/random.h"

static const double sqrt_half = 0.70710678118654752440;
static const double sqrt_2_over_pi = 0.79788456080286535588;
static const double inv_sqrt_2pi = 0.39894228040143267794;
static const double gelu_cubic = 0.044715;

static double activate(cop_activation kind, double x)
{
    switch (kind) {
    case COP_ACTIVATION_SILU: return x / (1.0 + exp(-x));
    case COP_ACTIVATION_RELU2: return x > 0.0 ? x * x : 0.0;
    case COP_ACTIVATION_GELU: return 0.5 * x * (1.0 + erf(x * sqrt_half));
    case COP_ACTIVATION_GELU_TANH:
        return 0.5 * x * (1.0 + tanh(sqrt_2_over_pi * (x + gelu_cubic * x * x * x)));
    }
    return 0.0;
}

static double activate_slope(cop_activation kind, double x)
{
    switch (kind) {
    case COP_ACTIVATION_SILU: {
        const double s = 1.0 / (1.0 + exp(-x));
        return s * (1.0 + x * (1.0 - s));
    }
    case COP_ACTIVATION_RELU2: return x > 0.0 ? 2.0 * x : 0.0;
    case COP_ACTIVATION_GELU:
        return 0.5 * (1.0 + erf(x * sqrt_half)) + x * inv_sqrt_2pi * exp(-0.5 * x * x);
    case COP_ACTIVATION_GELU_TANH: {
        const double t = tanh(sqrt_2_over_pi * (x + gelu_cubic * x * x * x));
        const double inner = sqrt_2_over_pi * (1.0 + 3.0 * gelu_cubic * x * x);
        return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner;
    }
    }
    return 0.0;
}

void cop_reference_activation_forward(const cop_activation_forward_args *args)
{
    for (int64_t r = 0; r < args->up.rows; r++) {
        for (int64_t c = 0; c < args->up.cols; c++) {
            const double up = cop_get(args->up, r, c);
            const bool is_gated = cop_has(args->gate);
            cop_put(args->y, r, c,
                    is_gated ? activate(args->kind, cop_get(args->gate, r, c)) * up
                             : activate(args->kind, up));
        }
    }
}

void cop_reference_activation_backward(const cop_activation_backward_args *args)
{
    for (int64_t r = 0; r < args->up.rows; r++) {
        for (int64_t c = 0; c < args->up.cols; c++) {
            const double up = cop_get(args->up, r, c);
            const double d_y = cop_get(args->d_y, r, c);
            if (cop_has(args->gate)) {
                const double gate = cop_get(args->gate, r, c);
                cop_put(args->d_gate, r, c, d_y * up * activate_slope(args->kind, gate));
                cop_put(args->d_up, r, c, d_y * activate(args->kind, gate));
            } else {
                cop_put(args->d_up, r, c, d_y * activate_slope(args->kind, up));
            }
        }
    }
}

void cop_reference_embedding_forward(const cop_embedding_forward_args *args)
{
    for (int64_t r = 0; r < args->y.rows; r++) {
        for (int64_t c = 0; c < args->y.cols; c++) {
            cop_put(args->y, r, c, cop_get(args->table, args->ids[r], c));
        }
    }
}

// Whether row r is the first of its id.
static bool is_first(const int32_t *ids, int64_t r)
{
    for (int64_t i = 0; i < r; i++) {
        if (ids[i] == ids[r]) {
            return false;
        }
    }
    return true;
}

// The sum of an id's rows is rounded once: bf16 would lose most of many small ones.
void cop_reference_embedding_backward(const cop_embedding_backward_args *args)
{
    const int32_t *ids = args->ids;
    for (int64_t r = 0; r < args->d_y.rows; r++) {
        if (args->d_table.dtype == COP_BF16 && !is_first(ids, r)) {
            continue;
        }
        for (int64_t c = 0; c < args->d_y.cols; c++) {
            double sum = cop_get(args->d_table, ids[r], c) + cop_get(args->d_y, r, c);
            for (int64_t i = r + 1; args->d_table.dtype == COP_BF16 && i < args->d_y.rows; i++) {
                sum += ids[i] == ids[r] ? cop_get(args->d_y, i, c) : 0.0;
            }
            cop_put(args->d_table, ids[r], c, sum);
        }
    }
}

void cop_reference_bias_add(const cop_bias_add_args *args)
{
    for (int64_t r = 0; r < args->x.rows; r++) {
        for (int64_t c = 0; c < args->x.cols; c++) {
            cop_put(args->x, r, c, cop_get(args->x, r, c) + cop_get(args->bias, 0, c));
        }
    }
}

void cop_reference_column_sum(const cop_column_sum_args *args)
{
    for (int64_t c = 0; c < args->x.cols; c++) {
        double sum = cop_get(args->sum, 0, c);
        for (int64_t r = 0; r < args->x.rows; r++) {
            sum += cop_get(args->x, r, c);
        }
        cop_put(args->sum, 0, c, sum);
    }
}

void cop_reference_add(const cop_add_args *args)
{
    for (int64_t r = 0; r < args->x.rows; r++) {
        for (int64_t c = 0; c < args->x.cols; c++) {
            double y = (double)args->alpha * cop_get(args->x, r, c);
            if (args->beta != 0.0F) {
                y += (double)args->beta * cop_get(args->y, r, c);
            }
            cop_put(args->y, r, c, y);
        }
    }
}

void cop_reference_convert(const cop_convert_args *args)
{
    for (int64_t r = 0; r < args->x.rows; r++) {
        for (int64_t c = 0; c < args->x.cols; c++) {
            cop_put(args->y, r, c, cop_get(args->x, r, c));
        }
    }
}

void cop_reference_gather(const cop_gather_args *args)
{
    for (int64_t r = 0; r < args->y.rows; r++) {
        const int64_t row = args->row_index != NULL ? args->row_index[r] : r;
        for (int64_t c = 0; c < args->y.cols; c++) {
            const int64_t col = args->col_index != NULL ? args->col_index[c] : c;
            cop_put(args->y, r, c, cop_get(args->x, row, col));
        }
    }
}

// What a step multiplies with, from the arguments or from the schedule in device memory.
typedef struct adamw_step {
    double rate;
    double correction1;
    double correction2;
    double clip;
    uint64_t key; // of random bits
} adamw_step;

static adamw_step step_of(const cop_adamw_args *args)
{
    const cop_adamw_schedule *schedule = args->schedule;
    adamw_step step = {.clip = 1.0};
    if (schedule != NULL) {
        step.rate = (double)schedule->learning_rate;
        step.correction1 = (double)schedule->correction1;
        step.correction2 = (double)schedule->correction2;
        step.key = cop_random_key(args->seed, schedule->step);
    } else {
        step.rate = (double)args->learning_rate;
        step.correction1 = 1.0 - pow((double)args->beta1, (double)args->step);
        step.correction2 = 1.0 - pow((double)args->beta2, (double)args->step);
        step.key = cop_random_key(args->seed, (uint64_t)args->step);
    }
    if (args->norm_squared != NULL && *args->norm_squared > 0.0) {
        step.clip = fmin(1.0, (double)args->max_norm / sqrt(*args->norm_squared));
    }
    return step;
}

// bf16 optimizer state and lone weights are rounded by random bits; everything else to nearest.
static void put_stochastic(cop_matrix m, int64_t r, int64_t c, double value, uint64_t bits)
{
    if (m.dtype != COP_BF16) {
        cop_put(m, r, c, value);
        return;
    }
    const float single = (float)value;
    uint32_t word;
    memcpy(&word, &single, sizeof word);
    ((uint16_t *)m.data)[r * m.stride + c] =
        cop_bf16_round_stochastic(word, (uint32_t)(bits & 0xffffu));
}

void cop_reference_adamw(const cop_adamw_args *args)
{
    const adamw_step step = step_of(args);
    const double b1 = (double)args->beta1;
    const double b2 = (double)args->beta2;
    const bool has_master = cop_has(args->parameter);
    const cop_matrix from = has_master ? args->parameter : args->working;
    for (int64_t r = 0; r < from.rows; r++) {
        for (int64_t c = 0; c < from.cols; c++) {
            const uint64_t index = (uint64_t)(args->first_index + r * from.cols + c);
            const uint64_t bits = cop_random_bits(step.key, index);
            const double g = cop_get(args->gradient, r, c) * step.clip;
            const double m = b1 * cop_get(args->m, r, c) + (1.0 - b1) * g;
            const double v = b2 * cop_get(args->v, r, c) + (1.0 - b2) * g * g;
            double p = cop_get(from, r, c);
            p -= step.rate *
                 (m / step.correction1 / (sqrt(v / step.correction2) + (double)args->eps) +
                  (double)args->weight_decay * p);
            put_stochastic(args->m, r, c, m, bits >> 16);
            put_stochastic(args->v, r, c, v, bits >> 32);
            if (has_master) {
                cop_put(args->parameter, r, c, p);
            }
            if (!has_master) {
                put_stochastic(args->working, r, c, p, bits);
            } else if (cop_has(args->working)) {
                cop_put(args->working, r, c, p);
            }
            if (args->zero_gradient) {
                cop_put(args->gradient, r, c, 0.0);
            }
        }
    }
}
