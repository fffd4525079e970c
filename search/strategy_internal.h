// What strategies share: which genomes are taken, and the batch that is being proposed.
//
// A strategy keeps one cop_proposals. What was told stays taken for ever; what was proposed is taken until
// results are told, because a caller may tell fewer points than a batch has, and a strategy that was told
// them without being asked must go on in the same way.

#ifndef COP_SEARCH_STRATEGY_INTERNAL_H
#define COP_SEARCH_STRATEGY_INTERNAL_H

#include "base/rng.h"
#include "search/strategy.h"

// The genomes of a set, in the order they were added; borrowed until the next addition.
const int32_t *cop_genome_set_view(const cop_genome_set *set, int64_t index);
// Empties a set; it keeps its memory.
void cop_genome_set_clear(cop_genome_set *set);

// The `self` of a strategy of this type, borrowed; NULL when it is of another.
const void *cop_strategy_self(const cop_strategy *strategy, const cop_strategy_type *type);

typedef struct cop_proposals {
    const cop_domain *domain; // borrowed
    cop_genome_set *told;     // owned: of all batches told
    cop_genome_set *batch;    // owned: proposed in the current batch, in order
    int32_t *genome;          // [3, axes], owned: for drawing
    int64_t number;           // of the current batch, as of the last cop_proposals_begin
    cop_rng *rng;             // owned: of the current batch; NULL before the first
    uint64_t seed;
    bool is_exhausted;    // nothing more was found for the current batch
    cop_genome_set *rest; // owned: all feasible points of a small domain, once they were listed
} cop_proposals;

// COP_ERR_NOMEM. On failure the object can be released.
COP_MUST_CHECK cop_status cop_proposals_init(cop_proposals *self, const cop_domain *domain,
                                             uint64_t seed, cop_error *err);
void cop_proposals_release(cop_proposals *self);

// Starts batch `number` unless it is already being proposed: *is_fresh tells. A fresh batch is empty and
// draws from the generator of its number.
COP_MUST_CHECK cop_status cop_proposals_begin(cop_proposals *self, int64_t number, bool *is_fresh,
                                              cop_error *err);

// Canonicalises `genome` in place and adds it to the batch if it is new and feasible.
COP_MUST_CHECK cop_status cop_proposals_add(cop_proposals *self, int32_t *genome, bool *is_added,
                                            cop_error *err);

// Adds a point drawn uniformly from those that are feasible, canonical and new, or, where they are too rare to
// be hit, one near the drawn: by a walk towards feasible points, and in a domain of up to 2^20 genomes by listing
// what is left. *is_added false: nothing is left, or nothing could be found.
COP_MUST_CHECK cop_status cop_proposals_add_random(cop_proposals *self, bool *is_added,
                                                   cop_error *err);

// The first `limit` genomes of the batch, or as many as there are.
void cop_proposals_copy(const cop_proposals *self, int32_t *genomes, int64_t limit, int64_t *count);

// Takes the genomes of results, canonicalised, and forgets the current batch.
COP_MUST_CHECK cop_status cop_proposals_tell(cop_proposals *self, const cop_trial *trials,
                                             int64_t count, cop_error *err);

// --- Of a domain ----------------------------------------------------------------------------------

void cop_domain_canonicalize(const cop_domain *domain, int32_t *genome);
double cop_domain_violation(const cop_domain *domain, const int32_t *genome); // NaN: +infinity
bool cop_domain_is_ordered(const cop_domain *domain, int axis);
// Draws every level uniformly; not canonical.
void cop_domain_draw(const cop_domain *domain, cop_rng *rng, int32_t *genome);
// Draws towards low (tilt 0) or high levels (tilt 1) of ordered axes; 0.5 is uniform. The sum of many axes
// then takes values that uniform draws hardly ever reach.
void cop_domain_draw_tilted(const cop_domain *domain, cop_rng *rng, double tilt, int32_t *genome);
// Genomes before canonicalisation, as a real number: it may be 10^60.
double cop_domain_size(const cop_domain *domain);

// Visits the feasible canonical points in order, the first axis slowest. Runs of genomes that are not canonical
// are skipped as a whole where an axis stopped mattering through axes before it.
typedef struct cop_domain_walk {
    const cop_domain *domain; // borrowed
    int32_t *genome;          // [axes], owned: where the walk is
    int32_t *probe;           // [2, axes], owned
    bool is_done;
} cop_domain_walk;

COP_MUST_CHECK cop_status cop_domain_walk_init(cop_domain_walk *self, const cop_domain *domain,
                                               cop_error *err);
void cop_domain_walk_release(cop_domain_walk *self);
// The point at or after the walk's place, borrowed; NULL: there is none left. It stays there.
const int32_t *cop_domain_walk_view(cop_domain_walk *self);
// Steps past it.
void cop_domain_walk_step(cop_domain_walk *self);

// --- Spreading over a domain ----------------------------------------------------------------------

enum { COP_SPREAD_SIZES = 16, COP_SPREAD_SHAPES = 4, COP_SPREAD_BINS = 64 };

// Counts how often each part of a domain was taken: buckets of size and shape, their bounds learned from a
// sample; without strata the levels of each axis, as a Latin hypercube does.
typedef struct cop_spread {
    const cop_domain *domain; // borrowed
    double low[2];            // of size and shape
    double high[2];
    int64_t counters; // parts
    int64_t *told;    // [counters], owned: by points that were told
    int64_t *now;     // [counters], owned: and by those of the current batch
    int32_t *genome;  // [2, axes], owned
} cop_spread;

COP_MUST_CHECK cop_status cop_spread_init(cop_spread *self, const cop_domain *domain, uint64_t seed,
                                          cop_error *err);
void cop_spread_release(cop_spread *self);
// Counts a canonical genome of a result.
void cop_spread_tell(cop_spread *self, const int32_t *genome);
// Forgets the current batch.
void cop_spread_begin(cop_spread *self);
// Adds a new feasible point to the batch from a part that was taken least, among some that are drawn.
COP_MUST_CHECK cop_status cop_spread_add(cop_spread *self, cop_proposals *proposals, bool *is_added,
                                         cop_error *err);

#endif
