#include "search/gaussian.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "search/gaussian_internal.h"

static const double NOISE_FLOOR = 1e-8; // of the kernel's diagonal
static const double LOG_SIGNAL_START = 1.0;
static const double LOG_NOISE_START = -6.0;

static double log_weight_prior(int columns)
{
    return -log(4.0 * (double)columns); // the length scale is 2 sqrt(columns)
}

double cop_gaussian_prior(const double *log_parameters, int columns, double *gradient)
{
    double sum = 0.0;
    for (int i = 0; i < columns + 2; i++) {
        const double mean = i < columns    ? log_weight_prior(columns)
                            : i == columns ? LOG_SIGNAL_START
                                           : LOG_NOISE_START;
        const double deviation = i < columns ? 1.0 : i == columns ? 2.0 : 3.0;
        const double z = (log_parameters[i] - mean) / deviation;
        sum += 0.5 * z * z;
        if (gradient != NULL) {
            gradient[i] += z / deviation;
        }
    }
    return sum;
}

cop_status cop_gaussian_create(cop_gaussian **out, int columns, const bool *is_word, cop_error *err)
{
    cop_status status = COP_OK;
    cop_gaussian *model = cop_alloc(1, sizeof *model);
    const size_t width = columns > 0 ? (size_t)columns : 1;

    *out = NULL;
    if (model == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory"));
    }
    model->columns = columns;
    model->is_word = cop_alloc(width, sizeof *model->is_word);
    model->weight = cop_alloc(width, sizeof *model->weight);
    model->parameters.log_weight = cop_alloc(width, sizeof *model->weight);
    if (model->is_word == NULL || model->weight == NULL || model->parameters.log_weight == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory"));
    }
    for (int i = 0; i < columns; i++) {
        model->is_word[i] = is_word != NULL && is_word[i];
        model->parameters.log_weight[i] = log_weight_prior(columns);
    }
    model->parameters.log_signal = LOG_SIGNAL_START;
    model->parameters.log_noise = LOG_NOISE_START;
    *out = model;
    model = NULL;

done:
    cop_gaussian_destroy(model);
    return status;
}

void cop_gaussian_destroy(cop_gaussian *model)
{
    if (model != NULL) {
        cop_free(model->is_word);
        cop_free(model->weight);
        cop_free(model->parameters.log_weight);
        cop_free(model->x);
        cop_free(model->y);
        cop_free(model->alpha);
        cop_free(model->upper);
        cop_free(model->row);
        cop_free(model);
    }
}

static cop_status reserve(cop_gaussian *model, int64_t count, cop_error *err)
{
    if (count <= model->capacity) {
        return COP_OK;
    }
    const size_t capacity = (size_t)(count + count / 2);
    const size_t width = model->columns > 0 ? (size_t)model->columns : 1;
    model->capacity = 0;
    cop_free(model->x);
    cop_free(model->y);
    cop_free(model->alpha);
    cop_free(model->row);
    model->x = cop_alloc(width * capacity, sizeof *model->x);
    model->y = cop_alloc(capacity, sizeof *model->y);
    model->alpha = cop_alloc(capacity, sizeof *model->alpha);
    model->row = cop_alloc(capacity, sizeof *model->row);
    if (model->x == NULL || model->y == NULL || model->alpha == NULL || model->row == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory");
    }
    model->capacity = (int64_t)capacity;
    return COP_OK;
}

cop_status cop_gaussian_set(cop_gaussian *model, const double *x, const double *y, int64_t count,
                            cop_error *err)
{
    cop_status status = COP_OK;

    model->count = 0;
    COP_TRY(status, reserve(model, count, err));
    for (int64_t i = 0; i < count; i++) {
        for (int d = 0; d < model->columns; d++) {
            model->x[d * model->capacity + i] = x[i * model->columns + d];
        }
        model->y[i] = y[i];
    }
    model->count = count;

done:
    return status;
}

cop_gaussian_parameters *cop_gaussian_view_parameters(cop_gaussian *model)
{
    return &model->parameters;
}

void cop_gaussian_distances(const cop_gaussian *model, const double *weight, const double *columns,
                            int64_t stride, const double *x, int64_t count, double *row)
{
    for (int64_t j = 0; j < count; j++) {
        row[j] = 0.0;
    }
    for (int d = 0; d < model->columns; d++) {
        const double *column = columns + d * stride;
        const double at = x[d];
        const double w = weight[d];
        if (model->is_word[d]) {
            for (int64_t j = 0; j < count; j++) {
                row[j] += column[j] != at ? w : 0.0;
            }
        } else {
            for (int64_t j = 0; j < count; j++) {
                const double delta = column[j] - at;
                row[j] += w * (delta * delta);
            }
        }
    }
}

// Rows in blocks of four: one pass over the rest of the matrix serves four of them.
bool cop_gaussian_factorize(double *matrix, int64_t n)
{
    for (int64_t start = 0; start < n; start += 4) {
        const int64_t end = start + 4 < n ? start + 4 : n;
        for (int64_t k = start; k < end; k++) {
            double *pivot_row = matrix + k * n;
            for (int64_t p = start; p < k; p++) {
                const double factor = matrix[p * n + k];
                for (int64_t j = k; j < n; j++) {
                    pivot_row[j] -= factor * matrix[p * n + j];
                }
            }
            if (!(pivot_row[k] > 0) || !isfinite(pivot_row[k])) {
                return false;
            }
            const double scale = 1.0 / sqrt(pivot_row[k]);
            for (int64_t j = k; j < n; j++) {
                pivot_row[j] *= scale;
            }
        }
        if (end - start < 4) {
            break;
        }
        const double *u0 = matrix + start * n;
        const double *u1 = u0 + n;
        const double *u2 = u1 + n;
        const double *u3 = u2 + n;
        for (int64_t i = end; i < n; i++) {
            double *row = matrix + i * n;
            for (int64_t j = i; j < n; j++) {
                row[j] -= u0[i] * u0[j] + u1[i] * u1[j] + (u2[i] * u2[j] + u3[i] * u3[j]);
            }
        }
    }
    return true;
}

void cop_gaussian_solve_transposed(const double *upper, int64_t n, double *b)
{
    for (int64_t k = 0; k < n; k++) {
        const double *row = upper + k * n;
        const double z = b[k] / row[k];
        b[k] = z;
        for (int64_t j = k + 1; j < n; j++) {
            b[j] -= z * row[j];
        }
    }
}

void cop_gaussian_solve(const double *upper, int64_t n, double *b)
{
    for (int64_t k = n - 1; k >= 0; k--) {
        const double *row = upper + k * n;
        double sum = b[k];
        for (int64_t j = k + 1; j < n; j++) {
            sum -= row[j] * b[j];
        }
        b[k] = sum / row[k];
    }
}

static void read_parameters(cop_gaussian *model)
{
    for (int d = 0; d < model->columns; d++) {
        model->weight[d] = exp(model->parameters.log_weight[d]);
    }
    model->signal = exp(model->parameters.log_signal);
    model->noise =
        exp(model->parameters.log_noise) + NOISE_FLOOR * (model->signal + COP_GAUSSIAN_CONSTANT);
}

static void fill_row(cop_gaussian *model, const double *x, int64_t count, double *row)
{
    cop_gaussian_distances(model, model->weight, model->x, model->capacity, x, count, row);
    for (int64_t j = 0; j < count; j++) {
        row[j] = COP_GAUSSIAN_CONSTANT + model->signal * exp(-0.5 * row[j]);
    }
}

static void fill_matrix(cop_gaussian *model, double *point)
{
    const int64_t n = model->count;
    for (int64_t i = 0; i < n; i++) {
        for (int d = 0; d < model->columns; d++) {
            point[d] = model->x[d * model->capacity + i];
        }
        fill_row(model, point, i + 1, model->row);
        for (int64_t j = 0; j <= i; j++) {
            model->upper[j * n + i] = model->row[j];
        }
        model->upper[i * n + i] += model->noise;
    }
}

cop_status cop_gaussian_condition(cop_gaussian *model, double *log_evidence, cop_error *err)
{
    enum { TRIES = 12 };

    cop_status status = COP_OK;
    const int64_t n = model->count;
    double *point = cop_alloc((size_t)(model->columns + 2), sizeof *point);

    if (n * n > model->upper_capacity) {
        cop_free(model->upper);
        model->upper_capacity = 0;
        model->upper = cop_alloc((size_t)model->capacity * (size_t)model->capacity, sizeof(double));
        model->upper_capacity = model->upper == NULL ? 0 : model->capacity * model->capacity;
    }
    if (point == NULL || model->upper == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory"));
    }
    read_parameters(model);
    for (int i = 0; i < TRIES; i++) {
        fill_matrix(model, point);
        if (cop_gaussian_factorize(model->upper, n)) {
            break;
        }
        model->noise *= 10;
    }
    memcpy(model->alpha, model->y, (size_t)n * sizeof *model->alpha);
    cop_gaussian_solve_transposed(model->upper, n, model->alpha);
    cop_gaussian_solve(model->upper, n, model->alpha);
    if (log_evidence != NULL) {
        double sum = 0.0;
        for (int64_t i = 0; i < n; i++) {
            sum += 0.5 * model->y[i] * model->alpha[i] + log(model->upper[i * n + i]);
        }
        for (int d = 0; d < model->columns; d++) {
            point[d] = model->parameters.log_weight[d];
        }
        point[model->columns] = model->parameters.log_signal;
        point[model->columns + 1] = model->parameters.log_noise;
        *log_evidence = -sum - cop_gaussian_prior(point, model->columns, NULL) -
                        0.5 * (double)n * log(2 * 3.14159265358979323846);
    }

done:
    cop_free(point);
    return status;
}

int64_t cop_gaussian_count(const cop_gaussian *model)
{
    return model->count;
}

double cop_gaussian_noise(const cop_gaussian *model)
{
    return model->noise;
}

double cop_gaussian_mean(cop_gaussian *model, const double *x)
{
    fill_row(model, x, model->count, model->row);
    double sum = 0.0;
    for (int64_t j = 0; j < model->count; j++) {
        sum += model->row[j] * model->alpha[j];
    }
    return sum;
}

// K α = y and K = k + σ² I: the noise-free mean there is y - σ² α.
double cop_gaussian_mean_at(const cop_gaussian *model, int64_t index)
{
    return model->y[index] - model->noise * model->alpha[index];
}

double cop_gaussian_predict(cop_gaussian *model, const double *x, double *root, double *variance)
{
    const int64_t n = model->count;
    const double mean = cop_gaussian_mean(model, x);
    memcpy(root, model->row, (size_t)n * sizeof *root);
    cop_gaussian_solve_transposed(model->upper, n, root);
    double explained = 0.0;
    for (int64_t j = 0; j < n; j++) {
        explained += root[j] * root[j];
    }
    const double rest = COP_GAUSSIAN_CONSTANT + model->signal - explained;
    *variance = rest > 0 ? rest : 0.0;
    return mean;
}

double cop_gaussian_kernel(const cop_gaussian *model, const double *x, const double *z)
{
    double distance = 0.0;
    for (int d = 0; d < model->columns; d++) {
        const double delta = model->is_word[d] ? (x[d] != z[d] ? 1.0 : 0.0) : x[d] - z[d];
        distance += model->weight[d] * delta * delta;
    }
    return COP_GAUSSIAN_CONSTANT + model->signal * exp(-0.5 * distance);
}
