// Runs a strategy on a problem, and judges what it found.

#ifndef COP_TESTS_SEARCH_PROBLEM_RUN_H
#define COP_TESTS_SEARCH_PROBLEM_RUN_H

#include "search/strategy.h"
#include "tests/search/problems.h"

typedef struct problem_point {
    double objective[2];
    double violation;
} problem_point;

// Evaluates up to `room` points in the order proposed, into `points`; their number into *count (fewer
// when the space is exhausted). *seconds: the time spent within ask and tell (processor time).
COP_MUST_CHECK cop_status problem_run(const problem *self, const cop_strategy_type *type,
                                      const cop_strategy_options *options, int64_t room,
                                      problem_point *points, int64_t *count, double *seconds,
                                      cop_error *err);

// The feasible points that no other dominates, by the first objective, without copies; their number.
int64_t problem_front(problem_point *points, int64_t count);
// Removes the most crowded point of such a front (sum of the distances of its neighbours, relative to
// the front's ranges) until `limit` are left.
int64_t problem_thin(problem_point *front, int64_t count, int64_t limit);

// Area dominated by a front within 1.1 of the normalised objectives; points beyond do not count.
double problem_hypervolume(const problem *self, const problem_point *front, int64_t count);
// Mean distance of the reference front's points to the nearest of the front found; is_normalized: in
// objectives normalised by the problem's ranges.
double problem_igd(const problem *self, const problem_point *front, int64_t count,
                   bool is_normalized);
// The same area of the reference front itself.
double problem_reference_hypervolume(const problem *self);

#endif
