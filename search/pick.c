// One architecture from a study: the lowest loss at the deepest stage, and among its ties the smallest.

#include <math.h>
#include <stdio.h>
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

// Candidates of a ranking that may be picked: `allowed` in order of loss.
static int64_t filter_entries(int64_t *allowed, pick_search *search, const cop_ranking *ranking)
{
    int64_t count = 0;
    for (int64_t i = 0; i < ranking->count; i++) {
        const cop_ranked *entry = &ranking->entry[i];
        const cop_snapshot_candidate *c = &search->snapshot->candidate[entry->index];
        if (c->state == COP_STATE_FAILED || !isfinite(entry->loss.value)) {
            continue;
        }
        int worst = 0;
        const double over =
            excess(&c->candidate, entry->loss.value, search->limits, search->limit_count, &worst);
        if (over <= 0) {
            allowed[count++] = i;
        } else if (search->nearest < 0 || over < search->nearest_excess) {
            search->nearest = entry->index;
            search->nearest_excess = over;
            search->nearest_limit = worst;
            search->nearest_value =
                limited_value(&c->candidate, search->limits[worst].name, entry->loss.value);
        }
    }
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

static void write_reason(cop_pick *out, const pick_search *search, const cop_ranking *ranking,
                         int64_t at, int64_t lowest, int64_t ties, bool has_teacher)
{
    char params[COP_TEXT_NUMBER_BYTES];
    char others[COP_TEXT_NUMBER_BYTES];
    char tokens[COP_TEXT_NUMBER_BYTES];
    const cop_ranked *picked = &ranking->entry[at];
    const cop_ranked *best = &ranking->entry[lowest];
    const cop_candidate *c = &search->snapshot->candidate[picked->index].candidate;
    const cop_candidate *b = &search->snapshot->candidate[best->index].candidate;
    const char *what = has_teacher ? "KL to the teacher" : "cross-entropy";
    char where[80];
    if (ranking->stage == 0) {
        (void)snprintf(where, sizeof where, "after pruning, without training");
    } else {
        (void)snprintf(where, sizeof where, "after %s tokens (rung %d)",
                       cop_text_count(tokens, (double)ranking->tokens), ranking->stage);
    }
    cop_text_count(params, (double)c->cost.params);
    cop_text_count(others, (double)b->cost.params);
    if (!out->is_tie) {
        (void)snprintf(out->reason, sizeof out->reason,
                       "lowest %s %s: %.4f [%.4f, %.4f] nats per token with %s parameters", what,
                       where, picked->loss.value, picked->loss.low, picked->loss.high, params);
    } else if (at == lowest) {
        (void)snprintf(out->reason, sizeof out->reason,
                       "lowest %s %s: %.4f [%.4f, %.4f] nats per token, and the fewest parameters "
                       "(%s) of the %lld that tie",
                       what, where, picked->loss.value, picked->loss.low, picked->loss.high, params,
                       (long long)ties);
    } else {
        (void)snprintf(out->reason, sizeof out->reason,
                       "fewest parameters (%s) among %lld tied for the lowest %s %s: %.4f [%.4f, "
                       "%.4f] nats per token; %s has %.4f with %s parameters",
                       params, (long long)ties, what, where, picked->loss.value, picked->loss.low,
                       picked->loss.high, b->id, best->loss.value, others);
    }
}

static cop_status choose(cop_pick *out, pick_search *search, const cop_ranking *ranking,
                         const int64_t *allowed, int64_t count, uint64_t seed, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_snapshot *snapshot = search->snapshot;
    const int64_t lowest = allowed[0];
    const int64_t best = ranking->entry[lowest].index;
    cop_comparison paired = {0};
    int64_t at = lowest;
    int64_t ties = 0;
    COP_TRY(status, cop_comparison_create(&paired, snapshot, ranking->stage, seed, err));
    for (int64_t i = 1; i < count; i++) {
        const int64_t index = ranking->entry[allowed[i]].index;
        const cop_estimate difference = cop_comparison_of(&paired, index, best);
        if (!cop_estimate_holds_zero(&difference)) {
            continue;
        }
        ties++;
        if (snapshot->candidate[index].candidate.cost.params <
            snapshot->candidate[ranking->entry[at].index].candidate.cost.params) {
            at = allowed[i];
        }
    }
    *out = (cop_pick){.index = ranking->entry[at].index,
                      .runner_up = -1,
                      .stage = ranking->stage,
                      .is_tie = ties > 0,
                      .difference = {(double)NAN, (double)NAN, (double)NAN}};
    if (count > 1) {
        out->runner_up = ranking->entry[at == lowest ? allowed[1] : lowest].index;
        out->difference = cop_comparison_of(&paired, out->runner_up, out->index);
    }
    write_reason(out, search, ranking, at, lowest, ties + 1, paired.has_teacher);
done:
    cop_comparison_release(&paired);
    return status;
}

cop_status cop_pick_make(cop_pick *out, const cop_snapshot *snapshot, const cop_pick_limit *limits,
                         int limit_count, uint64_t seed, cop_error *err)
{
    cop_status status = COP_OK;
    cop_ranking ranking = {0};
    pick_search search = {
        .snapshot = snapshot, .limits = limits, .limit_count = limit_count, .nearest = -1};
    const cop_objective loss = COP_OBJECTIVE_LOSS;
    int64_t *allowed = NULL;
    *out = (cop_pick){.index = -1, .runner_up = -1, .stage = -1};
    COP_TRY(status, check_limits(limits, limit_count, err));
    allowed = cop_alloc((size_t)snapshot->count + 1, sizeof *allowed);
    if (allowed == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "pick: out of memory");
        goto done;
    }
    for (int stage = COP_SNAPSHOT_STAGES_MAX - 1; stage >= 0; stage--) {
        COP_TRY(status, cop_ranking_make(&ranking, snapshot, &loss, 1, stage, 1, seed, err));
        const int64_t count = filter_entries(allowed, &search, &ranking);
        if (count > 0) {
            status = choose(out, &search, &ranking, allowed, count, seed, err);
            goto done;
        }
        cop_ranking_release(&ranking);
    }
    status = fail_empty(&search, err);
done:
    cop_ranking_release(&ranking);
    cop_free(allowed);
    return status;
}
