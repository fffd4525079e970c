#include <math.h>

#include "search/surrogate_internal.h"

enum { TRIES = 16, EXTREME_DRAWS = 200, BATCH_SHARE = 16, BATCH_MAX = 8 };

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t cop_surrogate_design_size(const cop_surrogate *self)
{
    return self->options.population;
}

// Early results teach much: few points are proposed without them. How many are still to come is not known, so
// that a study which is extended goes on as one that was begun with more.
int64_t cop_surrogate_batch_size(const cop_surrogate *self)
{
    const int64_t share = self->data.count / BATCH_SHARE;
    const int64_t own = share < 1 ? 1 : smaller(share, BATCH_MAX);
    return smaller(self->options.batch > 0 ? self->options.batch : own, COP_SURROGATE_BATCH_MAX);
}

// Random moves that do not make it worse, until the bounds known by formula hold.
static void repair(cop_surrogate *self, int32_t *genome)
{
    const cop_domain *domain = self->proposals.domain;
    double violation = cop_domain_violation(domain, genome);
    for (int64_t i = 0; i < 32 + 16 * (int64_t)self->axis_columns && violation > 0; i++) {
        const int axis =
            self->axis[cop_rng_below(self->proposals.rng, (uint64_t)self->axis_columns)];
        const int32_t held = genome[axis];
        genome[axis] = (int32_t)cop_rng_below(self->proposals.rng, (uint64_t)domain->levels[axis]);
        const double now = cop_domain_violation(domain, genome);
        if (now <= violation) {
            violation = now;
        } else {
            genome[axis] = held;
        }
    }
}

void cop_surrogate_draw(cop_surrogate *self, double tilt, int32_t *genome)
{
    static const double WIDTH = 0.8; // of the quantiles drawn around the tilt
    const cop_domain *domain = self->proposals.domain;
    for (int axis = 0; axis < domain->axes; axis++) {
        const int32_t levels = domain->levels[axis];
        double quantile = cop_rng_uniform(self->proposals.rng);
        if (!isnan(tilt) && cop_domain_is_ordered(domain, axis)) {
            quantile = tilt + WIDTH * (quantile - 0.5);
        }
        const int32_t level = (int32_t)floor(quantile * (double)levels);
        genome[axis] = level < 0 ? 0 : level >= levels ? levels - 1 : level;
    }
    cop_domain_canonicalize(domain, genome);
    if (self->axis_columns > 0 && cop_domain_violation(domain, genome) > 0) {
        repair(self, genome);
        cop_domain_canonicalize(domain, genome);
    }
}

static cop_status add_draw(cop_surrogate *self, double tilt, bool *is_added, cop_error *err)
{
    cop_status status = COP_OK;
    *is_added = false;
    for (int i = 0; i < TRIES && !*is_added; i++) {
        cop_surrogate_draw(self, tilt, self->proposals.genome);
        COP_TRY(status, cop_proposals_add(&self->proposals, self->proposals.genome, is_added, err));
    }

done:
    return status;
}

// The smallest and the largest of many draws in each objective that a formula gives.
static cop_status add_known_extremes(cop_surrogate *self, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_domain *domain = self->proposals.domain;
    cop_genome_set *drawn = NULL;
    int64_t least[COP_FRONT_OBJECTIVES_MAX] = {0};
    int64_t most[COP_FRONT_OBJECTIVES_MAX] = {0};
    double low[COP_FRONT_OBJECTIVES_MAX];
    double high[COP_FRONT_OBJECTIVES_MAX];
    bool is_new = false;

    COP_TRY(status, cop_genome_set_create(&drawn, domain->axes, err));
    for (int i = 0; i < EXTREME_DRAWS; i++) {
        double value[COP_FRONT_OBJECTIVES_MAX] = {0};
        cop_surrogate_draw(self, (double)i / (EXTREME_DRAWS - 1), self->proposals.genome);
        domain->known(domain->context, self->proposals.genome, value);
        COP_TRY(status, cop_genome_set_add(drawn, self->proposals.genome, &is_new, err));
        if (!is_new || cop_domain_violation(domain, self->proposals.genome) > 0) {
            continue;
        }
        for (int j = 0; j < self->objectives; j++) {
            const bool is_first = i == 0 || isnan(low[j]);
            if (is_first || value[j] < low[j]) {
                low[j] = value[j];
                least[j] = cop_genome_set_count(drawn) - 1;
            }
            if (is_first || value[j] > high[j]) {
                high[j] = value[j];
                most[j] = cop_genome_set_count(drawn) - 1;
            }
        }
    }
    for (int j = 0; j < self->objectives; j++) {
        if (self->is_known[j]) {
            for (int end = 0; end < 2; end++) {
                const int64_t index = end == 0 ? least[j] : most[j];
                const int32_t *genome = cop_genome_set_view(drawn, index);
                for (int axis = 0; axis < domain->axes; axis++) {
                    self->proposals.genome[axis] = genome[axis];
                }
                COP_TRY(status,
                        cop_proposals_add(&self->proposals, self->proposals.genome, &is_new, err));
            }
        }
    }

done:
    cop_genome_set_destroy(drawn);
    return status;
}

static cop_status add_extremes(cop_surrogate *self, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_domain *domain = self->proposals.domain;
    bool is_added = false;
    bool is_any_known = false;

    for (int end = 0; end < 2; end++) {
        for (int axis = 0; axis < domain->axes; axis++) {
            const int32_t levels = domain->levels[axis];
            self->proposals.genome[axis] =
                !cop_domain_is_ordered(domain, axis)
                    ? (int32_t)cop_rng_below(self->proposals.rng, (uint64_t)levels)
                : end == 0 ? 0
                           : levels - 1;
        }
        COP_TRY(status,
                cop_proposals_add(&self->proposals, self->proposals.genome, &is_added, err));
    }
    for (int j = 0; j < self->objectives; j++) {
        is_any_known = is_any_known || self->is_known[j];
    }
    if (is_any_known) {
        COP_TRY(status, add_known_extremes(self, err));
    }

done:
    return status;
}

cop_status cop_surrogate_design(cop_surrogate *self, int64_t count, bool is_first, cop_error *err)
{
    cop_status status = COP_OK;
    bool is_added = true;
    double tilt = cop_rng_uniform(self->proposals.rng);

    if (is_first) {
        COP_TRY(status, add_extremes(self, err));
    }
    // A step of the golden section visits all tilts evenly, wherever a smaller limit cuts the batch.
    while (is_added && cop_genome_set_count(self->proposals.batch) < count) {
        COP_TRY(status, add_draw(self, tilt, &is_added, err));
        if (!is_added) {
            COP_TRY(status, cop_proposals_add_random(&self->proposals, &is_added, err));
        }
        tilt = fmod(tilt + 0.61803398874989485, 1.0);
    }

done:
    return status;
}
