// Hypervolume: the measure of what a set of points dominates up to a reference point, all objectives minimised.
// Exact, by decomposition into boxes.
//
//   1         the difference
//   2         O(n log n), a sweep by the first objective
//   3         O(n log n), a sweep by the last over a staircase in the other two: Beume et al., "On the
//             complexity of computing the hypervolume indicator", 2009 (HV3D of Fonseca et al. 2006), with a
//             set of bits in place of their balanced tree
//   4         O(n²) for the usual fronts, O(n² log n) at worst: a sweep by the last that adds the exclusive
//             3-D volume of each point, as Guerreiro and Fonseca, "Computing and updating hypervolume
//             contributions in up to four dimensions", 2018, do; here the box that a point can own alone is
//             shrunk first and only what reaches into it is swept
//   5 … 8     exponential in the dimension: the same, one dimension at a time, which is WFG with slicing and
//             limit sets: While, Bradstreet, Barone, "A fast way of calculating exact hypervolumes", 2012
//
// A point counts when each objective is strictly better than the reference; one with a NaN never does. One
// that counts and has an objective of -infinity makes the volume infinite; so does overflow. Dominated points and repetitions
// change nothing. The order of points can change the last digits (rounding), nothing else: relative error
// about 1e-13.

#ifndef COP_SEARCH_HYPERVOLUME_H
#define COP_SEARCH_HYPERVOLUME_H

#include <stdint.h>

#include "base/status.h"

// From four objectives on, no more than so many points may count.
enum { COP_HYPERVOLUME_OBJECTIVES_MAX = 8, COP_HYPERVOLUME_POINTS_MAX = 32766 };

// `values` is [count, objectives] and may be NULL when `count` is 0 (the volume is 0 then), `reference` is
// [objectives]. COP_ERR_CONFIG for objectives outside 1 … 8, a count below 0, a reference that is not finite;
// COP_ERR_UNSUPPORTED for too many points that count; COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_hypervolume(double *volume, const double *values, int64_t count,
                                          int objectives, const double *reference, cop_error *err);

// The same on a scale of 0 … 1 per objective: (value - minimum) / (maximum - minimum), against `reference` in
// every objective, e.g. 1.1. An objective whose two bounds are equal is only shifted. `minimum` and `maximum`
// are [objectives]; COP_ERR_CONFIG also when they are not finite or in the wrong order.
COP_MUST_CHECK cop_status cop_hypervolume_normalized(double *volume, const double *values,
                                                     int64_t count, int objectives,
                                                     const double *minimum, const double *maximum,
                                                     double reference, cop_error *err);

// contribution[i]: by how much the volume of the whole set exceeds that without point i. 0 for what does not
// count, is dominated or repeated; +infinity for a point of -infinity that is not. Two objectives take
// O(n log n); else O(n² d) and for each point the volume of what reaches into the box it owns.
COP_MUST_CHECK cop_status cop_hypervolume_contributions(double *contribution, const double *values,
                                                        int64_t count, int objectives,
                                                        const double *reference, cop_error *err);

#endif
