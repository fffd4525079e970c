// What the solver checks and prepares before it starts.

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "search/knapsack_internal.h"

enum { MOST = COP_KNAPSACK_RESOURCES_MAX, SOLUTIONS_MAX = 1 << 20 };

const char *cop_knapsack_name(char buffer[32], const cop_knapsack_problem *problem, int resource)
{
    if (problem->name[resource] != NULL) {
        return problem->name[resource];
    }
    (void)snprintf(buffer, 32, "resource %d", resource);
    return buffer;
}

static cop_status check_layer(const cop_knapsack_problem *problem, int layer, int64_t first,
                              int64_t *most, cop_error *err)
{
    int64_t layer_most[MOST] = {0};
    for (int64_t j = first; j < first + problem->options[layer]; j++) {
        if (!isfinite(problem->score[j])) {
            return COP_FAIL(err, COP_ERR_CONFIG,
                            "knapsack: score of layer %d, option %lld: %g (allowed: finite)", layer,
                            (long long)(j - first), problem->score[j]);
        }
        for (int r = 0; r < problem->resources; r++) {
            const int64_t cost = problem->cost[j * problem->resources + r];
            if (cost < 0) {
                return COP_FAIL(err, COP_ERR_CONFIG,
                                "knapsack: cost of layer %d, option %lld: %lld (allowed: >= 0)",
                                layer, (long long)(j - first), (long long)cost);
            }
            layer_most[r] = cost > layer_most[r] ? cost : layer_most[r];
        }
    }
    for (int r = 0; r < problem->resources; r++) {
        char buffer[32];
        if (layer_most[r] > INT64_MAX - most[r]) {
            return COP_FAIL(err, COP_ERR_CONFIG,
                            "knapsack: total %s of the dearest options up to layer %d: above %lld "
                            "(allowed: totals within int64)",
                            cop_knapsack_name(buffer, problem, r), layer, (long long)INT64_MAX);
        }
        most[r] += layer_most[r];
    }
    return COP_OK;
}

cop_status cop_knapsack_check(const cop_knapsack_problem *problem,
                              const cop_knapsack_options *options, cop_error *err)
{
    int64_t most[MOST] = {0};
    int64_t first = 0;
    if (problem->layers < 1 || problem->layers > COP_KNAPSACK_LAYERS_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG, "knapsack: layers: %d (allowed: 1..%d)",
                        problem->layers, COP_KNAPSACK_LAYERS_MAX);
    }
    if (problem->resources < 1 || problem->resources > MOST) {
        return COP_FAIL(err, COP_ERR_CONFIG, "knapsack: resources: %d (allowed: 1..%d)",
                        problem->resources, MOST);
    }
    if (options->solutions < 1 || options->solutions > SOLUTIONS_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG, "knapsack: solutions: %lld (allowed: 1..%d)",
                        (long long)options->solutions, SOLUTIONS_MAX);
    }
    if (options->states_max < 1 || options->states_max > INT32_MAX / 16) {
        return COP_FAIL(err, COP_ERR_CONFIG, "knapsack: states_max: %lld (allowed: 1..%d)",
                        (long long)options->states_max, INT32_MAX / 16);
    }
    for (int r = 0; r < problem->resources; r++) {
        char buffer[32];
        if (problem->min[r] > problem->max[r]) {
            return COP_FAIL(err, COP_ERR_CONFIG,
                            "knapsack: %s: min is %lld (allowed: up to max, %lld)",
                            cop_knapsack_name(buffer, problem, r), (long long)problem->min[r],
                            (long long)problem->max[r]);
        }
    }
    for (int l = 0; l < problem->layers; l++) {
        if (problem->options[l] < 1 || problem->options[l] > COP_KNAPSACK_OPTIONS_MAX) {
            return COP_FAIL(err, COP_ERR_CONFIG,
                            "knapsack: options of layer %d: %d (allowed: 1..%d)", l,
                            problem->options[l], COP_KNAPSACK_OPTIONS_MAX);
        }
        const cop_status status = check_layer(problem, l, first, most, err);
        if (status != COP_OK) {
            return status;
        }
        first += problem->options[l];
    }
    return COP_OK;
}

void cop_knapsack_table_release(cop_knapsack_table *t)
{
    cop_free(t->first);
    cop_free(t->cost);
    cop_free(t->suffix_most);
    cop_free(t->suffix);
    *t = (cop_knapsack_table){0};
}

// Subtracts what the cheapest option of a layer costs, and adds up what the rest can cost.
static void fill_layer(cop_knapsack_table *t, const cop_knapsack_problem *problem, int layer)
{
    const int64_t from = t->first[layer];
    const int64_t to = from + t->options[layer];
    double least = (double)INFINITY;
    double most = -(double)INFINITY;
    for (int64_t j = from; j < to; j++) {
        least = fmin(least, t->score[j]);
        most = fmax(most, t->score[j]);
    }
    t->score_span += most - least;
    t->score_size += fmax(fabs(most), fabs(least));
    for (int r = 0; r < t->resources; r++) {
        const int64_t *cost = problem->cost + r;
        int64_t cheapest = INT64_MAX;
        int64_t dearest = 0;
        for (int64_t j = from; j < to; j++) {
            cheapest = cost[j * t->resources] < cheapest ? cost[j * t->resources] : cheapest;
            dearest = cost[j * t->resources] > dearest ? cost[j * t->resources] : dearest;
        }
        for (int64_t j = from; j < to; j++) {
            t->cost[j * t->resources + r] = cost[j * t->resources] - cheapest;
        }
        t->base[r] += cheapest;
        t->suffix_most[(int64_t)layer * t->resources + r] =
            t->suffix_most[((int64_t)layer + 1) * t->resources + r] + dearest - cheapest;
    }
}

cop_status cop_knapsack_table_create(cop_knapsack_table *out, const cop_knapsack_problem *problem,
                                     cop_error *err)
{
    cop_knapsack_table t = {.layers = problem->layers,
                            .resources = problem->resources,
                            .options = problem->options,
                            .score = problem->score};
    int64_t total = 0;
    t.first = cop_alloc((size_t)t.layers, sizeof *t.first);
    for (int l = 0; t.first != NULL && l < t.layers; l++) {
        t.first[l] = total;
        total += t.options[l];
    }
    const size_t resources = (size_t)t.resources;
    t.cost = t.first == NULL ? NULL : cop_alloc((size_t)total * resources, sizeof *t.cost);
    t.suffix_most = cop_alloc(((size_t)t.layers + 1) * resources, sizeof *t.suffix_most);
    if (t.cost == NULL || t.suffix_most == NULL) {
        cop_knapsack_table_release(&t);
        return COP_FAIL(err, COP_ERR_NOMEM, "knapsack: out of memory");
    }
    for (int l = t.layers; l-- > 0;) {
        fill_layer(&t, problem, l);
    }
    *out = t;
    return COP_OK;
}

bool cop_knapsack_table_set_bounds(cop_knapsack_table *t, const cop_knapsack_problem *problem,
                                   int *resource, int64_t *nearest)
{
    for (int r = 0; r < t->resources; r++) {
        const int64_t least = t->base[r];
        const int64_t most = least + t->suffix_most[r];
        const int64_t low = problem->min[r] > least ? problem->min[r] : least;
        const int64_t high = problem->max[r] < most ? problem->max[r] : most;
        if (low > most || high < least) {
            *resource = r;
            *nearest = low > most ? most : least;
            return false;
        }
        t->low[r] = low - least;
        t->high[r] = high - least;
    }
    return true;
}
