// Orders of units by score, and the choice of the first of an order.

#ifndef COP_PRUNE_RANK_H
#define COP_PRUNE_RANK_H

#include <stdint.h>

#include "base/status.h"
#include "prune/select.h"

// Memory for ranking up to `units` units.
typedef struct cop_ranker {
    int64_t units;
    struct cop_ranked *pairs; // [units]
    int64_t *shuffled;        // [units]
} cop_ranker;

COP_MUST_CHECK cop_status cop_ranker_init(cop_ranker *ranker, int64_t units, cop_error *err);
void cop_ranker_release(cop_ranker *ranker);

// order [count] <- indices 0 … count - 1, the first to keep first: by falling score (ties: lower index
// first), by that order backwards, or at random by (seed, COP_RNG_RANKING, index), where scores may
// be NULL.
COP_MUST_CHECK cop_status cop_rank(cop_ranker *ranker, int32_t *order, const double *scores,
                                   int64_t count, cop_order how, uint64_t seed, uint64_t index,
                                   cop_error *err);

// Sorts the first `kept` entries of an order into rising index: the teacher's order.
void cop_rank_sort_kept(int32_t *order, int64_t kept);

#endif
