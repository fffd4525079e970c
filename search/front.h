// Pareto dominance, non-dominated sorting and crowding distances; all objectives are minimised.
//
// Sources: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002: a dominates b
// when it is nowhere worse and somewhere better; front 0 is what nothing dominates, front k what only
// earlier fronts dominate. Equal points do not dominate each other. Points are taken in lexicographic
// order, as in Zhang et al., "An efficient approach to nondominated sorting for evolutionary multiobjective
// optimization" (ENS), 2015: then a point's front is settled by the points before it. Two objectives take
// O(n log n): the last point of each front decides, found by binary search. More take O(n² d) on places
// instead of values: eight 16-bit comparisons at a time, up to COP_FRONT_SHORT_MAX points.
//
// Everywhere a NaN counts as +infinity, and -0 equals 0. Results depend on the values alone, and among
// equals on the index.

#ifndef COP_SEARCH_FRONT_H
#define COP_SEARCH_FRONT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { COP_FRONT_OBJECTIVES_MAX = 8, COP_FRONT_SHORT_MAX = INT16_MAX - 1 };

// One point of the sort; `value` beyond `objectives` is not read.
typedef struct cop_front_point {
    double value[COP_FRONT_OBJECTIVES_MAX];
    int64_t index; // the caller's
    int64_t front; // out
} cop_front_point;

bool cop_front_dominates(const cop_front_point *a, const cop_front_point *b, int objectives);

// Sets `front` of each of `count` points and orders them by (front, first objective, the others, index).
// `objectives` is 1 … COP_FRONT_OBJECTIVES_MAX, `count` at most INT32_MAX. `scratch` and `order` hold `count`
// elements each, as memory: what they hold afterwards means nothing.
void cop_front_sort(cop_front_point *points, int64_t count, int objectives,
                    cop_front_point *scratch, int64_t *order);

// COP_ERR_CONFIG when a set of points is out of range: objectives 1 … COP_FRONT_OBJECTIVES_MAX, count
// 0 … INT32_MAX.
COP_MUST_CHECK cop_status cop_front_check(int64_t count, int objectives, cop_error *err);

// Sets rank[i] to the front of point i, 0 … count - 1. `values` is [count, objectives]; both may be NULL
// when `count` is 0. COP_ERR_CONFIG for objectives or a count out of range, COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_front_rank(int64_t *rank, const double *values, int64_t count,
                                         int objectives, cop_error *err);

// Crowding distances (Deb et al. 2002) of all points, each among the points of its own front: the sum over the
// objectives of the distance between its two neighbours, over the front's range. The first and the last point
// by an objective, equals ordered by index, are infinitely far. An objective in which a front has
// a single finite value or none tells nothing and is left out, an infinite value counts as the front's finite
// extreme on its side; fronts of one or two points are all infinite.
// `rank` [count] is as from cop_front_rank(); NULL: all points are one front. O(d n log n).
// COP_ERR_CONFIG for objectives, a count or a rank out of range, COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_front_crowding(double *distance, const double *values,
                                             const int64_t *rank, int64_t count, int objectives,
                                             cop_error *err);

#endif
