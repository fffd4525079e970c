#include <string.h>

#include "base/alloc.h"
#include "search/strategy_internal.h"

cop_status cop_proposals_init(cop_proposals *self, const cop_domain *domain, uint64_t seed,
                              cop_error *err)
{
    cop_status status = COP_OK;

    *self = (cop_proposals){.domain = domain, .number = -1, .seed = seed};
    COP_TRY(status, cop_genome_set_create(&self->told, domain->axes, err));
    COP_TRY(status, cop_genome_set_create(&self->batch, domain->axes, err));
    self->genome = cop_alloc(3 * (size_t)domain->axes, sizeof *self->genome);
    if (self->genome == NULL) {
        COP_TRY(status, COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory"));
    }

done:
    return status;
}

void cop_proposals_release(cop_proposals *self)
{
    cop_genome_set_destroy(self->told);
    cop_genome_set_destroy(self->batch);
    cop_genome_set_destroy(self->rest);
    cop_rng_destroy(self->rng);
    cop_free(self->genome);
    *self = (cop_proposals){0};
}

cop_status cop_proposals_begin(cop_proposals *self, int64_t number, bool *is_fresh, cop_error *err)
{
    cop_status status = COP_OK;

    *is_fresh = self->number != number;
    if (*is_fresh) {
        self->number = -1;
        self->is_exhausted = false;
        cop_genome_set_clear(self->batch);
        cop_rng_destroy(self->rng);
        self->rng = NULL;
        COP_TRY(status,
                cop_rng_create(&self->rng, self->seed, COP_RNG_STRATEGY, (uint64_t)number, err));
        self->number = number;
    }

done:
    return status;
}

cop_status cop_proposals_add(cop_proposals *self, int32_t *genome, bool *is_added, cop_error *err)
{
    *is_added = false;
    cop_domain_canonicalize(self->domain, genome);
    if (cop_genome_set_holds(self->told, genome) || cop_genome_set_holds(self->batch, genome) ||
        cop_domain_violation(self->domain, genome) > 0) {
        return COP_OK;
    }
    return cop_genome_set_add(self->batch, genome, is_added, err);
}

void cop_proposals_copy(const cop_proposals *self, int32_t *genomes, int64_t limit, int64_t *count)
{
    const int64_t there = cop_genome_set_count(self->batch);
    *count = there < limit ? there : limit;
    if (*count > 0) {
        memcpy(genomes, cop_genome_set_view(self->batch, 0),
               (size_t)(*count * self->domain->axes) * sizeof *genomes);
    }
}

cop_status cop_proposals_tell(cop_proposals *self, const cop_trial *trials, int64_t count,
                              cop_error *err)
{
    cop_status status = COP_OK;

    for (int64_t i = 0; i < count; i++) {
        bool is_new = false;
        memcpy(self->genome, trials[i].genome, (size_t)self->domain->axes * sizeof *self->genome);
        cop_domain_canonicalize(self->domain, self->genome);
        COP_TRY(status, cop_genome_set_add(self->told, self->genome, &is_new, err));
    }
    self->number = -1;

done:
    return status;
}
