// How the parts of the knapsack solver see a problem, after the cheapest option of each layer was
// subtracted: costs start at 0, so that what the remaining layers need at least is 0.

#ifndef COP_SEARCH_KNAPSACK_INTERNAL_H
#define COP_SEARCH_KNAPSACK_INTERNAL_H

#include "search/knapsack.h"

enum {
    COP_KNAPSACK_SHIFTS = 10,
    COP_KNAPSACK_MULTIPLIERS_MAX = 2 + COP_KNAPSACK_RESOURCES_MAX * COP_KNAPSACK_SHIFTS
};

typedef struct cop_knapsack_table {
    int layers;
    int resources;
    const int *options;   // [layers], borrowed
    const double *score;  // [sum of options], borrowed
    int64_t *first;       // [layers], of each layer in `score` and `cost`
    int64_t *cost;        // [sum of options, resources], above the layer's cheapest
    int64_t *suffix_most; // [layers + 1, resources], what the layers from here on cost at most
    int64_t base[COP_KNAPSACK_RESOURCES_MAX]; // sum of what was subtracted
    int64_t low[COP_KNAPSACK_RESOURCES_MAX];  // bounds of the total, within 0 … suffix_most[0]
    int64_t high[COP_KNAPSACK_RESOURCES_MAX];
    double score_span; // sum of the layers' score ranges
    double score_size; // sum of the layers' largest |score|
    // Lower bounds: score + multiplier · cost + suffix, for the states before a layer.
    int multipliers;
    double multiplier[COP_KNAPSACK_MULTIPLIERS_MAX][COP_KNAPSACK_RESOURCES_MAX];
    double *suffix; // [layers + 1, multipliers]
} cop_knapsack_table;

// What a resource is called in messages; `buffer` may hold it.
const char *cop_knapsack_name(char buffer[32], const cop_knapsack_problem *problem, int resource);

COP_MUST_CHECK cop_status cop_knapsack_check(const cop_knapsack_problem *problem,
                                             const cop_knapsack_options *options, cop_error *err);

// Everything but bounds and multipliers. Borrows from `problem`.
COP_MUST_CHECK cop_status cop_knapsack_table_create(cop_knapsack_table *out,
                                                    const cop_knapsack_problem *problem,
                                                    cop_error *err);
void cop_knapsack_table_release(cop_knapsack_table *t);

// The bounds above the cheapest total, cut to what is possible. Returns false, with the resource and
// the nearest total, when a bound cannot be met by any choice at all.
bool cop_knapsack_table_set_bounds(cop_knapsack_table *t, const cop_knapsack_problem *problem,
                                   int *resource, int64_t *nearest);

// cop_knapsack_solve() of checked arguments, without the search for what to say of an infeasible
// problem beyond a single bound that is out of reach.
COP_MUST_CHECK cop_status cop_knapsack_solve_plain(cop_knapsack_result *out,
                                                   const cop_knapsack_problem *problem,
                                                   const cop_knapsack_options *options,
                                                   cop_error *err);

// Chooses the multipliers and fills `suffix`, with what rounding could take away already subtracted.
COP_MUST_CHECK cop_status cop_knapsack_bound(cop_knapsack_table *table, cop_error *err);

// What one run found. Arrays [count, …] of the run's best, owned.
typedef struct cop_knapsack_found {
    int64_t count;
    int32_t *choice; // [count, layers]
    double *score;   // [count], rising
    double dropped;  // lowest bound among states cut off by the width; infinity: none, a proof
    int64_t states;
} cop_knapsack_found;

// One pass over the layers with at most `width` states each; completions that must score more than
// `limit` are left out.
COP_MUST_CHECK cop_status cop_knapsack_pass(cop_knapsack_found *out,
                                            const cop_knapsack_table *table, int64_t solutions,
                                            int64_t width, double limit, cop_error *err);
// Lowers the score of a feasible assignment [layers] by local search; returns it.
double cop_knapsack_polish(int32_t *choice, const cop_knapsack_table *table);

void cop_knapsack_found_release(cop_knapsack_found *found);

#endif
