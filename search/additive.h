// The best points of a domain by a score that is a sum over its axes (cop_additivity), exactly: the knapsack problem
// of the axes that are not shared is solved for combinations of levels of the shared ones, those first whose
// Lagrangian bound (Fisher, "The Lagrangian relaxation method for solving integer programming problems", 1981) is
// lowest, until no other combination can hold a better point. Deterministic.

#ifndef COP_SEARCH_ADDITIVE_H
#define COP_SEARCH_ADDITIVE_H

#include "search/domain.h"

enum {
    COP_ADDITIVE_COMBINATIONS_MAX = 1 << 14, // of the shared axes, where others are left
    COP_ADDITIVE_POINTS_MAX = 1 << 20        // where all axes are shared
};

typedef struct cop_additive_search cop_additive_search;

// Points by rising score.
typedef struct cop_additive_found {
    int64_t count;
    int32_t *genome; // [count, axes], owned; canonical
    double *score;   // [count], owned
    bool is_proven;  // they are the best; otherwise the solver gave up on a proof
} cop_additive_found;

// The domain must outlive the search. COP_ERR_CONFIG: it has no additivity, more resources than the solver takes, or
// too many combinations; COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_additive_search_create(cop_additive_search **out,
                                                     const cop_domain *domain, cop_error *err);
void cop_additive_search_destroy(cop_additive_search *search);

// Limits of the first resource between which all feasible points lie; false: there is none.
bool cop_additive_sizes(const cop_additive_search *search, int64_t *low, int64_t *high);

// The `wanted` best points that hold the bounds and whose first resource lies within [low, high]. Fewer and
// proven: there are no more. With several
// resources the solver may give up on a proof; what it finds then is close to the best.
COP_MUST_CHECK cop_status cop_additive_best(cop_additive_found *out, cop_additive_search *search,
                                            int64_t low, int64_t high, int64_t wanted,
                                            cop_error *err);
void cop_additive_found_release(cop_additive_found *found);

#endif
