// Layer-wise search with additive scores, solved exactly: one option for each layer, the sum of the
// options' scores minimal, the sum of each resource within its bounds. A multiple-choice knapsack problem with
// 1 to 4 two-sided resources: what Puzzle (arXiv 2411.19146, 2024) gives to a mixed-integer solver.
//
// Method: layers are taken one by one. A state is what a choice for the layers so far costs and scores. It is
// dropped when as many others as solutions are asked for score no worse and leave every completion
// possible that it leaves (Pareto states, Nemhauser and Ullmann, "Discrete dynamic programming and capital
// allocation", 1969), or when a Lagrangian bound on its completions exceeds the best known solutions
// (Fisher, "The Lagrangian relaxation method for solving integer programming problems", 1981; as Pisinger,
// "A minimal algorithm for the multiple-choice knapsack problem", 1995, does with the linear bound). The
// multipliers are found by the ellipsoid method; their neighbours serve states far from the
// average. A run keeps the states of best bound up to a width; runs widen until none was cut off,
// which is the proof. Between runs a local search improves the best assignment. Costs are whole
// numbers and never rounded.
//
// Scores are added in the order of the layers in double; "minimal" is meant of these rounded sums, exactly.
// Single-threaded, deterministic; two calls may run at once.

#ifndef COP_SEARCH_KNAPSACK_H
#define COP_SEARCH_KNAPSACK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum {
    COP_KNAPSACK_RESOURCES_MAX = 4,
    COP_KNAPSACK_LAYERS_MAX = 1024,
    COP_KNAPSACK_OPTIONS_MAX = 65536, // of one layer
    COP_KNAPSACK_REASON_BYTES = 320,
};

typedef struct cop_knapsack_problem {
    int layers;
    int resources;       // 1 … COP_KNAPSACK_RESOURCES_MAX
    const int *options;  // [layers], each >= 1
    const double *score; // [sum of options], finite, minimised; layer after layer
    const int64_t *cost; // [sum of options, resources], >= 0
    // A total must lie within [min, max]; 0 and INT64_MAX do not bind.
    int64_t min[COP_KNAPSACK_RESOURCES_MAX];
    int64_t max[COP_KNAPSACK_RESOURCES_MAX];
    const char *name[COP_KNAPSACK_RESOURCES_MAX]; // for messages; NULL: "resource <n>"
} cop_knapsack_problem;

typedef struct cop_knapsack_options {
    int64_t solutions;  // the best so many different assignments, >= 1
    int64_t states_max; // kept per layer, >= 1; each takes 8 bytes a layer, and up to 600 bytes
} cop_knapsack_options;

#define COP_KNAPSACK_OPTIONS_DEFAULT            \
    {                                           \
        .solutions = 1, .states_max = 1L << 15, \
    }

typedef enum cop_knapsack_state {
    COP_KNAPSACK_OPTIMAL,    // proven: these are the best; fewer than asked for: there are no more
    COP_KNAPSACK_UNPROVEN,   // feasible; states_max was too small for the proof, see `bound`
    COP_KNAPSACK_INFEASIBLE, // proven: no assignment holds the bounds; see `reason`
    COP_KNAPSACK_UNKNOWN     // states_max was too small to find one, or to prove that there is none
} cop_knapsack_state;

typedef struct cop_knapsack_result {
    cop_knapsack_state state;
    int64_t count;   // solutions, best first
    int layers;      // as in the problem
    int resources;   // as in the problem
    int32_t *choice; // [count, layers], option of each layer; owned
    double *score;   // [count], owned
    int64_t *cost;   // [count, resources], owned
    // No assignment that is missing here scores less. The gap of an unproven result is the last score
    // minus this; -infinity: nothing is known.
    double bound;
    int64_t states; // generated in all, the price of the proof
    // Infeasible: the resource whose bound is to be moved (-1: not found), and the nearest value it can
    // take while all other bounds hold. `reason` says so in words ("" when feasible).
    int resource;
    int64_t nearest;
    char reason[COP_KNAPSACK_REASON_BYTES];
} cop_knapsack_result;

// COP_ERR_CONFIG for counts out of range, scores not finite, costs < 0, min > max, or totals beyond
// int64; COP_ERR_NOMEM. An infeasible problem is a result, not an error.
COP_MUST_CHECK cop_status cop_knapsack_solve(cop_knapsack_result *out,
                                             const cop_knapsack_problem *problem,
                                             const cop_knapsack_options *options, cop_error *err);
void cop_knapsack_result_release(cop_knapsack_result *result);

// Total score and costs [resources] of an assignment [layers] of a problem that was solved.
double cop_knapsack_evaluate(int64_t *cost, const cop_knapsack_problem *problem,
                             const int32_t *choice);

// The trade-off of total score against one resource, the bounds of all resources kept: minimises the
// score, then again with the resource's maximum lowered below what was used by at least `step`
// (>= 1), until nothing is feasible or `points_max` are found (epsilon constraint, Haimes et al. 1971).
// `out` holds the points by rising score and falling cost. With step 1 and state OPTIMAL it is the whole
// Pareto set, one assignment for each point. State UNPROVEN: points_max was reached, or the proof of
// a point took more than states_max; `bound` is -infinity then. options->solutions is not used.
COP_MUST_CHECK cop_status cop_knapsack_front(cop_knapsack_result *out,
                                             const cop_knapsack_problem *problem, int resource,
                                             int64_t step, int64_t points_max,
                                             const cop_knapsack_options *options, cop_error *err);

#endif
