#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "search/strategy_internal.h"

enum { PILOT = 512, CANDIDATES = 16, DRAWS = 64 };

// Past the numbers of batches.
static const uint64_t pilot_index = 0xffffffffu;

// --- Buckets of size and shape --------------------------------------------------------------------

static int64_t bucket(double value, double low, double high, int64_t buckets)
{
    if (!(value > low)) { // NaN too
        return 0;
    }
    const double share = high > low ? (value - low) / (high - low) : 0;
    return share < 1 ? (int64_t)(share * (double)buckets) : buckets - 1;
}

static int64_t stratum_of(const cop_spread *self, const int32_t *genome)
{
    double size = 0;
    double shape = 0;
    self->domain->strata(self->domain->context, genome, &size, &shape);
    return bucket(size, self->low[0], self->high[0], COP_SPREAD_SIZES) * COP_SPREAD_SHAPES +
           bucket(shape, self->low[1], self->high[1], COP_SPREAD_SHAPES);
}

static void learn(cop_spread *self, double value, int which)
{
    if (isfinite(value)) {
        self->low[which] = fmin(self->low[which], value);
        self->high[which] = fmax(self->high[which], value);
    }
}

static cop_status learn_bounds(cop_spread *self, uint64_t seed, cop_error *err)
{
    cop_status status = COP_OK;
    cop_rng *rng = NULL;

    for (int k = 0; k < 2; k++) {
        self->low[k] = (double)INFINITY;
        self->high[k] = -(double)INFINITY;
    }
    COP_TRY(status, cop_rng_create(&rng, seed, COP_RNG_STRATEGY, pilot_index, err));
    for (int i = 0; i < PILOT; i++) {
        double size = 0;
        double shape = 0;
        cop_domain_draw_tilted(self->domain, rng, (double)i / (PILOT - 1), self->genome);
        cop_domain_canonicalize(self->domain, self->genome);
        if (!(cop_domain_violation(self->domain, self->genome) > 0)) {
            self->domain->strata(self->domain->context, self->genome, &size, &shape);
            learn(self, size, 0);
            learn(self, shape, 1);
        }
    }

done:
    cop_rng_destroy(rng);
    return status;
}

// --- Levels ---------------------------------------------------------------------------------------

static int32_t bins_of(const cop_domain *domain, int axis)
{
    return domain->levels[axis] < COP_SPREAD_BINS ? domain->levels[axis] : COP_SPREAD_BINS;
}

static int32_t bin_of(const cop_domain *domain, int axis, int32_t level)
{
    return (int32_t)((int64_t)level * bins_of(domain, axis) / domain->levels[axis]);
}

// A genome whose levels are from bins that were taken least.
static void draw_even(const cop_spread *self, cop_rng *rng, int32_t *genome)
{
    const cop_domain *domain = self->domain;
    for (int axis = 0; axis < domain->axes; axis++) {
        const int64_t *taken = &self->now[(int64_t)axis * COP_SPREAD_BINS];
        const int32_t bins = bins_of(domain, axis);
        int32_t least = 0;
        uint64_t ties = 0;
        for (int32_t bin = 0; bin < bins; bin++) {
            ties = taken[bin] < taken[least] ? 0 : ties;
            if (taken[bin] <= taken[least] && cop_rng_below(rng, ++ties) == 0) {
                least = bin;
            }
        }
        const int64_t first = ((int64_t)least * domain->levels[axis] + bins - 1) / bins;
        const int64_t next = ((int64_t)(least + 1) * domain->levels[axis] + bins - 1) / bins;
        genome[axis] = (int32_t)(first + (int64_t)cop_rng_below(rng, (uint64_t)(next - first)));
    }
}

// --- Both -----------------------------------------------------------------------------------------

static void count(const cop_spread *self, int64_t *counter, const int32_t *genome)
{
    if (self->domain->strata != NULL) {
        counter[stratum_of(self, genome)]++;
        return;
    }
    for (int axis = 0; axis < self->domain->axes; axis++) {
        counter[axis * COP_SPREAD_BINS + bin_of(self->domain, axis, genome[axis])]++;
    }
}

cop_status cop_spread_init(cop_spread *self, const cop_domain *domain, uint64_t seed,
                           cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t strata = (int64_t)COP_SPREAD_SIZES * COP_SPREAD_SHAPES;

    *self = (cop_spread){.domain = domain};
    self->counters = domain->strata != NULL ? strata : (int64_t)domain->axes * COP_SPREAD_BINS;
    self->told = cop_alloc((size_t)self->counters, sizeof *self->told);
    self->now = cop_alloc((size_t)self->counters, sizeof *self->now);
    self->genome = cop_alloc(2 * (size_t)domain->axes, sizeof *self->genome);
    if (self->told == NULL || self->now == NULL || self->genome == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory"));
    }
    if (domain->strata != NULL) {
        COP_TRY(status, learn_bounds(self, seed, err));
    }

done:
    return status;
}

void cop_spread_release(cop_spread *self)
{
    cop_free(self->told);
    cop_free(self->now);
    cop_free(self->genome);
    *self = (cop_spread){0};
}

void cop_spread_tell(cop_spread *self, const int32_t *genome)
{
    count(self, self->told, genome);
}

void cop_spread_begin(cop_spread *self)
{
    memcpy(self->now, self->told, (size_t)self->counters * sizeof *self->now);
}

// Draws until a feasible new genome is found: `genome` is canonical then.
static bool draw_open(const cop_spread *self, const cop_proposals *proposals, int32_t *genome)
{
    for (int i = 0; i < DRAWS; i++) {
        if (self->domain->strata == NULL) {
            draw_even(self, proposals->rng, genome);
        } else {
            cop_domain_draw_tilted(self->domain, proposals->rng, cop_rng_uniform(proposals->rng),
                                   genome);
        }
        cop_domain_canonicalize(self->domain, genome);
        if (!(cop_domain_violation(self->domain, genome) > 0) &&
            !cop_genome_set_holds(proposals->told, genome) &&
            !cop_genome_set_holds(proposals->batch, genome)) {
            return true;
        }
    }
    return false;
}

cop_status cop_spread_add(cop_spread *self, cop_proposals *proposals, bool *is_added,
                          cop_error *err)
{
    cop_status status = COP_OK;
    const size_t bytes = (size_t)self->domain->axes * sizeof *self->genome;
    int32_t *best = &self->genome[self->domain->axes];
    int64_t best_taken = -1;

    *is_added = false;
    // Levels are even by the way they are drawn; buckets only by choice.
    const int candidates = self->domain->strata == NULL ? 1 : CANDIDATES;
    for (int i = 0; i < candidates && best_taken != 0; i++) {
        if (!draw_open(self, proposals, self->genome)) {
            break;
        }
        const int64_t taken =
            self->domain->strata == NULL ? 0 : self->now[stratum_of(self, self->genome)];
        if (best_taken < 0 || taken < best_taken) {
            memcpy(best, self->genome, bytes);
            best_taken = taken;
        }
    }
    if (best_taken >= 0) {
        COP_TRY(status, cop_genome_set_add(proposals->batch, best, is_added, err));
    } else {
        COP_TRY(status, cop_proposals_add_random(proposals, is_added, err));
    }
    if (*is_added) {
        const int64_t last = cop_genome_set_count(proposals->batch) - 1;
        count(self, self->now, cop_genome_set_view(proposals->batch, last));
    }

done:
    return status;
}
