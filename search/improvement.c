#include "search/improvement.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"

static const double REACH = 6.0; // deviations beyond which a normal variable is certain

enum { CELLS = 2048 }; // of the table of probabilities from -REACH to REACH

struct cop_improvement {
    int objectives;
    double reference[COP_FRONT_OBJECTIVES_MAX];
    double *point; // [count, objectives]; sorted by the first objective when there are two
    int64_t count;
    int64_t capacity;
    double *draw; // [draws, objectives]
    int64_t draws;
    double draw_volume; // that one draw stands for
    double
        probability[CELLS + 1]; // of a normal variable below; filled for three objectives and more
};

static double normal_probability(double z)
{
    static const double SQRT_HALF = 0.70710678118654752440;
    return z > REACH ? 1.0 : z < -REACH ? 0.0 : 0.5 * erfc(-z * SQRT_HALF);
}

cop_status cop_improvement_create(cop_improvement **out, int objectives, const double *reference,
                                  cop_error *err)
{
    cop_improvement *self = cop_alloc(1, sizeof *self);
    *out = self;
    if (self == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory");
    }
    self->objectives = objectives;
    memcpy(self->reference, reference, (size_t)objectives * sizeof *reference);
    for (int i = 0; objectives > 2 && i <= CELLS; i++) {
        self->probability[i] = normal_probability(REACH * (2.0 * i / CELLS - 1.0));
    }
    return COP_OK;
}

void cop_improvement_destroy(cop_improvement *self)
{
    if (self != NULL) {
        cop_free(self->point);
        cop_free(self->draw);
        cop_free(self);
    }
}

int64_t cop_improvement_count(const cop_improvement *self)
{
    return self->count;
}

// Nowhere worse: also of equal points.
static bool covers(const double *a, const double *b, int objectives)
{
    for (int j = 0; j < objectives; j++) {
        if (a[j] > b[j]) {
            return false;
        }
    }
    return true;
}

static bool is_useless(const cop_improvement *self, const double *value)
{
    for (int j = 0; j < self->objectives; j++) {
        if (!(value[j] < self->reference[j])) {
            return true;
        }
    }
    for (int64_t i = 0; i < self->count; i++) {
        if (covers(self->point + i * self->objectives, value, self->objectives)) {
            return true;
        }
    }
    return false;
}

// Removes the rows [count, objectives] that `value` covers, in place; returns how many are left.
static int64_t remove_covered(double *rows, int64_t count, int objectives, const double *value)
{
    const size_t bytes = (size_t)objectives * sizeof *rows;
    int64_t left = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!covers(value, rows + i * objectives, objectives)) {
            if (left != i) {
                memcpy(rows + left * objectives, rows + i * objectives, bytes);
            }
            left++;
        }
    }
    return left;
}

cop_status cop_improvement_add(cop_improvement *self, const double *value, cop_error *err)
{
    const int m = self->objectives;
    if (is_useless(self, value)) {
        return COP_OK;
    }
    if (self->count == self->capacity) {
        const int64_t capacity = self->capacity == 0 ? 64 : 2 * self->capacity;
        double *grown = cop_realloc(self->point, (size_t)(capacity * m), sizeof *grown);
        if (grown == NULL) {
            return COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory");
        }
        self->point = grown;
        self->capacity = capacity;
    }
    self->count = remove_covered(self->point, self->count, m, value);
    self->draws = remove_covered(self->draw, self->draws, m, value);
    int64_t at = self->count;
    while (at > 0 && self->point[(at - 1) * m] > value[0]) {
        memcpy(self->point + at * m, self->point + (at - 1) * m, (size_t)m * sizeof *value);
        at--;
    }
    memcpy(self->point + at * m, value, (size_t)m * sizeof *value);
    self->count++;
    return COP_OK;
}

cop_status cop_improvement_draw(cop_improvement *self, const double *ideal, int64_t limit,
                                cop_rng *rng, cop_error *err)
{
    const int m = self->objectives;
    if (m < 3) {
        return COP_OK;
    }
    cop_free(self->draw);
    self->draws = 0;
    self->draw = cop_alloc((size_t)(limit * m), sizeof *self->draw);
    if (self->draw == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory");
    }
    double volume = 1.0;
    for (int j = 0; j < m; j++) {
        volume *= self->reference[j] > ideal[j] ? self->reference[j] - ideal[j] : 0.0;
    }
    int64_t tried = 0;
    while (self->draws < limit && tried < 32 * limit) {
        double *draw = self->draw + self->draws * m;
        for (int j = 0; j < m; j++) {
            draw[j] = ideal[j] + (self->reference[j] - ideal[j]) * cop_rng_uniform(rng);
        }
        tried++;
        self->draws += is_useless(self, draw) ? 0 : 1;
    }
    self->draw_volume = volume / (double)tried;
    return COP_OK;
}

// E[max(0, t - Y)] of Y normal: how far Y is expected to stay below t.
static double expected_gap(double t, double mean, double deviation)
{
    static const double SQRT_TWO_PI = 2.50662827463100050242;
    const double gap = t - mean;
    if (gap >= REACH * deviation) {
        return gap > 0 ? gap : 0.0;
    }
    if (gap <= -REACH * deviation) {
        return 0.0;
    }
    const double z = gap / deviation;
    return gap * normal_probability(z) + deviation * exp(-0.5 * z * z) / SQRT_TWO_PI;
}

// Strip i lies between the first objectives of points i - 1 and i (the reference behind the last), and reaches up to the
// second objective of point i - 1 (the reference before the first).
static double expected_in_strips(const cop_improvement *self, const double *mean,
                                 const double *deviation)
{
    const double least = mean[0] - REACH * deviation[0];
    int64_t first = 0; // strips that end before `least` are out of reach
    int64_t end = self->count;
    while (first < end) {
        const int64_t middle = (first + end) / 2;
        if (self->point[2 * middle] <= least) {
            first = middle + 1;
        } else {
            end = middle;
        }
    }
    double sum = 0.0;
    double before =
        first == 0 ? 0.0 : expected_gap(self->point[2 * first - 2], mean[0], deviation[0]);
    for (int64_t i = first; i <= self->count; i++) {
        const double ceiling = i == 0 ? self->reference[1] : self->point[2 * i - 1];
        const double height = expected_gap(ceiling, mean[1], deviation[1]);
        if (height <= 0) {
            break; // ceilings fall from strip to strip
        }
        const double right = i == self->count ? self->reference[0] : self->point[2 * i];
        const double gap = expected_gap(right, mean[0], deviation[0]);
        sum += (gap - before) * height;
        before = gap;
    }
    return sum;
}

// Interpolated: off by 2e-6 at most, far below what the draws are off by. |z| < REACH.
static double probability_below(const cop_improvement *self, double z)
{
    const double place = (z + REACH) * (CELLS / (2 * REACH));
    const int cell = (int)place;
    const double left = self->probability[cell];
    return left + (place - cell) * (self->probability[cell + 1] - left);
}

static double expected_by_draws(const cop_improvement *self, const double *mean,
                                const double *deviation)
{
    const int m = self->objectives;
    double sum = 0.0;
    double rate[COP_FRONT_OBJECTIVES_MAX];
    double least[COP_FRONT_OBJECTIVES_MAX];
    double most[COP_FRONT_OBJECTIVES_MAX];
    for (int j = 0; j < m; j++) {
        rate[j] = deviation[j] > 0 ? 1.0 / deviation[j] : 0.0;
        least[j] = mean[j] - REACH * deviation[j];
        most[j] = mean[j] + REACH * deviation[j];
    }
    for (int64_t i = 0; i < self->draws; i++) {
        const double *draw = self->draw + i * m;
        double probability = 1.0;
        for (int j = 0; j < m && probability > 0; j++) {
            if (draw[j] <= least[j]) {
                probability = 0.0;
            } else if (draw[j] < most[j]) {
                probability *= probability_below(self, (draw[j] - mean[j]) * rate[j]);
            }
        }
        sum += probability;
    }
    return sum * self->draw_volume;
}

double cop_improvement_expected(const cop_improvement *self, const double *mean,
                                const double *deviation)
{
    if (self->objectives == 1) {
        const double best = self->count > 0 ? self->point[0] : self->reference[0];
        return expected_gap(best, mean[0], deviation[0]);
    }
    return self->objectives == 2 ? expected_in_strips(self, mean, deviation)
                                 : expected_by_draws(self, mean, deviation);
}
