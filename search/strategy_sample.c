// Points drawn from what is feasible, canonical and new.

#include <math.h>
#include <string.h>

#include "search/strategy_internal.h"

enum { DRAWS = 256, STEPS = 4096, LISTED_MAX = 1 << 20 };

static bool is_open(const cop_proposals *self, const int32_t *genome)
{
    return !cop_genome_set_holds(self->told, genome) && !cop_genome_set_holds(self->batch, genome);
}

// Draws until a canonical genome is feasible and new. Leaves in `best` the one to start a walk from: one that is
// feasible and new in its canonical form, or else the least infeasible.
static cop_status draw(cop_proposals *self, int32_t *drawn, int32_t *best, double *best_violation,
                       bool *is_added, cop_error *err)
{
    const size_t bytes = (size_t)self->domain->axes * sizeof *drawn;
    int32_t *genome = self->genome;
    bool is_best_open = false;

    *best_violation = (double)INFINITY;
    for (int i = 0; i < DRAWS; i++) {
        cop_domain_draw(self->domain, self->rng, drawn);
        memcpy(genome, drawn, bytes);
        cop_domain_canonicalize(self->domain, genome);
        // A point that many genomes stand for would be drawn as often: only its own counts.
        const bool is_own = memcmp(genome, drawn, bytes) == 0;
        if (!is_own && is_best_open) {
            continue;
        }
        const double violation = cop_domain_violation(self->domain, genome);
        const bool is_good = !(violation > 0) && is_open(self, genome);
        if (is_good && is_own) {
            return cop_genome_set_add(self->batch, genome, is_added, err);
        }
        if (!is_best_open && (i == 0 || is_good || violation < *best_violation)) {
            memcpy(best, genome, bytes);
            *best_violation = violation;
            is_best_open = is_good;
        }
    }
    return is_best_open ? cop_genome_set_add(self->batch, best, is_added, err) : COP_OK;
}

// Walks from `best` by changes of one axis that do not make it worse, to a feasible new point.
static cop_status walk(cop_proposals *self, int32_t *best, double best_violation, bool *is_added,
                       cop_error *err)
{
    const cop_domain *domain = self->domain;
    const size_t bytes = (size_t)domain->axes * sizeof *best;
    int32_t *genome = self->genome;

    for (int i = 0; i < STEPS; i++) {
        const uint64_t axis = cop_rng_below(self->rng, (uint64_t)domain->axes);
        memcpy(genome, best, bytes);
        genome[axis] = (int32_t)cop_rng_below(self->rng, (uint64_t)domain->levels[axis]);
        cop_domain_canonicalize(domain, genome);
        const double violation = cop_domain_violation(domain, genome);
        if (violation > best_violation) {
            continue;
        }
        if (!(violation > 0) && is_open(self, genome)) {
            return cop_genome_set_add(self->batch, genome, is_added, err);
        }
        memcpy(best, genome, bytes);
        best_violation = violation;
    }
    return COP_OK;
}

static cop_status list_all(cop_proposals *self, cop_error *err)
{
    cop_status status = COP_OK;
    cop_domain_walk all = {0};
    cop_genome_set *rest = NULL;
    bool is_new = false;

    COP_TRY(status, cop_domain_walk_init(&all, self->domain, err));
    COP_TRY(status, cop_genome_set_create(&rest, self->domain->axes, err));
    for (const int32_t *genome = NULL; (genome = cop_domain_walk_view(&all)) != NULL;
         cop_domain_walk_step(&all)) {
        COP_TRY(status, cop_genome_set_add(rest, genome, &is_new, err));
    }
    self->rest = rest;
    rest = NULL;

done:
    cop_genome_set_destroy(rest);
    cop_domain_walk_release(&all);
    return status;
}

// Any of the points that are left, each as likely.
static cop_status pick_listed(cop_proposals *self, bool *is_added, cop_error *err)
{
    cop_status status = COP_OK;
    uint64_t left = 0;
    const int32_t *picked = NULL;

    if (self->rest == NULL) {
        COP_TRY(status, list_all(self, err));
    }
    for (int64_t i = 0; i < cop_genome_set_count(self->rest); i++) {
        const int32_t *genome = cop_genome_set_view(self->rest, i);
        if (is_open(self, genome) && cop_rng_below(self->rng, ++left) == 0) {
            picked = genome;
        }
    }
    if (picked != NULL) {
        COP_TRY(status, cop_genome_set_add(self->batch, picked, is_added, err));
    }

done:
    return status;
}

cop_status cop_proposals_add_random(cop_proposals *self, bool *is_added, cop_error *err)
{
    cop_status status = COP_OK;
    const int axes = self->domain->axes;
    int32_t *drawn = &self->genome[axes];
    int32_t *best = &self->genome[2 * (int64_t)axes];
    double violation = 0;

    *is_added = false;
    COP_TRY(status, draw(self, drawn, best, &violation, is_added, err));
    if (!*is_added) {
        COP_TRY(status, walk(self, best, violation, is_added, err));
    }
    if (!*is_added && cop_domain_size(self->domain) <= LISTED_MAX) {
        COP_TRY(status, pick_listed(self, is_added, err));
    }

done:
    return status;
}
