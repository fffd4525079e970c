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
    int32_t *genome;          // [axes], owned: for canonicalising
    int64_t number;           // of the current batch, as of the last cop_proposals_begin
    cop_rng *rng;             // owned: of the current batch; NULL before the first
    uint64_t seed;
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

// The first `limit` genomes of the batch, or as many as there are.
void cop_proposals_copy(const cop_proposals *self, int32_t *genomes, int64_t limit, int64_t *count);

// Takes the genomes of results, canonicalised, and forgets the current batch.
COP_MUST_CHECK cop_status cop_proposals_tell(cop_proposals *self, const cop_trial *trials,
                                             int64_t count, cop_error *err);

// --- Of a domain ----------------------------------------------------------------------------------

void cop_domain_canonicalize(const cop_domain *domain, int32_t *genome);
double cop_domain_violation(const cop_domain *domain, const int32_t *genome); // NaN: +infinity
bool cop_domain_is_ordered(const cop_domain *domain, int axis);
// Genomes before canonicalisation, as a real number: it may be 10^60.
double cop_domain_size(const cop_domain *domain);

#endif
