#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "search/surrogate_internal.h"

static const double LARGEST = 1e100;      // objectives beyond have no square
static const double WITHIN_50 = 0.67449;  // deviations to either side that hold half of a normal
static const double WITHIN_90 = 1.644854; // and nine tenths

static bool has_objectives(const cop_trial *trial, int objectives)
{
    if (trial->is_failed) {
        return false;
    }
    for (int j = 0; j < objectives; j++) {
        if (!(fabs(trial->objective[j]) < LARGEST)) {
            return false;
        }
    }
    return true;
}

static cop_status reserve_records(cop_surrogate_record *record, int64_t more, cop_error *err)
{
    if (record->count + more > record->capacity) {
        const int64_t capacity = 2 * record->capacity + more;
        cop_kendall_pair *grown = cop_realloc(record->pair, (size_t)capacity, sizeof *grown);
        if (grown == NULL) {
            return COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory");
        }
        record->pair = grown;
        record->capacity = capacity;
    }
    return COP_OK;
}

static void judge_one(cop_surrogate_record *record, cop_regression *model, const double *x,
                      double *root, double measured)
{
    cop_gaussian *gaussian = cop_regression_view_gaussian(model);
    double variance = 0.0;
    const double mean = cop_gaussian_predict(gaussian, x, root, &variance);
    const double gap = cop_regression_latent(model, measured) - mean;
    // Values a logarithm has no place for are as far off as can be.
    const double limit = 1e3;
    const double plain = gap * gap / (variance + cop_gaussian_noise(gaussian));
    const double square = plain < limit ? plain : limit;
    const double scaled = sqrt(square / record->scale);
    record->inside50 += scaled <= WITHIN_50 ? 1 : 0;
    record->inside90 += scaled <= WITHIN_90 ? 1 : 0;
    record->square[record->count % COP_SURROGATE_ERRORS] = square;
    record->pair[record->count].x = cop_regression_median(model, mean);
    record->pair[record->count].y = measured;
    record->count++;
}

static void rescale(cop_surrogate_record *record)
{
    const int64_t most = COP_SURROGATE_ERRORS;
    const int64_t n = record->count < most ? record->count : most;
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        sum += fmin(record->square[i], 25.0);
    }
    record->scale = fmin(fmax((10.0 + sum) / (10.0 + (double)n), 0.1), 10.0);
}

cop_status cop_surrogate_judge(cop_surrogate *self, const cop_trial *trials, int64_t count,
                               cop_error *err)
{
    cop_status status = COP_OK;
    double *x = NULL;
    double *root = NULL;
    int32_t *genome = self->proposals.genome;
    const size_t genome_bytes = (size_t)self->proposals.domain->axes * sizeof *genome;

    if (!cop_surrogate_can_model(self)) {
        return COP_OK;
    }
    COP_TRY(status, cop_surrogate_fit(self, err));
    x = cop_alloc((size_t)self->columns, sizeof *x);
    root = cop_alloc((size_t)self->learned_count, sizeof *root);
    if (x == NULL || root == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory"));
    }
    for (int j = 0; j < self->objectives; j++) {
        COP_TRY(status, reserve_records(&self->record[j], count, err));
    }
    for (int64_t i = 0; i < count; i++) {
        if (!has_objectives(&trials[i], self->objectives)) {
            continue;
        }
        memcpy(genome, trials[i].genome, genome_bytes);
        cop_domain_canonicalize(self->proposals.domain, genome);
        cop_surrogate_columns(self, genome, x);
        cop_surrogate_scale(self, x);
        for (int j = 0; j < self->objectives; j++) {
            if (!self->is_known[j]) {
                judge_one(&self->record[j], self->model[j], x, root, trials[i].objective[j]);
            }
        }
    }
    for (int j = 0; j < self->objectives; j++) {
        rescale(&self->record[j]);
    }

done:
    cop_free(x);
    cop_free(root);
    return status;
}

static cop_status reserve_data(cop_surrogate *self, int64_t more, cop_error *err)
{
    cop_surrogate_data *data = &self->data;
    if (data->count + more <= data->capacity) {
        return COP_OK;
    }
    const size_t capacity = (size_t)(2 * data->capacity + more);
    const size_t axes = (size_t)self->proposals.domain->axes;
    const size_t columns = self->columns > 0 ? (size_t)self->columns : 1;
    int32_t *genome = cop_realloc(data->genome, capacity * axes, sizeof *genome);
    data->genome = genome != NULL ? genome : data->genome;
    double *x = cop_realloc(data->x, capacity * columns, sizeof *x);
    data->x = x != NULL ? x : data->x;
    double *objective =
        cop_realloc(data->objective, capacity * (size_t)self->objectives, sizeof *objective);
    data->objective = objective != NULL ? objective : data->objective;
    double *violation = cop_realloc(data->violation, capacity, sizeof *violation);
    data->violation = violation != NULL ? violation : data->violation;
    bool *usable = cop_realloc(data->is_usable, capacity, sizeof *usable);
    data->is_usable = usable != NULL ? usable : data->is_usable;
    bool *feasible = cop_realloc(data->is_feasible, capacity, sizeof *feasible);
    data->is_feasible = feasible != NULL ? feasible : data->is_feasible;
    int64_t *learned = cop_realloc(self->learned, capacity, sizeof *learned);
    self->learned = learned != NULL ? learned : self->learned;
    if (genome == NULL || x == NULL || objective == NULL || violation == NULL || usable == NULL ||
        feasible == NULL || learned == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory");
    }
    data->capacity = (int64_t)capacity;
    return COP_OK;
}

cop_status cop_surrogate_add(cop_surrogate *self, const cop_trial *trials, int64_t count,
                             cop_error *err)
{
    cop_status status = COP_OK;
    cop_surrogate_data *data = &self->data;
    const cop_domain *domain = self->proposals.domain;

    COP_TRY(status, reserve_data(self, count, err));
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = data->count;
        int32_t *genome = data->genome + row * domain->axes;
        memcpy(genome, trials[i].genome, (size_t)domain->axes * sizeof *genome);
        cop_domain_canonicalize(domain, genome);
        cop_surrogate_columns(self, genome, data->x + row * self->columns);
        memcpy(data->objective + row * self->objectives, trials[i].objective,
               (size_t)self->objectives * sizeof(double));
        const bool is_usable = has_objectives(&trials[i], self->objectives);
        // Bounds known by formula are respected as such, not learned.
        const double known = cop_domain_violation(domain, genome);
        const double measured = fmax(0.0, trials[i].violation - known);
        data->is_usable[row] = is_usable;
        data->is_feasible[row] = is_usable && !(trials[i].violation > 0);
        data->violation[row] = is_usable ? measured : (double)INFINITY;
        data->usable += is_usable ? 1 : 0;
        data->count++;
    }
    self->are_models_current = false;

done:
    return status;
}
