// The trade-off curve, one proven solution after another. Each is as quick as a single search, whatever the
// size of the whole Pareto set.

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "search/knapsack_internal.h"

// Appends the only solution of `point`, or replaces the last one when it scores no better than the new.
static cop_status append(cop_knapsack_result *out, const cop_knapsack_result *point, int64_t *room,
                         cop_error *err)
{
    if (out->count > 0 && out->score[out->count - 1] >= point->score[0]) {
        out->count--;
    }
    if (out->count == *room) {
        const int64_t wanted = *room == 0 ? 64 : 2 * *room;
        const size_t count = (size_t)wanted;
        int32_t *choice = cop_realloc(out->choice, count * (size_t)out->layers, sizeof *choice);
        out->choice = choice != NULL ? choice : out->choice;
        double *score = cop_realloc(out->score, count, sizeof *score);
        out->score = score != NULL ? score : out->score;
        int64_t *cost = cop_realloc(out->cost, count * (size_t)out->resources, sizeof *cost);
        out->cost = cost != NULL ? cost : out->cost;
        if (choice == NULL || score == NULL || cost == NULL) {
            return COP_FAIL(err, COP_ERR_NOMEM, "knapsack: out of memory for %lld points",
                            (long long)wanted);
        }
        *room = wanted;
    }
    memcpy(out->choice + out->count * out->layers, point->choice,
           (size_t)out->layers * sizeof *out->choice);
    memcpy(out->cost + out->count * out->resources, point->cost,
           (size_t)out->resources * sizeof *out->cost);
    out->score[out->count++] = point->score[0];
    return COP_OK;
}

cop_status cop_knapsack_front(cop_knapsack_result *out, const cop_knapsack_problem *problem,
                              int resource, int64_t step, int64_t points_max,
                              const cop_knapsack_options *options, cop_error *err)
{
    cop_status status = COP_OK;
    cop_knapsack_problem lowered = *problem;
    cop_knapsack_result point = {0};
    const cop_knapsack_options one = {.solutions = 1, .states_max = options->states_max};
    int64_t room = 0;
    int64_t least = 0;
    bool is_proven = true;
    *out = (cop_knapsack_result){0};
    if (resource < 0 || resource >= problem->resources || step < 1 || points_max < 1) {
        return COP_FAIL(
            err, COP_ERR_CONFIG,
            "knapsack: front of resource %d, step %lld, points %lld (allowed: a resource of "
            "the problem, >= 1, >= 1)",
            resource, (long long)step, (long long)points_max);
    }
    COP_TRY(status, cop_knapsack_solve(&point, &lowered, &one, err));
    *out = point; // with its reason when there is nothing at all
    point = (cop_knapsack_result){0};
    if (out->count == 0) {
        goto done;
    }
    room = 1;
    is_proven = out->state == COP_KNAPSACK_OPTIMAL;
    least = problem->min[resource] > 0 ? problem->min[resource] : 0;
    while (is_proven) {
        const int64_t used = out->cost[(out->count - 1) * out->resources + resource];
        if (used - least < step) {
            break; // nothing below can hold the minimum
        }
        lowered.max[resource] = used - step;
        COP_TRY(status, cop_knapsack_solve_plain(&point, &lowered, &one, err));
        out->states += point.states;
        if (point.state == COP_KNAPSACK_INFEASIBLE) {
            break;
        }
        const bool is_full = out->count == points_max && point.count > 0 &&
                             point.score[0] > out->score[out->count - 1];
        if (point.state != COP_KNAPSACK_OPTIMAL || is_full) {
            is_proven = false;
            break;
        }
        COP_TRY(status, append(out, &point, &room, err));
        cop_knapsack_result_release(&point);
    }
    out->state = is_proven ? COP_KNAPSACK_OPTIMAL : COP_KNAPSACK_UNPROVEN;
    out->bound = is_proven ? out->score[out->count - 1] : -(double)INFINITY;
done:
    cop_knapsack_result_release(&point);
    if (status != COP_OK) {
        cop_knapsack_result_release(out);
    }
    return status;
}
