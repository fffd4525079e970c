#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "search/surrogate_internal.h"

static const double LARGEST = 1e100; // features beyond have no square

cop_status cop_surrogate_init_columns(cop_surrogate *self, cop_error *err)
{
    const cop_domain *domain = self->proposals.domain;
    const size_t width = (size_t)domain->axes + (size_t)domain->features;
    self->axis = cop_alloc(width, sizeof *self->axis);
    self->is_word = cop_alloc(width, sizeof *self->is_word);
    self->low = cop_alloc(width, sizeof *self->low);
    self->span = cop_alloc(width, sizeof *self->span);
    self->features = cop_alloc((size_t)domain->features + 1, sizeof *self->features);
    if (self->axis == NULL || self->is_word == NULL || self->low == NULL || self->span == NULL ||
        self->features == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory");
    }
    int columns = 0;
    for (int axis = 0; axis < domain->axes; axis++) {
        if (domain->levels[axis] < 2) {
            continue;
        }
        double low = (double)INFINITY;
        double high = -(double)INFINITY;
        for (int32_t level = 0; level < domain->levels[axis]; level++) {
            const double value =
                domain->value == NULL ? level : domain->value(domain->context, axis, level);
            low = fmin(low, value);
            high = fmax(high, value);
        }
        self->axis[columns] = axis;
        self->is_word[columns] = !cop_domain_is_ordered(domain, axis);
        self->low[columns] = low;
        self->span[columns] = high > low ? high - low : 1.0;
        columns++;
    }
    self->axis_columns = columns;
    self->columns = columns + domain->features;
    for (int i = columns; i < self->columns; i++) {
        self->span[i] = 1.0;
    }
    return COP_OK;
}

void cop_surrogate_columns(cop_surrogate *self, const int32_t *genome, double *x)
{
    const cop_domain *domain = self->proposals.domain;
    for (int i = 0; i < self->axis_columns; i++) {
        const int axis = self->axis[i];
        if (self->is_word[i]) {
            x[i] = genome[axis];
            continue;
        }
        const double value = domain->value == NULL
                                 ? genome[axis]
                                 : domain->value(domain->context, axis, genome[axis]);
        x[i] = (value - self->low[i]) / self->span[i];
    }
    if (domain->features > 0) {
        domain->describe(domain->context, genome, self->features);
        for (int i = 0; i < domain->features; i++) {
            const double value = self->features[i];
            x[self->axis_columns + i] = isfinite(value) && fabs(value) < LARGEST ? value : 0.0;
        }
    }
}

void cop_surrogate_scale(const cop_surrogate *self, double *x)
{
    for (int i = self->axis_columns; i < self->columns; i++) {
        x[i] = (x[i] - self->low[i]) / self->span[i];
    }
}

static void measure_features(cop_surrogate *self)
{
    const cop_surrogate_data *data = &self->data;
    for (int c = self->axis_columns; c < self->columns; c++) {
        double low = (double)INFINITY;
        double high = -(double)INFINITY;
        for (int64_t i = 0; i < data->count; i++) {
            low = fmin(low, data->x[i * self->columns + c]);
            high = fmax(high, data->x[i * self->columns + c]);
        }
        self->low[c] = low;
        self->span[c] = high > low ? high - low : 1.0;
    }
}

bool cop_surrogate_can_model(const cop_surrogate *self)
{
    return self->data.usable >= 2 && self->columns > 0;
}

// --- Fitting --------------------------------------------------------------------------------------

// Rows of usable points, at most COP_SURROGATE_POINTS_MAX: half of them by front, the rest evenly.
static cop_status choose_rows(cop_surrogate *self, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_surrogate_data *data = &self->data;
    const size_t usable = (size_t)data->usable;
    cop_front_point *point = NULL;
    cop_front_point *scratch = NULL;
    int64_t *work = NULL;
    int64_t count = 0;
    const int64_t best = COP_SURROGATE_POINTS_MAX / 2;
    const int64_t others = COP_SURROGATE_POINTS_MAX - best;

    if (data->usable <= COP_SURROGATE_POINTS_MAX) {
        for (int64_t i = 0; i < data->count; i++) {
            if (data->is_usable[i]) {
                self->learned[count++] = i;
            }
        }
        self->learned_count = count;
        goto done;
    }
    point = cop_alloc(usable, sizeof *point);
    scratch = cop_alloc(usable, sizeof *scratch);
    work = cop_alloc(usable, sizeof *work);
    if (point == NULL || scratch == NULL || work == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory"));
    }
    for (int64_t i = 0; i < data->count; i++) {
        if (data->is_usable[i]) {
            point[count].index = i;
            memcpy(point[count].value, data->objective + i * self->objectives,
                   (size_t)self->objectives * sizeof(double));
            count++;
        }
    }
    cop_front_sort(point, count, self->objectives, scratch, work);
    for (int64_t i = 0; i < best; i++) {
        self->learned[i] = point[i].index;
    }
    for (int64_t i = 0; i < others; i++) {
        self->learned[best + i] = point[best + i * (count - best) / others].index;
    }
    self->learned_count = COP_SURROGATE_POINTS_MAX;

done:
    cop_free(point);
    cop_free(scratch);
    cop_free(work);
    return status;
}

static cop_status fit_objectives(cop_surrogate *self, double *x, double *y, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_surrogate_data *data = &self->data;

    COP_TRY(status, choose_rows(self, err));
    for (int64_t i = 0; i < self->learned_count; i++) {
        memcpy(x + i * self->columns, data->x + self->learned[i] * self->columns,
               (size_t)self->columns * sizeof *x);
        cop_surrogate_scale(self, x + i * self->columns);
    }
    for (int j = 0; j < self->objectives; j++) {
        if (self->is_known[j]) {
            continue;
        }
        for (int64_t i = 0; i < self->learned_count; i++) {
            y[i] = data->objective[self->learned[i] * self->objectives + j];
        }
        COP_TRY(status,
                cop_regression_fit(self->model[j], x, y, self->learned_count, data->usable, err));
    }

done:
    return status;
}

// Labels of the least-squares classification of Rasmussen & Williams, section 6.5, with a say of how far bounds
// are exceeded: feasible -1, failed 1, otherwise from 0.25 to 1.75 around the mean violation.
static cop_status fit_feasibility(cop_surrogate *self, double *x, double *y, cop_error *err)
{
    const cop_surrogate_data *data = &self->data;
    double scale = 0.0;
    int64_t violating = 0;
    int64_t bad = 0;
    for (int64_t i = 0; i < data->count; i++) {
        const double violation = data->violation[i];
        bad += violation > 0 ? 1 : 0;
        if (violation > 0 && isfinite(violation)) {
            scale += violation;
            violating++;
        }
    }
    self->has_feasibility = bad > 0;
    if (bad == 0) {
        return COP_OK;
    }
    scale = violating > 0 ? scale / (double)violating : 1.0;
    const int64_t most = COP_SURROGATE_POINTS_MAX;
    const int64_t count = data->count < most ? data->count : most;
    for (int64_t i = 0; i < count; i++) {
        const int64_t row = i * data->count / count;
        const double violation = data->violation[row];
        memcpy(x + i * self->columns, data->x + row * self->columns,
               (size_t)self->columns * sizeof *x);
        cop_surrogate_scale(self, x + i * self->columns);
        y[i] = !(violation > 0)   ? -1.0
               : isinf(violation) ? 1.0
                                  : 0.25 + 1.5 * violation / (violation + scale);
    }
    return cop_regression_fit(self->feasibility, x, y, count, data->count, err);
}

cop_status cop_surrogate_fit(cop_surrogate *self, cop_error *err)
{
    cop_status status = COP_OK;
    double *x = NULL;
    double *y = NULL;

    if (self->are_models_current) {
        return COP_OK;
    }
    const int64_t most = COP_SURROGATE_POINTS_MAX;
    const size_t rows = (size_t)(self->data.count < most ? self->data.count : most);
    x = cop_alloc(rows * (size_t)self->columns, sizeof *x);
    y = cop_alloc(rows, sizeof *y);
    if (x == NULL || y == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory"));
    }
    measure_features(self);
    COP_TRY(status, fit_objectives(self, x, y, err));
    COP_TRY(status, fit_feasibility(self, x, y, err));
    self->are_models_current = true;

done:
    cop_free(x);
    cop_free(y);
    return status;
}

void cop_surrogate_believed(cop_surrogate *self, int64_t row, int64_t position, double *value)
{
    const cop_surrogate_data *data = &self->data;
    for (int j = 0; j < self->objectives; j++) {
        value[j] = data->objective[row * self->objectives + j];
        if (!self->is_known[j] && position >= 0) {
            const cop_gaussian *gaussian = cop_regression_view_gaussian(self->model[j]);
            value[j] =
                cop_regression_median(self->model[j], cop_gaussian_mean_at(gaussian, position));
        }
    }
}
