// The parts of NSGA-II: what it keeps, how it selects, how it varies genomes.

#ifndef COP_SEARCH_NSGA2_INTERNAL_H
#define COP_SEARCH_NSGA2_INTERNAL_H

#include "search/strategy_internal.h"

// Of one result told; the genome is that of the same index in the set of told genomes.
typedef struct cop_nsga2_result {
    cop_front_point point; // its index is the result's
    double violation;      // +infinity: it failed, or an objective is not finite
    double crowding;       // distance to its neighbours of the same front, as of the last selection
    int64_t rank;          // front among feasible ones, behind them infeasible ones by violation
} cop_nsga2_result;

typedef struct cop_nsga2_ordered {
    double value;
    int64_t index;
} cop_nsga2_ordered;

// Working memory of selections; zeroed but for `objectives` at first.
typedef struct cop_nsga2_selection {
    int objectives;
    int64_t room;             // of the arrays
    cop_front_point *point;   // [room], owned
    cop_front_point *scratch; // [room], owned
    int64_t *work;            // [room], owned
    int64_t *next;            // [objectives, room], owned
    int64_t *previous;        // [objectives, room], owned
    double *crowding;         // [room], owned
    cop_nsga2_ordered *order; // [room], owned
} cop_nsga2_selection;

// Keeps the best `limit` of `*count` results, named by `index`, best first: whole fronts of feasible points,
// of the front that does not fit those that remain when the most crowded is removed again and again, then
// infeasible points by their violation, failed ones last. Sets rank and crowding of those kept.

COP_MUST_CHECK cop_status cop_nsga2_select(cop_nsga2_selection *self, cop_nsga2_result *result,
                                           int64_t *index, int64_t *count, int64_t limit,
                                           cop_error *err);
void cop_nsga2_selection_release(cop_nsga2_selection *self);

// Uniform crossover: each axis of `child`, a copy of one parent, takes the level of `mate` with probability a
// half. An ordered axis of many levels takes one near either parent's (simulated binary crossover, Deb and
// Agrawal, 1995, distribution index 15, rounded to levels).
void cop_nsga2_cross(const cop_domain *domain, cop_rng *rng, const int32_t *mate, int32_t *child);

// Changes the level of each axis with probability `rate`: to any other where levels are words, by a step
// where they are ordered.
void cop_nsga2_mutate(const cop_domain *domain, cop_rng *rng, double rate, int32_t *child);

#endif
