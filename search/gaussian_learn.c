// The parameters of a Gaussian process: minus the log posterior, its gradient, and BFGS.

#include <gsl/gsl_errno.h>
#include <gsl/gsl_math.h>
#include <gsl/gsl_multimin.h>
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "search/gaussian_internal.h"

typedef struct learning {
    const cop_gaussian *model;
    int64_t count;    // points learned from
    double *x;        // [columns, count]
    double *y;        // [count]
    double *smooth;   // [count, count]: s² exp(…), lower triangle
    double *upper;    // [count, count]
    double *inverse;  // [count, count]: U⁻ᵀ, lower triangle
    double *alpha;    // [count]
    double *weight;   // [columns]
    double *point;    // [columns]
    double *gradient; // [columns + 2]
    double *theta;    // [columns + 2]
} learning;

static void release(learning *self)
{
    cop_free(self->x);
    cop_free(self->y);
    cop_free(self->smooth);
    cop_free(self->upper);
    cop_free(self->inverse);
    cop_free(self->alpha);
    cop_free(self->weight);
    cop_free(self->point);
    cop_free(self->gradient);
    cop_free(self->theta);
}

static cop_status init(learning *self, const cop_gaussian *model, cop_error *err)
{
    const int64_t most = COP_GAUSSIAN_FIT_POINTS;
    const int64_t count = model->count < most ? model->count : most;
    const size_t n = (size_t)count;
    const size_t width = (size_t)model->columns + 2;
    *self = (learning){.model = model,
                       .count = count,
                       .x = cop_alloc(width * n, sizeof(double)),
                       .y = cop_alloc(n, sizeof(double)),
                       .smooth = cop_alloc(n * n, sizeof(double)),
                       .upper = cop_alloc(n * n, sizeof(double)),
                       .inverse = cop_alloc(n * n, sizeof(double)),
                       .alpha = cop_alloc(n, sizeof(double)),
                       .weight = cop_alloc(width, sizeof(double)),
                       .point = cop_alloc(width, sizeof(double)),
                       .gradient = cop_alloc(width, sizeof(double)),
                       .theta = cop_alloc(width, sizeof(double))};
    if (self->x == NULL || self->y == NULL || self->smooth == NULL || self->upper == NULL ||
        self->inverse == NULL || self->alpha == NULL || self->weight == NULL ||
        self->point == NULL || self->gradient == NULL || self->theta == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory");
    }
    for (int64_t i = 0; i < count; i++) {
        const int64_t from = i * model->count / count;
        for (int d = 0; d < model->columns; d++) {
            self->x[d * count + i] = model->x[d * model->capacity + from];
        }
        self->y[i] = model->y[from];
    }
    return COP_OK;
}

// The lower triangle of `z` becomes U⁻ᵀ.
static void invert(const double *upper, int64_t n, double *z)
{
    memset(z, 0, (size_t)(n * n) * sizeof *z);
    for (int64_t k = 0; k < n; k++) {
        double *row = z + k * n;
        row[k] += 1.0;
        const double scale = 1.0 / upper[k * n + k];
        for (int64_t j = 0; j <= k; j++) {
            row[j] *= scale;
        }
        for (int64_t i = k + 1; i < n; i++) {
            const double factor = upper[k * n + i];
            double *other = z + i * n;
            for (int64_t j = 0; j <= k; j++) {
                other[j] -= factor * row[j];
            }
        }
    }
}

// The lower triangle of `out` becomes (α αᵀ - K⁻¹), K⁻¹ = Zᵀ Z.
static void fill_sensitivity(const learning *self, double *out)
{
    const int64_t n = self->count;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j <= i; j++) {
            out[i * n + j] = self->alpha[i] * self->alpha[j];
        }
    }
    for (int64_t k = 0; k < n; k++) {
        const double *row = self->inverse + k * n;
        for (int64_t i = 0; i <= k; i++) {
            const double factor = row[i];
            double *target = out + i * n;
            for (int64_t j = 0; j <= i; j++) {
                target[j] -= factor * row[j];
            }
        }
    }
}

static void add_gradient(learning *self, double noise, double *gradient)
{
    const cop_gaussian *model = self->model;
    const int64_t n = self->count;
    double *sensitivity = self->upper; // U has done its duty
    invert(self->upper, n, self->inverse);
    fill_sensitivity(self, sensitivity);
    double of_signal = 0.0;
    double of_noise = 0.0;
    for (int64_t i = 0; i < n; i++) {
        of_noise += sensitivity[i * n + i];
        of_signal += 0.5 * sensitivity[i * n + i] * self->smooth[i * n + i];
        double *row = sensitivity + i * n;
        for (int64_t j = 0; j < i; j++) {
            row[j] *= self->smooth[i * n + j];
            of_signal += row[j];
        }
        for (int d = 0; d < model->columns; d++) {
            const double *column = self->x + d * n;
            double sum = 0.0;
            for (int64_t j = 0; j < i; j++) {
                const double delta = model->is_word[d] ? (column[i] != column[j] ? 1.0 : 0.0)
                                                       : column[i] - column[j];
                sum += row[j] * (delta * delta);
            }
            gradient[d] += 0.5 * self->weight[d] * sum;
        }
    }
    gradient[model->columns] -= of_signal;
    gradient[model->columns + 1] -= 0.5 * noise * of_noise;
}

// Minus the log posterior of parameters `theta`, without the constant; +infinity where K is singular.
static double evaluate(learning *self, const double *theta, double *gradient)
{
    const cop_gaussian *model = self->model;
    const int64_t n = self->count;
    const double signal = exp(theta[model->columns]);
    const double noise = exp(theta[model->columns + 1]);
    const double floor = 1e-8 * (signal + COP_GAUSSIAN_CONSTANT);
    for (int d = 0; d < model->columns; d++) {
        self->weight[d] = exp(theta[d]);
    }
    for (int64_t i = 0; i < n; i++) {
        double *row = self->smooth + i * n;
        for (int d = 0; d < model->columns; d++) {
            self->point[d] = self->x[d * n + i];
        }
        cop_gaussian_distances(model, self->weight, self->x, n, self->point, i + 1, row);
        for (int64_t j = 0; j <= i; j++) {
            row[j] = signal * exp(-0.5 * row[j]);
            self->upper[j * n + i] = row[j] + COP_GAUSSIAN_CONSTANT;
        }
        self->upper[i * n + i] += noise + floor;
    }
    if (!cop_gaussian_factorize(self->upper, n)) {
        return (double)INFINITY;
    }
    memcpy(self->alpha, self->y, (size_t)n * sizeof *self->alpha);
    cop_gaussian_solve_transposed(self->upper, n, self->alpha);
    cop_gaussian_solve(self->upper, n, self->alpha);
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += 0.5 * self->y[i] * self->alpha[i] + log(self->upper[i * n + i]);
    }
    if (gradient != NULL) {
        memset(gradient, 0, (size_t)(model->columns + 2) * sizeof *gradient);
        add_gradient(self, noise, gradient);
    }
    return sum + cop_gaussian_prior(theta, model->columns, gradient);
}

// --- As GSL calls it ------------------------------------------------------------------------------

static void value_and_gradient(const gsl_vector *at, void *context, double *value, gsl_vector *out)
{
    learning *self = context;
    const size_t width = (size_t)self->model->columns + 2;
    for (size_t i = 0; i < width; i++) {
        self->theta[i] = gsl_vector_get(at, i);
    }
    const double result = evaluate(self, self->theta, out == NULL ? NULL : self->gradient);
    if (value != NULL) {
        *value = isfinite(result) ? result : 1e10;
    }
    for (size_t i = 0; out != NULL && i < width; i++) {
        gsl_vector_set(out, i, isfinite(result) ? self->gradient[i] : 0.0);
    }
}

static double value_only(const gsl_vector *at, void *context)
{
    double value = 0.0;
    value_and_gradient(at, context, &value, NULL);
    return value;
}

static void gradient_only(const gsl_vector *at, void *context, gsl_vector *out)
{
    value_and_gradient(at, context, NULL, out);
}

static void minimize(learning *self, gsl_multimin_fdfminimizer *minimizer, gsl_vector *at,
                     int steps)
{
    gsl_multimin_function_fdf function = {.f = value_only,
                                          .df = gradient_only,
                                          .fdf = value_and_gradient,
                                          .n = at->size,
                                          .params = self};
    if (gsl_multimin_fdfminimizer_set(minimizer, &function, at, 0.5, 0.1) != GSL_SUCCESS) {
        return;
    }
    double before = gsl_multimin_fdfminimizer_minimum(minimizer);
    for (int i = 0; i < steps; i++) {
        if (gsl_multimin_fdfminimizer_iterate(minimizer) != GSL_SUCCESS) {
            break;
        }
        const double now = gsl_multimin_fdfminimizer_minimum(minimizer);
        const bool is_flat = before - now < 1e-2;
        before = now;
        if (is_flat && i > 2) {
            break;
        }
    }
    gsl_vector_memcpy(at, gsl_multimin_fdfminimizer_x(minimizer));
}

cop_status cop_gaussian_learn(cop_gaussian *model, int steps, cop_error *err)
{
    cop_status status = COP_OK;
    learning self = {0};
    gsl_vector *at = NULL;
    gsl_multimin_fdfminimizer *minimizer = NULL;
    const size_t columns = (size_t)model->columns;

    COP_TRY(status, init(&self, model, err));
    at = gsl_vector_alloc(columns + 2);
    minimizer =
        gsl_multimin_fdfminimizer_alloc(gsl_multimin_fdfminimizer_vector_bfgs2, columns + 2);
    if (at == NULL || minimizer == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory"));
    }
    for (size_t d = 0; d < columns; d++) {
        gsl_vector_set(at, d, model->parameters.log_weight[d]);
    }
    gsl_vector_set(at, columns, model->parameters.log_signal);
    gsl_vector_set(at, columns + 1, model->parameters.log_noise);
    minimize(&self, minimizer, at, steps);
    for (size_t d = 0; d < columns; d++) {
        model->parameters.log_weight[d] = gsl_vector_get(at, d);
    }
    model->parameters.log_signal = gsl_vector_get(at, columns);
    model->parameters.log_noise = gsl_vector_get(at, columns + 1);

done:
    if (minimizer != NULL) {
        gsl_multimin_fdfminimizer_free(minimizer);
    }
    gsl_vector_free(at);
    release(&self);
    return status;
}
