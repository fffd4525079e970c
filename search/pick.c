// One architecture from a study: the lowest loss at the deepest stage, and among its ties the smallest.

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "search/ranking_internal.h"

static const char *const limit_names[] = {"params", "params_non_embedding", "memory_bytes",
                                          "flops_per_token", "loss"};

enum { LIMIT_NAMES = sizeof limit_names / sizeof limit_names[0] };

static double limited_value(const cop_candidate *c, const char *name, double loss)
{
    const double values[LIMIT_NAMES] = {(double)c->cost.params,
                                        (double)c->cost.params_non_embedding,
                                        (double)c->cost.total_bytes, c->cost.flops_per_token, loss};
    for (int i = 0; i < LIMIT_NAMES; i++) {
        if (strcmp(name, limit_names[i]) == 0) {
            return values[i];
        }
    }
    return (double)NAN;
}

static cop_status check_limits(const cop_pick_limit *limits, int count, cop_error *err)
{
    for (int i = 0; i < count; i++) {
        bool is_known = false;
        for (int k = 0; k < LIMIT_NAMES; k++) {
            is_known = is_known || strcmp(limits[i].name, limit_names[k]) == 0;
        }
        if (!is_known) {
            const char *near = cop_text_nearest(limits[i].name, limit_names, LIMIT_NAMES);
            return COP_FAIL(err, COP_ERR_CONFIG,
                            "limit: unknown quantity: %s%s%s%s (allowed: params, "
                            "params_non_embedding, memory_bytes, flops_per_token, loss)",
                            limits[i].name, near == NULL ? "" : "; did you mean ",
                            near == NULL ? "" : near, near == NULL ? "" : "?");
        }
        if (isnan(limits[i].limit)) {
            return COP_FAIL(err, COP_ERR_CONFIG, "limit: %s is not a number", limits[i].name);
        }
    }
    return COP_OK;
}

// How far a candidate is above the limits: the largest ratio value / limit, 1 or less when it meets all.
static double excess(const cop_candidate *c, double loss, const cop_pick_limit *limits, int count,
                     int *worst)
{
    double most = 0;
    for (int i = 0; i < count; i++) {
        const double value = limited_value(c, limits[i].name, loss);
        const bool is_met = value <= limits[i].limit;
        const double ratio = is_met                             ? 0
                             : limits[i].limit > 0 && value > 0 ? value / limits[i].limit
                                                                : (double)INFINITY;
        if (ratio > most) {
            most = ratio;
            *worst = i;
        }
    }
    return most;
}

typedef struct pick_search {
    const cop_snapshot *snapshot;
    const cop_pick_limit *limits;
    int limit_count;
    // The candidate nearest to the limits, of any stage.
    double nearest_excess;
    int64_t nearest; // -1: none seen
    int nearest_limit;
    double nearest_value;
} pick_search;

// A candidate that may be picked.
typedef struct eligible {
    int64_t index; // into the snapshot
    double loss;
} eligible;

static int compare_eligible(const void *a, const void *b)
{
    const eligible *x = a;
    const eligible *y = b;
    if (x->loss != y->loss) {
        return x->loss < y->loss ? -1 : 1;
    }
    return (x->index > y->index) - (x->index < y->index);
}

// Those of a stage that meet the limits, lowest loss first.
static int64_t find_eligible(eligible *out, pick_search *search, const cop_stage_figures *figures)
{
    int64_t count = 0;
    for (int64_t i = 0; i < figures->count; i++) {
        const int64_t index = figures->candidate[i];
        const cop_snapshot_candidate *c = &search->snapshot->candidate[index];
        const double loss = cop_resamples_mean(figures->loss[i], figures->sequences);
        int worst = 0;
        if (c->state == COP_STATE_FAILED || !isfinite(loss)) {
            continue;
        }
        const double over =
            excess(&c->candidate, loss, search->limits, search->limit_count, &worst);
        if (over <= 0) {
            out[count++] = (eligible){index, loss};
        } else if (search->nearest < 0 || over < search->nearest_excess) {
            search->nearest = index;
            search->nearest_excess = over;
            search->nearest_limit = worst;
            search->nearest_value = limited_value(&c->candidate, search->limits[worst].name, loss);
        }
    }
    qsort(out, (size_t)count, sizeof *out, compare_eligible);
    return count;
}

static cop_status fail_empty(const pick_search *search, cop_error *err)
{
    if (search->nearest < 0) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "pick: no candidate has a finished stage yet (allowed: after the first "
                        "stage of `coppice search`)");
    }
    const cop_pick_limit *limit = &search->limits[search->nearest_limit];
    return COP_FAIL(err, COP_ERR_CONFIG,
                    "pick: no candidate has %s <= %.10g (nearest: %s with %.10g)", limit->name,
                    limit->limit, search->snapshot->candidate[search->nearest].candidate.id,
                    search->nearest_value);
}

static void write_reason(cop_pick *out, const cop_comparison *paired, const eligible *lowest,
                         int64_t ties)
{
    char params[COP_TEXT_NUMBER_BYTES];
    char others[COP_TEXT_NUMBER_BYTES];
    char tokens[COP_TEXT_NUMBER_BYTES];
    char where[80];
    char figure[80];
    const cop_snapshot_candidate *c = &paired->snapshot->candidate[out->index];
    const cop_candidate *best = &paired->snapshot->candidate[lowest->index].candidate;
    const cop_estimate loss = cop_comparison_loss(paired, out->index);
    const char *what = paired->has_teacher ? "KL to the teacher" : "cross-entropy";
    if (out->stage == 0) {
        (void)snprintf(where, sizeof where, "after pruning, without training");
    } else {
        (void)snprintf(where, sizeof where, "after %s tokens (rung %d)",
                       cop_text_count(tokens, (double)c->stage[out->stage].record.tokens),
                       out->stage);
    }
    (void)snprintf(figure, sizeof figure, "%.4f [%.4f, %.4f] nats per token", loss.value, loss.low,
                   loss.high);
    cop_text_count(params, (double)c->candidate.cost.params);
    cop_text_count(others, (double)best->cost.params);
    if (!out->is_tie) {
        (void)snprintf(out->reason, sizeof out->reason, "lowest %s %s: %s with %s parameters", what,
                       where, figure, params);
    } else if (out->index == lowest->index) {
        (void)snprintf(out->reason, sizeof out->reason,
                       "lowest %s %s: %s, and the fewest parameters (%s) of the %lld that tie",
                       what, where, figure, params, (long long)ties);
    } else {
        (void)snprintf(out->reason, sizeof out->reason,
                       "fewest parameters (%s) among %lld tied for the lowest %s %s: %s; %s has "
                       "%.4f with %s parameters",
                       params, (long long)ties, what, where, figure, best->id, lowest->loss,
                       others);
    }
}

// Among the candidates of one stage, lowest loss first.
static cop_status choose(cop_pick *out, const cop_snapshot *snapshot, int stage,
                         const eligible *allowed, int64_t count, uint64_t seed, cop_error *err)
{
    cop_status status = COP_OK;
    cop_comparison paired = {0};
    int64_t index = allowed[0].index;
    int64_t ties = 1;
    COP_TRY(status, cop_comparison_create(&paired, snapshot, stage, seed, err));
    for (int64_t i = 1; i < count; i++) {
        const cop_estimate difference =
            cop_comparison_of(&paired, allowed[i].index, allowed[0].index);
        if (cop_estimate_holds_zero(&difference)) {
            ties++;
            if (snapshot->candidate[allowed[i].index].candidate.cost.params <
                snapshot->candidate[index].candidate.cost.params) {
                index = allowed[i].index;
            }
        }
    }
    *out = (cop_pick){.index = index,
                      .runner_up = -1,
                      .stage = stage,
                      .is_tie = ties > 1,
                      .difference = {(double)NAN, (double)NAN, (double)NAN}};
    if (count > 1) {
        out->runner_up = allowed[index == allowed[0].index ? 1 : 0].index;
        out->difference = cop_comparison_of(&paired, out->runner_up, out->index);
    }
    write_reason(out, &paired, &allowed[0], ties);
done:
    cop_comparison_release(&paired);
    return status;
}

cop_status cop_pick_make(cop_pick *out, const cop_snapshot *snapshot, const cop_pick_limit *limits,
                         int limit_count, uint64_t seed, cop_error *err)
{
    cop_status status = COP_OK;
    cop_stage_figures figures = {0};
    pick_search search = {
        .snapshot = snapshot, .limits = limits, .limit_count = limit_count, .nearest = -1};
    eligible *allowed = NULL;
    *out = (cop_pick){.index = -1, .runner_up = -1, .stage = -1};
    COP_TRY(status, check_limits(limits, limit_count, err));
    allowed = cop_alloc((size_t)snapshot->count + 1, sizeof *allowed);
    if (allowed == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "pick: out of memory");
        goto done;
    }
    for (int stage = COP_SNAPSHOT_STAGES_MAX - 1; stage >= 0; stage--) {
        COP_TRY(status, cop_stage_figures_create(&figures, snapshot, stage, err));
        const int64_t count = find_eligible(allowed, &search, &figures);
        cop_stage_figures_release(&figures);
        if (count > 0) {
            status = choose(out, snapshot, stage, allowed, count, seed, err);
            goto done;
        }
    }
    status = fail_empty(&search, err);
done:
    cop_stage_figures_release(&figures);
    cop_free(allowed);
    return status;
}
