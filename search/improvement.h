// Expected hypervolume improvement of a point whose objectives are independent normal variables, over a
// front and a reference point, all objectives minimised.
//
// The improvement is the volume that the point dominates, within the reference, and the front does not. Its expectation is
// the integral, over what the front does not dominate, of the probability that the point dominates there:
//     EHVI = ∫ Π_j Φ((u_j - mean_j) / deviation_j) du
// (Fubini). For one and two objectives the integral is exact: the region is cut into one strip per point
// of the front, over which it is a product of one-dimensional integrals (strips as in Emmerich, Deutz &
// Klinkenberg, "Hypervolume-based expected improvement: monotonicity properties and exact computation", 2011;
// O(log n + strips within six deviations)). For more objectives u is a fixed set of draws, uniform between
// an ideal point and the reference (unbiased for points that cannot be better than the ideal).

#ifndef COP_SEARCH_IMPROVEMENT_H
#define COP_SEARCH_IMPROVEMENT_H

#include "base/rng.h"
#include "search/front.h"

typedef struct cop_improvement cop_improvement;

// An empty front. `reference` [objectives], finite, is copied.
COP_MUST_CHECK cop_status cop_improvement_create(cop_improvement **out, int objectives,
                                                 const double *reference, cop_error *err);
void cop_improvement_destroy(cop_improvement *improvement);

// Adds a point [objectives], without NaN, to the front: points that it dominates go; one that is dominated, or
// not better than the reference everywhere, changes nothing.
COP_MUST_CHECK cop_status cop_improvement_add(cop_improvement *improvement, const double *value,
                                              cop_error *err);
int64_t cop_improvement_count(const cop_improvement *improvement);

// For three objectives and more, after the front's points: keeps up to `limit` draws that the front does not
// dominate, of at most 32 times as many. Later additions to the front remove draws. Without draws all
// expectations are 0. Nothing is done for one and two objectives.
COP_MUST_CHECK cop_status cop_improvement_draw(cop_improvement *improvement, const double *ideal,
                                               int64_t limit, cop_rng *rng, cop_error *err);

// The expectation. A deviation of 0 is a value that is certain.
double cop_improvement_expected(const cop_improvement *improvement, const double *mean,
                                const double *deviation);

#endif
