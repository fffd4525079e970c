#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "search/improvement.h"
#include "search/surrogate_internal.h"

enum { SHORTLIST = 400, SAMPLE = 16, DRAWS = 2000, EXPLORE_EVERY = 10, EXPLORE_FROM = 20 };

// A candidate whose variances are known.
typedef struct entry {
    int64_t candidate;                         // of the pool
    double mean[COP_FRONT_OBJECTIVES_MAX];     // latent
    double variance[COP_FRONT_OBJECTIVES_MAX]; // latent
    double feasible;                           // probability
    double label_deviation;
    bool is_taken;
} entry;

typedef struct choice {
    cop_surrogate *self;
    cop_surrogate_pool pool;
    cop_improvement *front;
    int64_t *row;           // [rows]: rows of the front, then all feasible ones
    cop_front_point *point; // [rows]
    cop_front_point *scratch;
    int64_t *work;
    int64_t front_count;
    entry *entry; // [SHORTLIST]
    int64_t entries;
    double *root[COP_FRONT_OBJECTIVES_MAX]; // [SHORTLIST, stride], NULL where known
    int64_t stride;
    int64_t known; // components of the roots: points conditioned on and picks
    double *feasibility_root;
    double typical[COP_FRONT_OBJECTIVES_MAX]; // deviation in the objective's unit
    double typical_label;
} choice;

static void release(choice *c)
{
    cop_surrogate_pool_release(&c->pool);
    cop_improvement_destroy(c->front);
    cop_free(c->row);
    cop_free(c->point);
    cop_free(c->scratch);
    cop_free(c->work);
    cop_free(c->entry);
    cop_free(c->feasibility_root);
    for (int j = 0; j < COP_FRONT_OBJECTIVES_MAX; j++) {
        cop_free(c->root[j]);
    }
}

static cop_status init(choice *c, cop_surrogate *self, cop_error *err)
{
    const size_t rows = (size_t)self->data.count;
    c->self = self;
    c->stride = self->learned_count + COP_SURROGATE_BATCH_MAX;
    c->known = self->learned_count;
    c->row = cop_alloc(rows, sizeof *c->row);
    c->point = cop_alloc(rows, sizeof *c->point);
    c->scratch = cop_alloc(rows, sizeof *c->scratch);
    c->work = cop_alloc(rows, sizeof *c->work);
    c->entry = cop_alloc(SHORTLIST, sizeof *c->entry);
    c->feasibility_root = cop_alloc(rows, sizeof *c->feasibility_root);
    bool is_complete = c->row != NULL && c->point != NULL && c->scratch != NULL &&
                       c->work != NULL && c->entry != NULL && c->feasibility_root != NULL;
    for (int j = 0; j < self->objectives; j++) {
        if (!self->is_known[j]) {
            c->root[j] = cop_alloc(SHORTLIST * (size_t)c->stride, sizeof(double));
            is_complete = is_complete && c->root[j] != NULL;
        }
    }
    return is_complete ? COP_OK : COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory");
}

// --- The front so far -----------------------------------------------------------------------------

// Usable points, those that hold all bounds or, when none does, all of them, with believed values.
static int64_t collect_points(choice *c, bool must_be_feasible)
{
    cop_surrogate *self = c->self;
    const cop_surrogate_data *data = &self->data;
    for (int64_t i = 0; i < data->count; i++) {
        c->work[i] = -1;
    }
    for (int64_t i = 0; i < self->learned_count; i++) {
        c->work[self->learned[i]] = i;
    }
    int64_t count = 0;
    for (int64_t i = 0; i < data->count; i++) {
        if (must_be_feasible ? data->is_feasible[i] : data->is_usable[i]) {
            c->point[count] = (cop_front_point){.index = i};
            cop_surrogate_believed(self, i, c->work[i], c->point[count].value);
            count++;
        }
    }
    return count;
}

static void find_reference(const choice *c, int64_t front, int64_t count, double *reference)
{
    static const double OF_FRONT = 0.1;
    static const double OF_ALL = 0.01;
    for (int j = 0; j < c->self->objectives; j++) {
        double least = (double)INFINITY;
        double most = -(double)INFINITY;
        double worst = -(double)INFINITY; // of the front
        for (int64_t i = 0; i < count; i++) {
            const double value = c->point[i].value[j];
            least = fmin(least, value);
            most = fmax(most, value);
            worst = i < front ? fmax(worst, value) : worst;
        }
        const double range = OF_FRONT * (worst - least) + OF_ALL * (most - least);
        reference[j] = worst + (range > 0 ? range : fmax(1e-9, 1e-9 * fabs(worst)));
    }
}

static cop_status build_front(choice *c, cop_error *err)
{
    cop_status status = COP_OK;
    const int m = c->self->objectives;
    double reference[COP_FRONT_OBJECTIVES_MAX];
    int64_t count = collect_points(c, true);
    const bool is_any_feasible = count > 0;

    count = is_any_feasible ? count : collect_points(c, false);
    cop_front_sort(c->point, count, m, c->scratch, c->work);
    while (c->front_count < count && c->point[c->front_count].front == 0) {
        c->row[c->front_count] = c->point[c->front_count].index;
        c->front_count++;
    }
    find_reference(c, is_any_feasible ? c->front_count : count, count, reference);
    COP_TRY(status, cop_improvement_create(&c->front, m, reference, err));
    for (int64_t i = 0; is_any_feasible && i < c->front_count; i++) {
        COP_TRY(status, cop_improvement_add(c->front, c->point[i].value, err));
    }

done:
    return status;
}

// --- The shortlist --------------------------------------------------------------------------------

static double model_variance(const choice *c, int j, double variance)
{
    return variance * c->self->record[j].scale;
}

// Means and deviations in the objectives' units.
static void moments(const choice *c, const entry *e, double *mean, double *deviation)
{
    const cop_surrogate *self = c->self;
    for (int j = 0; j < self->objectives; j++) {
        if (self->is_known[j]) {
            mean[j] = e->mean[j];
            deviation[j] = 0.0;
        } else {
            cop_regression_moments(self->model[j], e->mean[j], model_variance(c, j, e->variance[j]),
                                   &mean[j], &deviation[j]);
        }
    }
}

static double probability_below_zero(double mean, double deviation)
{
    static const double SQRT_HALF = 0.70710678118654752440;
    return deviation > 0 ? 0.5 * erfc(mean / deviation * SQRT_HALF) : mean < 0 ? 1.0 : 0.0;
}

static void predict(choice *c, entry *e, int64_t slot)
{
    cop_surrogate *self = c->self;
    const double *x = c->pool.x + e->candidate * self->columns;
    for (int j = 0; j < self->objectives; j++) {
        if (self->is_known[j]) {
            e->mean[j] = c->pool.mean[e->candidate * self->objectives + j];
            e->variance[j] = 0.0;
        } else {
            e->mean[j] = cop_gaussian_predict(cop_regression_view_gaussian(self->model[j]), x,
                                              c->root[j] + slot * c->stride, &e->variance[j]);
        }
    }
    e->feasible = 1.0;
    if (self->has_feasibility) {
        cop_gaussian *gaussian = cop_regression_view_gaussian(self->feasibility);
        double variance = 0.0;
        const double latent = cop_gaussian_predict(gaussian, x, c->feasibility_root, &variance);
        const double label = cop_regression_median(self->feasibility, latent);
        const double unit = cop_regression_median(self->feasibility, 1.0) -
                            cop_regression_median(self->feasibility, 0.0);
        e->label_deviation = unit * sqrt(variance + cop_gaussian_noise(gaussian));
        e->feasible = probability_below_zero(label, e->label_deviation);
    }
}

// Deviations that candidates have on the average, for a first sieve by what a mean costs.
static void measure_typical(choice *c)
{
    const int m = c->self->objectives;
    const int64_t count = c->pool.count < SAMPLE ? c->pool.count : SAMPLE;
    for (int64_t i = 0; i < count; i++) {
        double mean[COP_FRONT_OBJECTIVES_MAX];
        double deviation[COP_FRONT_OBJECTIVES_MAX];
        entry e = {.candidate = c->pool.count - 1 - i * (c->pool.count / count)};
        predict(c, &e, 0);
        moments(c, &e, mean, deviation);
        for (int j = 0; j < m; j++) {
            c->typical[j] += deviation[j] / (double)count;
        }
        c->typical_label += e.label_deviation / (double)count;
    }
}

static cop_status draw_region(choice *c, cop_error *err)
{
    const int m = c->self->objectives;
    double ideal[COP_FRONT_OBJECTIVES_MAX];
    for (int j = 0; j < m; j++) {
        ideal[j] = (double)INFINITY;
        for (int64_t i = 0; i < c->pool.count; i++) {
            ideal[j] = fmin(ideal[j], c->pool.mean[i * m + j]);
        }
        ideal[j] -= 3 * c->typical[j];
    }
    return cop_improvement_draw(c->front, ideal, DRAWS, c->self->proposals.rng, err);
}

// Those of the largest improvement at typical deviations come first in pool.point.
static void order_by_improvement(choice *c)
{
    const int m = c->self->objectives;
    for (int64_t i = 0; i < c->pool.count; i++) {
        const double gain = cop_improvement_expected(c->front, c->pool.mean + i * m, c->typical);
        const double feasible = probability_below_zero(c->pool.label[i], c->typical_label);
        c->pool.point[i] = (cop_front_point){.index = i, .value = {-gain * feasible}};
    }
    cop_front_sort(c->pool.point, c->pool.count, 1, c->pool.scratch, c->pool.work);
}

// Half of the shortlist by improvement, half evenly along the first fronts of the means.
static void make_shortlist(choice *c)
{
    const int m = c->self->objectives;
    const int64_t all = c->pool.count;
    const int64_t half = all <= SHORTLIST ? all : SHORTLIST / 2;
    order_by_improvement(c);
    for (int64_t i = 0; i < half; i++) {
        c->entry[c->entries++].candidate = c->pool.point[i].index;
    }
    const int64_t rest = all - half;
    if (rest > 0) {
        cop_front_point *others = c->pool.point + half;
        const int64_t most = m <= 2 || rest < 2000 ? rest : 2000;
        for (int64_t i = 0; i < most; i++) {
            cop_surrogate_pool_values(&c->pool, others[i].index, m, others[i].value);
        }
        cop_front_sort(others, most, m, c->pool.scratch, c->pool.work);
        int64_t first = 0;
        while (first < most && others[first].front == 0) {
            first++;
        }
        const int64_t room = SHORTLIST - c->entries;
        const int64_t span = first > room ? first : most < room ? most : room;
        const int64_t taken = span < room ? span : room;
        for (int64_t i = 0; i < taken; i++) {
            c->entry[c->entries++].candidate = others[i * span / taken].index;
        }
    }
    for (int64_t i = 0; i < c->entries; i++) {
        predict(c, &c->entry[i], i);
    }
}

// --- Picks ----------------------------------------------------------------------------------------

static double ignorance(const choice *c, const entry *e)
{
    double sum = 0.0;
    for (int j = 0; j < c->self->objectives; j++) {
        sum += e->variance[j];
    }
    return sum * e->feasible;
}

static int64_t best_entry(const choice *c, bool is_exploring)
{
    int64_t best = -1;
    double best_score = -1.0;
    for (int64_t i = 0; i < c->entries; i++) {
        const entry *e = &c->entry[i];
        if (e->is_taken) {
            continue;
        }
        double score = 0.0;
        if (is_exploring) {
            score = ignorance(c, e);
        } else {
            double mean[COP_FRONT_OBJECTIVES_MAX];
            double deviation[COP_FRONT_OBJECTIVES_MAX];
            moments(c, e, mean, deviation);
            score = cop_improvement_expected(c->front, mean, deviation) * e->feasible;
        }
        if (score > best_score) {
            best_score = score;
            best = i;
        }
    }
    // Where no improvement is expected anywhere, something may at least be learned.
    return best_score <= 0 && best >= 0 && !is_exploring ? best_entry(c, true) : best;
}

// The others' variances given that the pick was measured: one more row of the Cholesky factor.
static void believe(choice *c, int64_t pick)
{
    cop_surrogate *self = c->self;
    const entry *p = &c->entry[pick];
    for (int j = 0; j < self->objectives; j++) {
        if (self->is_known[j]) {
            continue;
        }
        const cop_gaussian *gaussian = cop_regression_view_gaussian(self->model[j]);
        const double *pick_root = c->root[j] + pick * c->stride;
        const double *pick_x = c->pool.x + p->candidate * self->columns;
        const double pivot = sqrt(p->variance[j] + cop_gaussian_noise(gaussian));
        for (int64_t i = 0; i < c->entries; i++) {
            entry *e = &c->entry[i];
            if (e->is_taken) {
                continue;
            }
            double *root = c->root[j] + i * c->stride;
            double covariance =
                cop_gaussian_kernel(gaussian, c->pool.x + e->candidate * self->columns, pick_x);
            for (int64_t k = 0; k < c->known; k++) {
                covariance -= root[k] * pick_root[k];
            }
            root[c->known] = covariance / pivot;
            e->variance[j] = fmax(0.0, e->variance[j] - root[c->known] * root[c->known]);
        }
    }
    c->known++;
}

static cop_status pick_batch(choice *c, cop_error *err)
{
    cop_status status = COP_OK;
    cop_surrogate *self = c->self;
    const int64_t wanted = cop_surrogate_batch_size(self);
    const int64_t told = self->data.count;

    for (int64_t i = 0; i < wanted; i++) {
        const bool is_exploring =
            told >= EXPLORE_FROM && (told + i) % EXPLORE_EVERY == EXPLORE_EVERY - 1;
        const int64_t pick = best_entry(c, is_exploring);
        if (pick < 0) {
            break;
        }
        entry *e = &c->entry[pick];
        double mean[COP_FRONT_OBJECTIVES_MAX];
        double deviation[COP_FRONT_OBJECTIVES_MAX];
        bool is_added = false;
        moments(c, e, mean, deviation);
        e->is_taken = true;
        memcpy(self->proposals.genome, cop_genome_set_view(c->pool.set, e->candidate),
               (size_t)self->proposals.domain->axes * sizeof(int32_t));
        COP_TRY(status,
                cop_proposals_add(&self->proposals, self->proposals.genome, &is_added, err));
        believe(c, pick);
        if (e->feasible > 0.5) {
            COP_TRY(status, cop_improvement_add(c->front, mean, err));
        }
    }

done:
    return status;
}

cop_status cop_surrogate_propose(cop_surrogate *self, cop_error *err)
{
    cop_status status = COP_OK;
    choice c = {0};

    COP_TRY(status, cop_surrogate_fit(self, err));
    COP_TRY(status, init(&c, self, err));
    COP_TRY(status, build_front(&c, err));
    COP_TRY(status, cop_surrogate_gather(self, &c.pool, c.row, c.front_count, err));
    if (c.pool.count > 0) {
        measure_typical(&c);
        COP_TRY(status, draw_region(&c, err));
        make_shortlist(&c);
        COP_TRY(status, pick_batch(&c, err));
    }
    if (cop_genome_set_count(self->proposals.batch) == 0) {
        COP_TRY(status, cop_surrogate_design(self, cop_surrogate_batch_size(self), false, err));
    }

done:
    release(&c);
    return status;
}
