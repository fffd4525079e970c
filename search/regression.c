#include "search/regression.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"

enum { PLAIN = 0, LOGARITHM, FORMS, FIRST_STEPS = 40, FURTHER_STEPS = 12 };

typedef struct form {
    cop_gaussian *gaussian;
    double mean;
    double scale;
} form;

struct cop_regression {
    form forms[FORMS];
    int chosen;
    int64_t learned; // points in all when parameters were last learned
    double *output;  // [capacity]: standardised
    int64_t capacity;
};

cop_status cop_regression_create(cop_regression **out, int columns, const bool *is_word,
                                 bool may_use_logarithm, cop_error *err)
{
    cop_status status = COP_OK;
    cop_regression *model = cop_alloc(1, sizeof *model);

    *out = NULL;
    if (model == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory"));
    }
    for (int i = 0; i < (may_use_logarithm ? FORMS : 1); i++) {
        COP_TRY(status, cop_gaussian_create(&model->forms[i].gaussian, columns, is_word, err));
    }
    *out = model;
    model = NULL;

done:
    cop_regression_destroy(model);
    return status;
}

void cop_regression_destroy(cop_regression *model)
{
    if (model != NULL) {
        for (int i = 0; i < FORMS; i++) {
            cop_gaussian_destroy(model->forms[i].gaussian);
        }
        cop_free(model->output);
        cop_free(model);
    }
}

static double transform(int which, double y)
{
    return which == PLAIN ? y : y > 0 ? log(y) : (double)NAN;
}

// Outputs of one form, standardised; *jacobian is the logarithm of their density's change of unit.
static void standardize(cop_regression *model, int which, const double *y, int64_t count,
                        double *jacobian)
{
    form *self = &model->forms[which];
    double mean = 0.0;
    *jacobian = 0.0;
    for (int64_t i = 0; i < count; i++) {
        model->output[i] = transform(which, y[i]);
        mean += model->output[i] / (double)count;
        *jacobian -= which == LOGARITHM ? model->output[i] : 0.0;
    }
    double variance = 0.0;
    for (int64_t i = 0; i < count; i++) {
        const double gap = model->output[i] - mean;
        variance += gap * gap / (double)count;
    }
    // A figure that never varies (but for rounding) has no scale of its own.
    const double least = 1e-12 * fabs(mean);
    const double deviation = sqrt(variance);
    self->mean = mean;
    self->scale = deviation > least ? deviation : 1.0;
    for (int64_t i = 0; i < count; i++) {
        model->output[i] = (model->output[i] - mean) / self->scale;
    }
    *jacobian -= (double)count * log(self->scale);
}

static cop_status fit_form(cop_regression *model, int which, const double *x, const double *y,
                           int64_t count, int steps, double *evidence, cop_error *err)
{
    cop_status status = COP_OK;
    cop_gaussian *gaussian = model->forms[which].gaussian;
    double jacobian = 0.0;

    standardize(model, which, y, count, &jacobian);
    COP_TRY(status, cop_gaussian_set(gaussian, x, model->output, count, err));
    if (steps > 0) {
        COP_TRY(status, cop_gaussian_learn(gaussian, steps, err));
    }
    COP_TRY(status, cop_gaussian_condition(gaussian, evidence, err));
    *evidence += jacobian;

done:
    return status;
}

static cop_status reserve(cop_regression *model, int64_t count, cop_error *err)
{
    if (count > model->capacity) {
        double *grown = cop_realloc(model->output, (size_t)(2 * count), sizeof *grown);
        if (grown == NULL) {
            return COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory");
        }
        model->output = grown;
        model->capacity = 2 * count;
    }
    return COP_OK;
}

cop_status cop_regression_fit(cop_regression *model, const double *x, const double *y,
                              int64_t count, int64_t total, cop_error *err)
{
    cop_status status = COP_OK;
    const bool is_settled = model->learned >= COP_REGRESSION_SETTLED;
    const bool is_learning = total * 8 >= model->learned * 9;
    const int steps = !is_learning ? 0 : model->learned == 0 ? FIRST_STEPS : FURTHER_STEPS;
    double evidence[FORMS] = {0};
    bool has_logarithm = model->forms[LOGARITHM].gaussian != NULL;

    COP_TRY(status, reserve(model, count, err));
    for (int64_t i = 0; i < count; i++) {
        has_logarithm = has_logarithm && y[i] > 0;
    }
    if (!has_logarithm) {
        model->chosen = PLAIN;
    }
    for (int i = 0; i < (has_logarithm ? FORMS : 1); i++) {
        if (i == model->chosen || (is_learning && !is_settled)) {
            COP_TRY(status, fit_form(model, i, x, y, count, steps, &evidence[i], err));
        }
    }
    if (is_learning) {
        if (has_logarithm && !is_settled) {
            model->chosen = evidence[LOGARITHM] > evidence[PLAIN] ? LOGARITHM : PLAIN;
        }
        model->learned = total;
    }

done:
    return status;
}

bool cop_regression_is_logarithmic(const cop_regression *model)
{
    return model->chosen == LOGARITHM;
}

cop_gaussian *cop_regression_view_gaussian(cop_regression *model)
{
    return model->forms[model->chosen].gaussian;
}

double cop_regression_latent(const cop_regression *model, double y)
{
    const form *self = &model->forms[model->chosen];
    return (transform(model->chosen, y) - self->mean) / self->scale;
}

double cop_regression_median(const cop_regression *model, double latent)
{
    const form *self = &model->forms[model->chosen];
    const double value = self->mean + self->scale * latent;
    return model->chosen == LOGARITHM ? exp(value) : value;
}

void cop_regression_moments(const cop_regression *model, double latent_mean, double latent_variance,
                            double *mean, double *deviation)
{
    const form *self = &model->forms[model->chosen];
    double variance = self->scale * self->scale * latent_variance;
    if (model->chosen == PLAIN) {
        *mean = self->mean + self->scale * latent_mean;
        *deviation = sqrt(variance);
        return;
    }
    // A log-normal of a larger variance has moments that nothing would ever be drawn near.
    variance = variance < 1.0 ? variance : 1.0;
    *mean = exp(self->mean + self->scale * latent_mean + 0.5 * variance);
    *deviation = *mean * sqrt(expm1(variance));
}
