// Pareto dominance and non-dominated sorting, all objectives minimised.
//
// Source: Deb et al., "A fast and elitist multiobjective genetic algorithm: NSGA-II", 2002: a dominates b
// when it is nowhere worse and somewhere better; front 0 is what nothing dominates, front k what only
// earlier fronts dominate. Equal points do not dominate each other. Two objectives are sorted in
// O(n log n) (a sweep by the first, binary search among the fronts), more in O(n² d).

#ifndef COP_SEARCH_FRONT_H
#define COP_SEARCH_FRONT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { COP_FRONT_OBJECTIVES_MAX = 8 };

// One point of the sort; `value` beyond `objectives` is not read. A NaN counts as +infinity.
typedef struct cop_front_point {
    double value[COP_FRONT_OBJECTIVES_MAX];
    int64_t index; // the caller's
    int64_t front; // out
} cop_front_point;

bool cop_front_dominates(const cop_front_point *a, const cop_front_point *b, int objectives);

// Sets `front` of each of `count` points and orders them by (front, first objective, the others, index).
// `scratch` and `work` hold `count` elements each.
void cop_front_sort(cop_front_point *points, int64_t count, int objectives,
                    cop_front_point *scratch, int64_t *work);

#endif
