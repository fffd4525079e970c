// How well a set of points stands for a reference front, all objectives minimised. Lower is better.
//
//   IGD       mean over the reference points of the Euclidean distance to the nearest point: Coello Coello and
//             Reyes Sierra, "A study of the parallelization of a coevolutionary multi-objective evolutionary
//             algorithm", 2004, in today's usual form, the mean of distances (theirs is the square root of the
//             sum of squares, over the count)
//   IGD+      the same with the distance by which a point is worse, sqrt(sum max(0, point - reference)^2):
//             Ishibuchi et al., "Modified distance calculation in generational distance and inverted
//             generational distance", 2015. Weakly Pareto compliant
//   epsilon   additive: the smallest number by which all points must improve in every objective so that each
//             reference point is weakly dominated: Zitzler et al., "Performance assessment of multiobjective
//             optimizers: an analysis and review", 2003. Negative when the set is better everywhere
//
// `values` [count, objectives] and `front` [front_count, objectives] are on one scale; normalise them first
// when objectives differ in unit. A point with a NaN or +infinity is far from everything; no points at all
// give +infinity. O(count · front_count · objectives).

#ifndef COP_SEARCH_INDICATOR_H
#define COP_SEARCH_INDICATOR_H

#include <stdint.h>

#include "base/status.h"

// COP_ERR_CONFIG for objectives outside 1 … COP_FRONT_OBJECTIVES_MAX, a count below 0, an empty front, or one
// that is not finite.
COP_MUST_CHECK cop_status cop_indicator_igd(double *igd, const double *values, int64_t count,
                                            const double *front, int64_t front_count,
                                            int objectives, cop_error *err);
COP_MUST_CHECK cop_status cop_indicator_igd_plus(double *igd_plus, const double *values,
                                                 int64_t count, const double *front,
                                                 int64_t front_count, int objectives,
                                                 cop_error *err);
COP_MUST_CHECK cop_status cop_indicator_epsilon(double *epsilon, const double *values,
                                                int64_t count, const double *front,
                                                int64_t front_count, int objectives,
                                                cop_error *err);

#endif
