#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "search/surrogate_internal.h"

enum {
    NEIGHBOURS = 4000, // one-axis moves of the front at most
    PAIRS = 1000,      // two-axis moves
    RANDOM = 500
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

cop_status cop_surrogate_pool_add(cop_surrogate *self, cop_surrogate_pool *pool, int32_t *genome,
                                  bool *is_added, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_domain *domain = self->proposals.domain;
    double *x = NULL;
    double *mean = NULL;

    *is_added = false;
    cop_domain_canonicalize(domain, genome);
    if (cop_genome_set_holds(self->proposals.told, genome) ||
        cop_genome_set_holds(pool->set, genome) || cop_domain_violation(domain, genome) > 0) {
        return COP_OK;
    }
    COP_TRY(status, reserve(self, pool, err));
    COP_TRY(status, cop_genome_set_add(pool->set, genome, is_added, err));
    x = pool->x + pool->count * self->columns;
    mean = pool->mean + pool->count * self->objectives;
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
        COP_TRY(status, cop_surrogate_pool_add(self, pool, genome, &is_added, err));
    }

done:
    return status;
}

// --- Moves ----------------------------------------------------------------------------------------

void cop_surrogate_move(cop_surrogate *self, int32_t *genome)
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
    const int64_t moves = front_count == 0 ? 0 : is_few ? PAIRS : NEIGHBOURS + PAIRS;

    for (int64_t i = 0; is_few && i < front_count; i++) {
        for (int c = 0; c < 2 * self->axis_columns; c++) {
            const int axis = self->axis[c / 2];
            memcpy(genome, self->data.genome + front[i] * domain->axes, bytes);
            const int32_t levels = domain->levels[axis];
            genome[axis] = (genome[axis] + (c % 2 == 0 ? 1 : levels - 1)) % levels;
            COP_TRY(status, cop_surrogate_pool_add(self, pool, genome, &is_added, err));
        }
    }
    for (int64_t i = 0; i < moves; i++) {
        memcpy(genome, self->data.genome + front[i % front_count] * domain->axes, bytes);
        cop_surrogate_move(self, genome);
        if (i < PAIRS) {
            cop_surrogate_move(self, genome);
        }
        COP_TRY(status, cop_surrogate_pool_add(self, pool, genome, &is_added, err));
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
        COP_TRY(status, cop_surrogate_pool_add(self, pool, self->proposals.genome, &is_added, err));
    }

done:
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
    COP_TRY(status, cop_surrogate_evolve(self, pool, err));

done:
    return status;
}
