#include "search/curve_fit.h"

#include <gsl/gsl_blas.h>
#include <gsl/gsl_cdf.h>
#include <gsl/gsl_multifit_nlinear.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { P = COP_CURVE_PARAMETERS, STARTS = 9, STARTS_TRIED = 3, ITERATIONS = 200 };

// The range of exponents. Below, a curve is a straight line over log t; above, a step.
static const double exponent_least = 1e-3;
static const double exponent_most = 20;

typedef struct points {
    int64_t count;
    double *log_tokens; // ln(t / last)
    double *loss;
    double *root; // of the weight
    double first; // ln(first / last)
    bool has_floor;
} points;

// (t^-c - last^-c) / (first^-c - last^-c): 1 at the first point, 0 at the last; and its slope by c.
static double shape(double c, double u, double first, double *slope)
{
    const double numerator = expm1(-c * u);
    const double denominator = expm1(-c * first);
    if (slope != NULL) {
        *slope =
            (-u * exp(-c * u) + first * exp(-c * first) * (numerator / denominator)) / denominator;
    }
    return numerator / denominator;
}

static double exponent_of(double parameter)
{
    return fmin(fmax(exp(parameter), exponent_least), exponent_most);
}

// The curve at u = ln(t / last), and its gradient by the parameters.
static double curve(const double *parameter, double u, double first, bool has_floor, double *slope)
{
    if (!has_floor) { // exp(p0) (t / last)^-c
        const double c = exponent_of(parameter[1]);
        const double value = exp(parameter[0] - c * u);
        slope[0] = value;
        slope[1] = -value * u * c;
        return value;
    }
    const double fall = exp(parameter[1]);
    const double c = exponent_of(parameter[2]);
    double by_exponent = 0;
    const double h = shape(c, u, first, &by_exponent);
    slope[0] = 1;
    slope[1] = fall * h;
    slope[2] = fall * by_exponent * c;
    return parameter[0] + fall * h;
}

static int residuals(const gsl_vector *x, void *data, gsl_vector *f)
{
    const points *p = data;
    double slope[P];
    for (int64_t i = 0; i < p->count; i++) {
        const double value = curve(x->data, p->log_tokens[i], p->first, p->has_floor, slope);
        gsl_vector_set(f, (size_t)i, p->root[i] * (value - p->loss[i]));
    }
    return GSL_SUCCESS;
}

static int jacobian(const gsl_vector *x, void *data, gsl_matrix *j)
{
    const points *p = data;
    double slope[P];
    for (int64_t i = 0; i < p->count; i++) {
        (void)curve(x->data, p->log_tokens[i], p->first, p->has_floor, slope);
        for (size_t k = 0; k < j->size2; k++) {
            gsl_matrix_set(j, (size_t)i, k, p->root[i] * slope[k]);
        }
    }
    return GSL_SUCCESS;
}

// A start: parameters, and the sum of squares there.
typedef struct start {
    double parameter[P];
    double squares;
    bool is_usable;
} start;

// With c given, level and fall are linear: two normal equations.
static start start_with_floor(const points *p, double c)
{
    double w = 0;
    double wh = 0;
    double whh = 0;
    double wy = 0;
    double why = 0;
    start out = {.squares = (double)INFINITY};
    for (int64_t i = 0; i < p->count; i++) {
        const double weight = p->root[i] * p->root[i];
        const double h = shape(c, p->log_tokens[i], p->first, NULL);
        w += weight;
        wh += weight * h;
        whh += weight * h * h;
        wy += weight * p->loss[i];
        why += weight * h * p->loss[i];
    }
    const double determinant = w * whh - wh * wh;
    const double fall = (w * why - wh * wy) / determinant;
    const double level = (wy - fall * wh) / w;
    // A fall that is rounding is none.
    if (!(determinant > 0) || !(fall > 1e-12 * fabs(level)) || !isfinite(level)) {
        return out;
    }
    out.squares = 0;
    for (int64_t i = 0; i < p->count; i++) {
        const double h = shape(c, p->log_tokens[i], p->first, NULL);
        const double error = p->root[i] * (level + fall * h - p->loss[i]);
        out.squares += error * error;
    }
    out.parameter[0] = level;
    out.parameter[1] = log(fall);
    out.parameter[2] = log(c);
    out.is_usable = true;
    return out;
}

// Without a floor: a straight line through the logarithms. Not for losses <= 0.
static start start_without_floor(const points *p)
{
    double w = 0;
    double wu = 0;
    double wuu = 0;
    double wy = 0;
    double wuy = 0;
    start out = {0};
    for (int64_t i = 0; i < p->count; i++) {
        if (p->loss[i] <= 0) {
            return out;
        }
        const double y = log(p->loss[i]);
        // The logarithm of a loss has its error divided by it.
        const double weight = p->root[i] * p->root[i] * p->loss[i] * p->loss[i];
        w += weight;
        wu += weight * p->log_tokens[i];
        wuu += weight * p->log_tokens[i] * p->log_tokens[i];
        wy += weight * y;
        wuy += weight * p->log_tokens[i] * y;
    }
    const double c = -(w * wuy - wu * wy) / (w * wuu - wu * wu);
    if (c > 0) {
        out.parameter[0] = (wy + c * wu) / w;
        out.parameter[1] = log(fmin(fmax(c, exponent_least), exponent_most));
        out.is_usable = true;
    }
    return out;
}

// Covariance and flags at the minimum that the workspace reached.
static void conclude(cop_curve_fit *out, const points *p, gsl_multifit_nlinear_workspace *w,
                     double squares, bool is_converged)
{
    const size_t n = p->has_floor ? P : P - 1;
    double memory[P * P] = {0};
    gsl_matrix_view covariance = gsl_matrix_view_array(memory, n, n);
    out->form = p->has_floor ? COP_CURVE_FLOOR : COP_CURVE_POWER;
    out->freedom = (double)p->count - (double)n;
    out->is_converged = is_converged;
    (void)gsl_multifit_nlinear_covar(gsl_multifit_nlinear_jac(w), 0, &covariance.matrix);
    const double variance = out->freedom > 0 ? squares / out->freedom : 0;
    out->scatter = sqrt(variance);
    for (size_t i = 0; i < n; i++) {
        out->parameter[i] = gsl_vector_get(gsl_multifit_nlinear_position(w), i);
        for (size_t k = 0; k < n; k++) {
            out->covariance[i][k] = variance * gsl_matrix_get(&covariance.matrix, i, k);
        }
    }
    out->exponent = exponent_of(out->parameter[n - 1]);
    const double error = sqrt(out->covariance[n - 1][n - 1]); // of log c
    out->is_identifiable = is_converged && out->freedom > 0 && 2 * error < log(7) &&
                           out->exponent > exponent_least * 1.01 &&
                           out->exponent < exponent_most * 0.99;
    const double last = pow(out->last, -out->exponent);
    if (p->has_floor) {
        out->scale = exp(out->parameter[1]) / (pow(out->first, -out->exponent) - last);
        out->floor = out->parameter[0] - out->scale * last;
    } else {
        out->scale = exp(out->parameter[0]) / last;
        out->floor = 0;
    }
}

// Descends from one start; keeps the result when it is the best so far.
static void descend(cop_curve_fit *out, double *best, points *p, const start *from,
                    gsl_multifit_nlinear_workspace *w)
{
    const size_t n = p->has_floor ? P : P - 1;
    gsl_multifit_nlinear_fdf problem = {
        .f = residuals, .df = jacobian, .n = (size_t)p->count, .p = n, .params = p};
    gsl_vector_const_view at = gsl_vector_const_view_array(from->parameter, n);
    double squares = 0;
    int info = 0;
    if (gsl_multifit_nlinear_init(&at.vector, &problem, w) != GSL_SUCCESS) {
        return;
    }
    const int rc = gsl_multifit_nlinear_driver(ITERATIONS, 1e-10, 1e-10, 0, NULL, NULL, &info, w);
    const gsl_vector *f = gsl_multifit_nlinear_residual(w);
    (void)gsl_blas_ddot(f, f, &squares);
    if (!isfinite(squares) || squares >= *best) {
        return;
    }
    *best = squares;
    // No progress: the minimum is reached to rounding.
    conclude(out, p, w, squares, rc == GSL_SUCCESS || rc == GSL_ENOPROG);
}

static cop_status fit_form(cop_curve_fit *out, points *p, bool has_floor, bool *is_done,
                           cop_error *err)
{
    static const double exponents[STARTS] = {0.01, 0.1, 0.2, 0.35, 0.5, 0.75, 1, 1.7, 4};
    start starts[STARTS] = {{{0}, 0, false}};
    const gsl_multifit_nlinear_parameters options = gsl_multifit_nlinear_default_parameters();
    double best = (double)INFINITY;
    p->has_floor = has_floor;
    *is_done = false;
    for (int s = 0; has_floor && s < STARTS; s++) {
        starts[s] = start_with_floor(p, exponents[s]);
    }
    if (!has_floor) {
        starts[0] = start_without_floor(p);
    }
    gsl_multifit_nlinear_workspace *w = gsl_multifit_nlinear_alloc(
        gsl_multifit_nlinear_trust, &options, (size_t)p->count, has_floor ? P : P - 1);
    if (w == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "learning curve: out of memory for %lld points",
                        (long long)p->count);
    }
    for (int tried = 0; tried < STARTS_TRIED; tried++) {
        start *least = NULL;
        for (int s = 0; s < STARTS; s++) {
            if (starts[s].is_usable && (least == NULL || starts[s].squares < least->squares)) {
                least = &starts[s];
            }
        }
        if (least != NULL) {
            descend(out, &best, p, least, w);
            least->is_usable = false;
        }
    }
    *is_done = isfinite(best);
    gsl_multifit_nlinear_free(w);
    return COP_OK;
}

static void fit_constant(cop_curve_fit *out, const points *p)
{
    double w = 0;
    double mean = 0;
    double squares = 0;
    for (int64_t i = 0; i < p->count; i++) {
        w += p->root[i] * p->root[i];
        mean += p->root[i] * p->root[i] * p->loss[i];
    }
    mean /= w;
    for (int64_t i = 0; i < p->count; i++) {
        const double error = p->root[i] * (p->loss[i] - mean);
        squares += error * error;
    }
    out->form = COP_CURVE_CONSTANT;
    out->freedom = (double)(p->count - 1);
    out->floor = mean;
    out->parameter[0] = mean;
    out->is_converged = true;
    if (p->count > 1) {
        out->scatter = sqrt(squares / out->freedom);
        out->covariance[0][0] = out->scatter * out->scatter / w;
    }
}

// Copies what is usable. Weights are scaled to a mean of 1, so that `scatter` is that of an average point.
static void take_points(points *p, cop_curve_fit *out, const double *tokens, const double *loss,
                        const double *weight, int64_t n)
{
    double weights = 0;
    out->first = (double)INFINITY;
    for (int64_t i = 0; i < n; i++) {
        const double w = weight == NULL ? 1 : weight[i];
        if (!isfinite(tokens[i]) || !isfinite(loss[i]) || !isfinite(w) || tokens[i] <= 0 ||
            w <= 0) {
            out->ignored++;
            continue;
        }
        p->log_tokens[p->count] = log(tokens[i]);
        p->loss[p->count] = loss[i];
        p->root[p->count++] = w;
        weights += w;
        out->first = fmin(out->first, tokens[i]);
        out->last = fmax(out->last, tokens[i]);
    }
    for (int64_t i = 0; i < p->count; i++) {
        p->log_tokens[i] -= log(out->last);
        p->root[i] = sqrt(p->root[i] * (double)p->count / weights);
    }
    p->first = p->count > 0 ? log(out->first) - log(out->last) : 0;
    out->points = p->count;
}

cop_status cop_curve_fit_make(cop_curve_fit *out, const double *tokens, const double *loss,
                              const double *weight, int64_t n, cop_error *err)
{
    cop_status status = COP_OK;
    points p = {0};
    bool is_done = false;
    *out = (cop_curve_fit){0};
    double *memory = cop_alloc((size_t)n + 1, 3 * sizeof *memory);
    if (memory == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "learning curve: out of memory for %lld points",
                        (long long)n);
    }
    p.log_tokens = memory;
    p.loss = memory + n;
    p.root = memory + 2 * n;
    take_points(&p, out, tokens, loss, weight, n);
    if (p.count == 0) {
        goto done;
    }
    if (p.first < 0 && p.count > P) {
        COP_TRY(status, fit_form(out, &p, true, &is_done, err));
    } else if (p.first < 0 && p.count > 1) {
        COP_TRY(status, fit_form(out, &p, false, &is_done, err));
    }
    if (!is_done) {
        fit_constant(out, &p);
    }
done:
    cop_free(memory);
    return status;
}

cop_curve_fit cop_curve_measured(double loss, double error)
{
    return (cop_curve_fit){.form = COP_CURVE_CONSTANT,
                           .points = 1,
                           .freedom = (double)INFINITY,
                           .floor = loss,
                           .parameter = {loss},
                           .scatter = error,
                           .is_converged = true};
}

cop_curve_prediction cop_curve_predict(const cop_curve_fit *fit, double tokens)
{
    const double nan = (double)NAN;
    cop_curve_prediction out = {nan, nan, nan, nan, fit->freedom};
    double slope[P] = {1, 0, 0};
    if (fit->form == COP_CURVE_NONE || !(tokens > 0)) {
        return out;
    }
    out.value = fit->parameter[0];
    if (fit->form != COP_CURVE_CONSTANT) {
        out.value = curve(fit->parameter, log(tokens) - log(fit->last),
                          log(fit->first) - log(fit->last), fit->form == COP_CURVE_FLOOR, slope);
    }
    double variance = fit->scatter * fit->scatter;
    for (int i = 0; i < P; i++) {
        for (int k = 0; k < P; k++) {
            variance += slope[i] * fit->covariance[i][k] * slope[k];
        }
    }
    if (fit->freedom <= 0) {
        out.error = (double)INFINITY;
        out.low = -(double)INFINITY;
        out.high = (double)INFINITY;
        return out;
    }
    const double t = isinf(fit->freedom) ? gsl_cdf_ugaussian_Pinv(0.975)
                                         : gsl_cdf_tdist_Pinv(0.975, fit->freedom);
    out.error = sqrt(variance);
    out.low = out.value - t * out.error;
    out.high = out.value + t * out.error;
    return out;
}

double cop_curve_probability(const cop_curve_fit *candidate, const cop_curve_fit *incumbent,
                             double tokens)
{
    const cop_curve_prediction a = cop_curve_predict(candidate, tokens);
    const cop_curve_prediction b = cop_curve_predict(incumbent, tokens);
    if (!isfinite(a.value) || !isfinite(b.value) || !isfinite(a.error) || !isfinite(b.error)) {
        return (double)NAN;
    }
    const double difference = b.value - a.value;
    const double u = a.error * a.error;
    const double v = b.error * b.error;
    if (!(u + v > 0)) {
        return difference > 0 ? 1 : difference < 0 ? 0 : 0.5;
    }
    const double spread = u / (u + v); // shares: squares of variances could underflow
    const double freedom =
        1 / (spread * spread / a.freedom + (1 - spread) * (1 - spread) / b.freedom);
    const double at = difference / sqrt(u + v);
    return isfinite(freedom) ? gsl_cdf_tdist_P(at, freedom) : gsl_cdf_ugaussian_P(at);
}

bool cop_curve_is_hopeless(const cop_curve_fit *candidate, const cop_curve_fit *incumbent,
                           double tokens)
{
    return candidate->is_converged && incumbent->is_converged &&
           cop_curve_probability(candidate, incumbent, tokens) < COP_CURVE_HOPELESS;
}

typedef struct place {
    double value;
    int64_t index;
} place;

static int by_value(const void *left, const void *right)
{
    const place *a = left;
    const place *b = right;
    if (a->value != b->value) {
        return a->value < b->value ? -1 : 1;
    }
    return (a->index > b->index) - (a->index < b->index);
}

cop_status cop_curve_kth(int64_t *out, const cop_curve_fit *fits, int64_t count, int64_t keep,
                         double tokens, cop_error *err)
{
    *out = -1;
    place *places = cop_alloc((size_t)count + 1, sizeof *places);
    if (places == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "learning curve: out of memory for %lld curves",
                        (long long)count);
    }
    int64_t known = 0;
    for (int64_t i = 0; i < count; i++) {
        const double value = cop_curve_predict(&fits[i], tokens).value;
        if (isfinite(value)) {
            places[known++] = (place){value, i};
        }
    }
    qsort(places, (size_t)known, sizeof *places, by_value);
    if (keep >= 1 && keep <= known) {
        *out = places[keep - 1].index;
    }
    cop_free(places);
    return COP_OK;
}
