#include "search/knapsack.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "search/knapsack_internal.h"

enum {
    MOST = COP_KNAPSACK_RESOURCES_MAX,
    WIDTH_FIRST = 512,
    WIDTH_GROWTH = 4,
    EXPLAIN_STATES = 4096, // an explanation may cost less than the answer
};

static double most_score(const cop_knapsack_table *t)
{
    double sum = 0;
    for (int l = 0; l < t->layers; l++) {
        double most = -(double)INFINITY;
        for (int64_t j = t->first[l]; j < t->first[l] + t->options[l]; j++) {
            most = fmax(most, t->score[j]);
        }
        sum += most; // in the order of layers: rounding is monotone, no assignment scores more
    }
    return sum;
}

// Passes of growing width, each limited by the best of those before. *bound: no assignment that is
// missing scores less.
static cop_status search(cop_knapsack_found *best, double *bound, const cop_knapsack_table *t,
                         const cop_knapsack_options *options, cop_error *err)
{
    cop_status status = COP_OK;
    double limit = most_score(t);
    int64_t width = options->solutions > WIDTH_FIRST / 4 ? 4 * options->solutions : WIDTH_FIRST;
    bool is_proven = false;
    *best = (cop_knapsack_found){0};
    *bound = -(double)INFINITY;
    while (!is_proven) {
        cop_knapsack_found found = {0};
        width = width < options->states_max ? width : options->states_max;
        COP_TRY(status, cop_knapsack_pass(&found, t, options->solutions, width, limit, err));
        if (options->solutions == 1 && found.count == 1 && !isinf(found.dropped)) {
            found.score[0] = cop_knapsack_polish(found.choice, t);
        }
        const int64_t states = best->states + found.states;
        const double limit_before = limit;
        const bool is_complete = found.count == options->solutions;
        const bool is_better = found.count > best->count ||
                               (found.count > 0 && found.count == best->count &&
                                found.score[found.count - 1] <= best->score[best->count - 1]);
        is_proven =
            isinf(found.dropped) || (is_complete && found.dropped >= found.score[found.count - 1]);
        *bound = fmax(*bound, fmin(found.dropped, limit_before));
        if (is_complete) {
            limit = fmin(limit, found.score[found.count - 1]);
        }
        if (is_better || is_proven) {
            cop_knapsack_found_release(best);
            *best = found;
            found = (cop_knapsack_found){0};
        }
        best->states = states;
        best->dropped = is_proven ? (double)INFINITY : 0;
        cop_knapsack_found_release(&found);
        if (width == options->states_max) {
            break;
        }
        width *= WIDTH_GROWTH;
    }
done:
    if (status != COP_OK) {
        cop_knapsack_found_release(best);
    }
    return status;
}

double cop_knapsack_evaluate(int64_t *cost, const cop_knapsack_problem *problem,
                             const int32_t *choice)
{
    double score = 0;
    int64_t first = 0;
    memset(cost, 0, (size_t)problem->resources * sizeof *cost);
    for (int l = 0; l < problem->layers; l++) {
        const int64_t j = first + choice[l];
        score += problem->score[j];
        for (int r = 0; r < problem->resources; r++) {
            cost[r] += problem->cost[j * problem->resources + r];
        }
        first += problem->options[l];
    }
    return score;
}

// A minimum and a maximum of one resource together leave few states comparable. The multipliers tell which
// of the two binds: without the other one the problem is easier, and what is best there and happens to
// hold it is best here.
static bool relax(cop_knapsack_table *t)
{
    bool is_relaxed = false;
    for (int r = 0; r < t->resources; r++) {
        if (t->low[r] <= 0 || t->high[r] >= t->suffix_most[r]) {
            continue;
        }
        is_relaxed = true;
        if (t->multiplier[0][r] < 0) {
            t->high[r] = t->suffix_most[r];
        } else {
            t->low[r] = 0;
        }
    }
    return is_relaxed;
}

static bool holds(const cop_knapsack_problem *problem, const cop_knapsack_found *found)
{
    for (int64_t i = 0; i < found->count; i++) {
        int64_t cost[MOST];
        (void)cop_knapsack_evaluate(cost, problem, found->choice + i * problem->layers);
        for (int r = 0; r < problem->resources; r++) {
            if (cost[r] < problem->min[r] || cost[r] > problem->max[r]) {
                return false;
            }
        }
    }
    return true;
}

static cop_status search_relaxed(cop_knapsack_found *best, double *bound, cop_knapsack_table *t,
                                 const cop_knapsack_problem *problem,
                                 const cop_knapsack_options *options, cop_error *err)
{
    cop_status status = COP_OK;
    int resource = 0;
    int64_t nearest = 0;
    int64_t states = 0;
    COP_TRY(status, cop_knapsack_bound(t, err));
    if (relax(t)) {
        COP_TRY(status, cop_knapsack_bound(t, err));
        COP_TRY(status, search(best, bound, t, options, err));
        // Nothing there at all is nothing here.
        if (isinf(best->dropped) && holds(problem, best)) {
            return COP_OK;
        }
        states = best->states;
        cop_knapsack_found_release(best);
        (void)cop_knapsack_table_set_bounds(t, problem, &resource, &nearest);
        COP_TRY(status, cop_knapsack_bound(t, err));
    }
    COP_TRY(status, search(best, bound, t, options, err));
    best->states += states;
done:
    return status;
}

static cop_status publish(cop_knapsack_result *out, cop_knapsack_found *found, double bound,
                          const cop_knapsack_problem *problem, cop_error *err)
{
    out->states = found->states;
    const bool is_proven = isinf(found->dropped);
    out->bound = bound;
    if (found->count == 0) {
        out->state = is_proven ? COP_KNAPSACK_INFEASIBLE : COP_KNAPSACK_UNKNOWN;
        return COP_OK;
    }
    out->state = is_proven ? COP_KNAPSACK_OPTIMAL : COP_KNAPSACK_UNPROVEN;
    out->cost = cop_alloc((size_t)(found->count * problem->resources), sizeof *out->cost);
    if (out->cost == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "knapsack: out of memory");
    }
    for (int64_t i = 0; i < found->count; i++) {
        (void)cop_knapsack_evaluate(out->cost + i * problem->resources, problem,
                                    found->choice + i * problem->layers);
    }
    out->count = found->count;
    out->choice = found->choice;
    out->score = found->score;
    if (is_proven) {
        out->bound = found->score[found->count - 1];
    }
    *found = (cop_knapsack_found){0};
    return COP_OK;
}

cop_status cop_knapsack_solve_plain(cop_knapsack_result *out, const cop_knapsack_problem *problem,
                                    const cop_knapsack_options *options, cop_error *err)
{
    cop_status status = COP_OK;
    cop_knapsack_table t = {0};
    cop_knapsack_found found = {0};
    double bound = 0;
    *out = (cop_knapsack_result){
        .layers = problem->layers, .resources = problem->resources, .resource = -1};
    COP_TRY(status, cop_knapsack_table_create(&t, problem, err));
    if (!cop_knapsack_table_set_bounds(&t, problem, &out->resource, &out->nearest)) {
        char buffer[32];
        const int r = out->resource;
        const bool is_low = out->nearest < problem->min[r];
        out->state = COP_KNAPSACK_INFEASIBLE;
        out->bound = (double)INFINITY;
        (void)snprintf(out->reason, sizeof out->reason,
                       "%s is %s %lld whatever is chosen (%s: %lld)",
                       cop_knapsack_name(buffer, problem, r), is_low ? "at most" : "at least",
                       (long long)out->nearest, is_low ? "minimum" : "maximum",
                       (long long)(is_low ? problem->min[r] : problem->max[r]));
        goto done;
    }
    COP_TRY(status, search_relaxed(&found, &bound, &t, problem, options, err));
    COP_TRY(status, publish(out, &found, bound, problem, err));
done:
    cop_knapsack_table_release(&t);
    cop_knapsack_found_release(&found);
    return status;
}

// How near resource r can come to its maximum (is_maximum) or minimum when the others hold.
static cop_status come_near(int64_t *nearest, bool *is_found, bool *is_exact,
                            const cop_knapsack_problem *problem, int resource, bool is_maximum,
                            cop_error *err)
{
    cop_status status = COP_OK;
    cop_knapsack_result result = {0};
    cop_knapsack_problem moved = *problem;
    double *score = NULL;
    double size = 0;
    int64_t total = 0;
    for (int l = 0; l < problem->layers; l++) {
        total += problem->options[l];
    }
    score = cop_alloc((size_t)total, sizeof *score);
    if (score == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "knapsack: out of memory");
    }
    for (int64_t j = 0; j < total; j++) {
        const double cost = (double)problem->cost[j * problem->resources + resource];
        score[j] = is_maximum ? cost : -cost;
        size += cost;
    }
    moved.score = score;
    if (is_maximum) {
        moved.max[resource] = INT64_MAX;
    } else {
        moved.min[resource] = 0;
    }
    const cop_knapsack_options options = {.solutions = 1, .states_max = EXPLAIN_STATES};
    COP_TRY(status, cop_knapsack_solve_plain(&result, &moved, &options, err));
    *is_found = result.count > 0;
    // Beyond 2^53 the scores are rounded costs.
    *is_exact = result.state == COP_KNAPSACK_OPTIMAL && size < 9007199254740992.0;
    *nearest = result.count > 0 ? result.cost[resource] : 0;
done:
    cop_free(score);
    cop_knapsack_result_release(&result);
    return status;
}

// Every bound can be met, but not all at once: names the one that is missed by the least share.
static cop_status explain(cop_knapsack_result *out, const cop_knapsack_problem *problem,
                          cop_error *err)
{
    double least = (double)INFINITY;
    (void)snprintf(out->reason, sizeof out->reason,
                   "no assignment meets all bounds at once, nor with any one of them lifted");
    for (int i = 0; i < 2 * problem->resources; i++) {
        const int r = i / 2;
        const bool is_maximum = i % 2 == 0;
        const int64_t limit = is_maximum ? problem->max[r] : problem->min[r];
        int64_t nearest = 0;
        bool is_found = false;
        bool is_exact = false;
        char buffer[32];
        if (is_maximum ? limit == INT64_MAX : limit <= 0) {
            continue;
        }
        const cop_status status =
            come_near(&nearest, &is_found, &is_exact, problem, r, is_maximum, err);
        if (status != COP_OK) {
            return status;
        }
        const double missed = fabs((double)nearest - (double)limit) / fmax((double)limit, 1);
        if (!is_found || missed >= least) {
            continue;
        }
        least = missed;
        out->resource = r;
        out->nearest = nearest;
        (void)snprintf(out->reason, sizeof out->reason,
                       "no assignment meets all bounds at once; with the others kept, %s comes %s "
                       "%lld%s (%s: %lld)",
                       cop_knapsack_name(buffer, problem, r), is_maximum ? "down to" : "up to",
                       (long long)nearest, is_exact ? "" : " or nearer",
                       is_maximum ? "maximum" : "minimum", (long long)limit);
    }
    return COP_OK;
}

cop_status cop_knapsack_solve(cop_knapsack_result *out, const cop_knapsack_problem *problem,
                              const cop_knapsack_options *options, cop_error *err)
{
    cop_status status = COP_OK;
    *out = (cop_knapsack_result){0};
    COP_TRY(status, cop_knapsack_check(problem, options, err));
    COP_TRY(status, cop_knapsack_solve_plain(out, problem, options, err));
    if (out->state == COP_KNAPSACK_INFEASIBLE && out->resource < 0) {
        out->bound = (double)INFINITY;
        COP_TRY(status, explain(out, problem, err));
    } else if (out->state == COP_KNAPSACK_UNKNOWN) {
        (void)snprintf(
            out->reason, sizeof out->reason,
            "no assignment was found with %lld states per layer, nor the proof that there "
            "is none",
            (long long)options->states_max);
    }
done:
    if (status != COP_OK) {
        cop_knapsack_result_release(out);
    }
    return status;
}

void cop_knapsack_result_release(cop_knapsack_result *result)
{
    cop_free(result->choice);
    cop_free(result->score);
    cop_free(result->cost);
    *result = (cop_knapsack_result){0};
}
