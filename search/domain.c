#include "search/domain.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "search/strategy_internal.h"

void cop_domain_canonicalize(const cop_domain *domain, int32_t *genome)
{
    if (domain->canonicalize != NULL) {
        domain->canonicalize(domain->context, genome);
    }
}

double cop_domain_violation(const cop_domain *domain, const int32_t *genome)
{
    const double violation =
        domain->violation == NULL ? 0.0 : domain->violation(domain->context, genome);
    return isnan(violation) ? (double)INFINITY : violation;
}

bool cop_domain_is_ordered(const cop_domain *domain, int axis)
{
    return domain->is_ordered == NULL || domain->is_ordered[axis];
}

double cop_domain_size(const cop_domain *domain)
{
    double size = 1.0;
    for (int i = 0; i < domain->axes; i++) {
        size *= (double)domain->levels[i];
    }
    return size;
}

void cop_domain_draw(const cop_domain *domain, cop_rng *rng, int32_t *genome)
{
    for (int i = 0; i < domain->axes; i++) {
        genome[i] = (int32_t)cop_rng_below(rng, (uint64_t)domain->levels[i]);
    }
}

void cop_domain_draw_tilted(const cop_domain *domain, cop_rng *rng, double tilt, int32_t *genome)
{
    const double pull = fabs(2 * tilt - 1);
    for (int i = 0; i < domain->axes; i++) {
        genome[i] = (int32_t)cop_rng_below(rng, (uint64_t)domain->levels[i]);
        if (cop_domain_is_ordered(domain, i) && cop_rng_uniform(rng) < pull) {
            genome[i] = tilt < 0.5 ? 0 : domain->levels[i] - 1;
        }
    }
}

// --- The walk -------------------------------------------------------------------------------------

cop_status cop_domain_walk_init(cop_domain_walk *self, const cop_domain *domain, cop_error *err)
{
    *self = (cop_domain_walk){.domain = domain};
    self->genome = cop_alloc((size_t)domain->axes, sizeof *self->genome);
    self->probe = cop_alloc(2 * (size_t)domain->axes, sizeof *self->probe);
    if (self->genome == NULL || self->probe == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "strategy: out of memory");
    }
    return COP_OK;
}

void cop_domain_walk_release(cop_domain_walk *self)
{
    cop_free(self->genome);
    cop_free(self->probe);
    *self = (cop_domain_walk){0};
}

// The next genome that differs from the present one at `axis` or before it.
static void advance(cop_domain_walk *self, int axis)
{
    const int axes = self->domain->axes;
    memset(&self->genome[axis + 1], 0, (size_t)(axes - axis - 1) * sizeof *self->genome);
    while (axis >= 0 && self->genome[axis] == self->domain->levels[axis] - 1) {
        self->genome[axis--] = 0;
    }
    if (axis >= 0) {
        self->genome[axis]++;
    } else {
        self->is_done = true;
    }
}

// The first axis at or after `from` where the canonical form of `genome` differs from it; `axes`: none does.
static int first_difference(const cop_domain *domain, const int32_t *genome, int32_t *canonical,
                            int from)
{
    memcpy(canonical, genome, (size_t)domain->axes * sizeof *canonical);
    cop_domain_canonicalize(domain, canonical);
    while (from < domain->axes && genome[from] == canonical[from]) {
        from++;
    }
    return from;
}

static bool is_canonical(const cop_domain *domain, const int32_t *genome, int32_t *canonical)
{
    return first_difference(domain, genome, canonical, 0) == domain->axes;
}

// Whether no genome that agrees up to `axis` is canonical, whatever follows. A domain promises that axes stop
// mattering through axes before them, but a wrong guess would lose points: probes with other levels at
// each axis that follows, and at all of them, must not be canonical either.
static bool is_decided_at(cop_domain_walk *self, int axis)
{
    enum { PATTERNS = 32 };

    const cop_domain *domain = self->domain;
    const size_t bytes = (size_t)domain->axes * sizeof *self->probe;
    int32_t *canonical = &self->probe[domain->axes];

    for (int i = axis + 1; i < domain->axes; i++) {
        const int32_t others[] = {domain->levels[i] - 1, domain->levels[i] > 1 ? 1 : 0};
        for (int k = 0; k < 2; k++) {
            memcpy(self->probe, self->genome, bytes);
            self->probe[i] = others[k];
            if (is_canonical(domain, self->probe, canonical)) {
                return false;
            }
        }
    }
    for (int k = 0; axis + 1 < domain->axes && k < PATTERNS; k++) {
        uint64_t mixed = (uint64_t)k;
        memcpy(self->probe, self->genome, bytes);
        for (int i = axis + 1; i < domain->axes; i++) {
            mixed = mixed * 6364136223846793005u + 1442695040888963407u;
            self->probe[i] = (int32_t)((mixed >> 33) % (uint64_t)domain->levels[i]);
        }
        if (is_canonical(domain, self->probe, canonical)) {
            return false;
        }
    }
    return true;
}

// Whether the walk stands on a canonical genome; otherwise it moves on.
static bool settle(cop_domain_walk *self)
{
    const int axes = self->domain->axes;
    int32_t *canonical = &self->probe[axes];
    int axis = first_difference(self->domain, self->genome, canonical, 0);
    if (axis == axes) {
        return true;
    }
    while (axis < axes - 1 && !is_decided_at(self, axis)) {
        axis = first_difference(self->domain, self->genome, canonical, axis + 1);
    }
    advance(self, axis < axes ? axis : axes - 1);
    return false;
}

const int32_t *cop_domain_walk_view(cop_domain_walk *self)
{
    while (!self->is_done) {
        if (settle(self)) {
            if (!(cop_domain_violation(self->domain, self->genome) > 0)) {
                return self->genome;
            }
            advance(self, self->domain->axes - 1);
        }
    }
    return NULL;
}

void cop_domain_walk_step(cop_domain_walk *self)
{
    if (!self->is_done) {
        advance(self, self->domain->axes - 1);
    }
}
