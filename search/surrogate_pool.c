#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "search/surrogate_internal.h"

enum {
    NEIGHBOURS = 4000, // one-axis moves of the front at most
    PAIRS = 1000,      // two-axis moves
    RANDOM = 500,
    PARENTS = 200,
    GENERATIONS = 30,
    PATIENCE = 8 // tries per offspring
};

static cop_status reserve(cop_surrogate *self, cop_surrogate_pool *pool, cop_error *err)
{
    if (pool->count < pool->capacity) {
        return COP_OK;
    }
    const size_t capacity = 2 * (size_t)pool->capacity + 1024;
    double *x = cop_realloc(pool->x, capacity * (size_t)self->columns, sizeof *x);
    pool->x = x != NULL ? x : pool->x;
    double *mean = cop_realloc(pool->mean, capacity * (size_t)self->objectives, sizeof *mean);
    pool->mean = mean != NULL ? mean : pool->mean;
    double *label = cop_realloc(pool->label, capacity, sizeof *label);
    pool->label = label != NULL ? label : pool->label;
    cop_front_point *point = cop_realloc(pool->point, capacity, sizeof *point);
    pool->point = point != NULL ? point : pool->point;
    cop_front_point *scratch = cop_realloc(pool->scratch, capacity, sizeof *scratch);
    pool->scratch = scratch != NULL ? scratch : pool->scratch;
    int64_t *work = cop_realloc(pool->work, capacity, sizeof *work);
    pool->work = work != NULL ? work : pool->work;
    if (x == NULL || mean == NULL || label == NULL || point == NULL || scratch == NULL ||
        work == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory");
    }
    pool->capacity = (int64_t)capacity;
    return COP_OK;
}

void cop_surrogate_pool_release(cop_surrogate_pool *pool)
{
    cop_genome_set_destroy(pool->set);
    cop_free(pool->x);
    cop_free(pool->mean);
    cop_free(pool->label);
    cop_free(pool->point);
    cop_free(pool->scratch);
    cop_free(pool->work);
    *pool = (cop_surrogate_pool){0};
}

void cop_surrogate_pool_values(const cop_surrogate_pool *pool, int64_t index, int objectives,
                               double *value)
{
    static const double BEYOND = 1e150; // all objectives, by as much as bounds are exceeded
    for (int j = 0; j < objectives; j++) {
        value[j] = pool->label[index] > 0 ? BEYOND * (1 + pool->label[index])
                                          : pool->mean[index * objectives + j];
    }
}

// Canonicalises `genome` in place; a new feasible one becomes a candidate.
static cop_status add(cop_surrogate *self, cop_surrogate_pool *pool, int32_t *genome,
                      bool *is_added, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_domain *domain = self->proposals.domain;

    *is_added = false;
    cop_domain_canonicalize(domain, genome);
    if (cop_genome_set_holds(self->proposals.told, genome) ||
        cop_genome_set_holds(pool->set, genome) || cop_domain_violation(domain, genome) > 0) {
        return COP_OK;
    }
    COP_TRY(status, reserve(self, pool, err));
    COP_TRY(status, cop_genome_set_add(pool->set, genome, is_added, err));
    double *x = pool->x + pool->count * self->columns;
    double *mean = pool->mean + pool->count * self->objectives;
    cop_surrogate_columns(self, genome, x);
    cop_surrogate_scale(self, x);
    if (domain->known != NULL) {
        domain->known(domain->context, genome, mean);
    }
    for (int j = 0; j < self->objectives; j++) {
        if (!self->is_known[j]) {
            cop_gaussian *gaussian = cop_regression_view_gaussian(self->model[j]);
            mean[j] = cop_regression_median(self->model[j], cop_gaussian_mean(gaussian, x));
        }
    }
    pool->label[pool->count] = -1.0;
    if (self->has_feasibility) {
        cop_gaussian *gaussian = cop_regression_view_gaussian(self->feasibility);
        pool->label[pool->count] =
            cop_regression_median(self->feasibility, cop_gaussian_mean(gaussian, x));
    }
    pool->count++;

done:
    return status;
}

static cop_status gather_all(cop_surrogate *self, cop_surrogate_pool *pool, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_domain *domain = self->proposals.domain;
    const int64_t size = (int64_t)cop_domain_size(domain);
    int32_t *genome = self->proposals.genome;
    for (int64_t i = 0; i < size; i++) {
        int64_t rest = i;
        for (int axis = domain->axes - 1; axis >= 0; axis--) {
            genome[axis] = (int32_t)(rest % domain->levels[axis]);
            rest /= domain->levels[axis];
        }
        bool is_added = false;
        COP_TRY(status, add(self, pool, genome, &is_added, err));
    }

done:
    return status;
}

// --- Moves ----------------------------------------------------------------------------------------

// Another level of one axis: the next ones of an ordered axis more often than far ones.
static void move(cop_surrogate *self, int32_t *genome)
{
    cop_rng *rng = self->proposals.rng;
    const cop_domain *domain = self->proposals.domain;
    const int axis = self->axis[cop_rng_below(rng, (uint64_t)self->axis_columns)];
    const int32_t levels = domain->levels[axis];
    const int32_t step = cop_rng_below(rng, 2) == 0 ? -1 : 1;
    const int32_t next = genome[axis] + step;
    const bool is_near = cop_domain_is_ordered(domain, axis) && cop_rng_below(rng, 4) > 0;
    if (is_near && next >= 0 && next < levels) {
        genome[axis] = next;
    } else {
        const int32_t other = (int32_t)cop_rng_below(rng, (uint64_t)levels - 1);
        genome[axis] = other < genome[axis] ? other : other + 1;
    }
}

static cop_status gather_neighbours(cop_surrogate *self, cop_surrogate_pool *pool,
                                    const int64_t *front, int64_t front_count, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_domain *domain = self->proposals.domain;
    int32_t *genome = self->proposals.genome;
    const size_t bytes = (size_t)domain->axes * sizeof *genome;
    bool is_added = false;

    // All next levels of all members where they are few, otherwise as many random ones.
    const bool is_few = front_count * self->axis_columns * 2 <= NEIGHBOURS;
    for (int64_t i = 0; is_few && i < front_count; i++) {
        for (int c = 0; c < 2 * self->axis_columns; c++) {
            const int axis = self->axis[c / 2];
            memcpy(genome, self->data.genome + front[i] * domain->axes, bytes);
            const int32_t levels = domain->levels[axis];
            genome[axis] = (genome[axis] + (c % 2 == 0 ? 1 : levels - 1)) % levels;
            COP_TRY(status, add(self, pool, genome, &is_added, err));
        }
    }
    const int64_t moves = front_count == 0 ? 0 : is_few ? PAIRS : NEIGHBOURS + PAIRS;
    for (int64_t i = 0; i < moves; i++) {
        memcpy(genome, self->data.genome + front[i % front_count] * domain->axes, bytes);
        move(self, genome);
        if (i < PAIRS) {
            move(self, genome);
        }
        COP_TRY(status, add(self, pool, genome, &is_added, err));
    }

done:
    return status;
}

static cop_status gather_random(cop_surrogate *self, cop_surrogate_pool *pool, cop_error *err)
{
    cop_status status = COP_OK;
    bool is_added = false;
    double tilt = cop_rng_uniform(self->proposals.rng);
    for (int i = 0; i < RANDOM; i++) {
        tilt = fmod(tilt + 0.61803398874989485, 1.0);
        cop_surrogate_draw(self, i % 2 == 0 ? tilt : (double)NAN, self->proposals.genome);
        COP_TRY(status, add(self, pool, self->proposals.genome, &is_added, err));
    }

done:
    return status;
}

// --- Inner evolution ------------------------------------------------------------------------------

typedef struct evolution {
    cop_front_point parent[2 * PARENTS]; // sorted by (front, crowding) after select
    double crowding[2 * PARENTS];        // of parent[i]
    int64_t count;
    cop_front_point scratch[2 * PARENTS];
    int64_t work[2 * PARENTS];
    const double *sort_key; // [pool]: of the axis being sorted
    double of_candidate[2 * PARENTS];
    int64_t order[2 * PARENTS];
} evolution;

// Orders `order` by one objective of the parents; insertion keeps equal ones in place.
static void order_by(evolution *self, int64_t begin, int64_t end, int objective)
{
    for (int64_t i = begin; i < end; i++) {
        int64_t at = i;
        const double key = self->parent[i].value[objective];
        while (at > begin && self->parent[self->order[at - 1]].value[objective] > key) {
            self->order[at] = self->order[at - 1];
            at--;
        }
        self->order[at] = i;
    }
}

// Crowding distances of one front, Deb et al. 2002.
static void crowd(evolution *self, int64_t begin, int64_t end, int objectives)
{
    for (int64_t i = begin; i < end; i++) {
        self->crowding[i] = 0.0;
    }
    for (int j = 0; j < objectives; j++) {
        order_by(self, begin, end, j);
        const int64_t *order = self->order;
        const double low = self->parent[order[begin]].value[j];
        const double range = self->parent[order[end - 1]].value[j] - low;
        self->crowding[order[begin]] = (double)INFINITY;
        self->crowding[order[end - 1]] = (double)INFINITY;
        for (int64_t i = begin + 1; i + 1 < end && range > 0; i++) {
            self->crowding[order[i]] +=
                (self->parent[order[i + 1]].value[j] - self->parent[order[i - 1]].value[j]) / range;
        }
    }
}

// The best PARENTS stay: by front, within a front by crowding.
static void select(evolution *self, int objectives)
{
    cop_front_sort(self->parent, self->count, objectives, self->scratch, self->work);
    int64_t begin = 0;
    while (begin < self->count && begin < PARENTS) {
        int64_t end = begin + 1;
        while (end < self->count && self->parent[end].front == self->parent[begin].front) {
            end++;
        }
        crowd(self, begin, end, objectives);
        // Sorted by crowding, widest first; insertion keeps equal ones in place.
        for (int64_t i = begin + 1; i < end; i++) {
            const cop_front_point held = self->parent[i];
            const double width = self->crowding[i];
            int64_t at = i;
            while (at > begin && self->crowding[at - 1] < width) {
                self->parent[at] = self->parent[at - 1];
                self->crowding[at] = self->crowding[at - 1];
                at--;
            }
            self->parent[at] = held;
            self->crowding[at] = width;
        }
        begin = end;
    }
    self->count = self->count < PARENTS ? self->count : PARENTS;
}

static void put(evolution *self, const cop_surrogate_pool *pool, int64_t index, int objectives)
{
    cop_front_point *point = &self->parent[self->count++];
    *point = (cop_front_point){.index = index};
    cop_surrogate_pool_values(pool, index, objectives, point->value);
}

// Parents are sorted: the better of two draws is the earlier one.
static int64_t tournament(cop_surrogate *self, const evolution *from)
{
    const uint64_t a = cop_rng_below(self->proposals.rng, (uint64_t)from->count);
    const uint64_t b = cop_rng_below(self->proposals.rng, (uint64_t)from->count);
    return from->parent[a < b ? a : b].index;
}

static cop_status breed(cop_surrogate *self, cop_surrogate_pool *pool, const evolution *from,
                        bool *is_added, cop_error *err)
{
    cop_rng *rng = self->proposals.rng;
    const int axes = self->proposals.domain->axes;
    int32_t *child = self->proposals.genome;
    const int32_t *a = cop_genome_set_view(pool->set, tournament(self, from));
    const int32_t *b = cop_genome_set_view(pool->set, tournament(self, from));
    for (int axis = 0; axis < axes; axis++) {
        child[axis] = cop_rng_below(rng, 2) == 0 ? a[axis] : b[axis];
    }
    do {
        move(self, child);
    } while (cop_rng_below(rng, 2) == 0);
    return add(self, pool, child, is_added, err);
}

static cop_status evolve(cop_surrogate *self, cop_surrogate_pool *pool, cop_error *err)
{
    cop_status status = COP_OK;
    evolution *evolution_now = cop_alloc(1, sizeof *evolution_now);
    const int m = self->objectives;
    bool is_added = false;

    if (evolution_now == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "surrogate: out of memory"));
    }
    for (int64_t i = 0; i < pool->count; i++) {
        put(evolution_now, pool, i, m);
        if (evolution_now->count == 2 * PARENTS) {
            select(evolution_now, m);
        }
    }
    select(evolution_now, m);
    for (int generation = 0; generation < GENERATIONS && evolution_now->count > 0; generation++) {
        const int64_t before = pool->count;
        for (int i = 0; i < PATIENCE * PARENTS && pool->count < before + PARENTS; i++) {
            COP_TRY(status, breed(self, pool, evolution_now, &is_added, err));
        }
        for (int64_t i = before; i < pool->count; i++) {
            put(evolution_now, pool, i, m);
        }
        select(evolution_now, m);
    }

done:
    cop_free(evolution_now);
    return status;
}

cop_status cop_surrogate_gather(cop_surrogate *self, cop_surrogate_pool *pool, const int64_t *front,
                                int64_t front_count, cop_error *err)
{
    cop_status status = COP_OK;

    *pool = (cop_surrogate_pool){0};
    COP_TRY(status, cop_genome_set_create(&pool->set, self->proposals.domain->axes, err));
    if (cop_domain_size(self->proposals.domain) <= COP_SURROGATE_SMALL) {
        COP_TRY(status, gather_all(self, pool, err));
        goto done;
    }
    COP_TRY(status, gather_neighbours(self, pool, front, front_count, err));
    COP_TRY(status, gather_random(self, pool, err));
    COP_TRY(status, evolve(self, pool, err));

done:
    return status;
}
