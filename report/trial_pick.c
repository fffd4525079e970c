// One trial of a study with an evaluator: the lowest first objective among those that meet all limits.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "report/trial_report.h"

static cop_status check_limit(const cop_trial_report *report, const cop_pick_limit *limit,
                              cop_error *err)
{
    for (int64_t i = 0; i < report->metrics; i++) {
        if (strcmp(report->metric[i], limit->name) == 0) {
            return !isnan(limit->limit)
                       ? COP_OK
                       : COP_FAIL(err, COP_ERR_CONFIG, "limit: %s is not a number", limit->name);
        }
    }
    const char **words = cop_alloc((size_t)report->metrics + 1, sizeof *words);
    cop_text allowed = {0};
    if (words == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "pick: out of memory");
    }
    for (int64_t i = 0; i < report->metrics; i++) {
        words[i] = report->metric[i];
        cop_text_appendf(&allowed, "%s%s", i > 0 ? ", " : "", words[i]);
    }
    const char *near = cop_text_nearest(limit->name, words, (size_t)report->metrics);
    const cop_status status =
        COP_FAIL(err, COP_ERR_CONFIG, "limit: unknown metric: %s%s%s%s (allowed: %.200s)",
                 limit->name, near == NULL ? "" : "; did you mean ", near == NULL ? "" : near,
                 near == NULL ? "" : "?", cop_text_view(&allowed));
    cop_text_release(&allowed);
    cop_free(words);
    return status;
}

// By how much a result is above the limits, relative to each and summed; 0 when it meets all.
static double excess(const cop_trial_result *result, const cop_pick_limit *limits, int count)
{
    double sum = 0;
    for (int i = 0; i < count; i++) {
        const double value = cop_trial_metric(result, limits[i].name);
        if (isnan(value)) {
            return (double)INFINITY;
        }
        if (value > limits[i].limit) {
            sum += (value - limits[i].limit) / fmax(1, fabs(limits[i].limit));
        }
    }
    return sum;
}

static bool is_before(const cop_trial_rank *a, const cop_trial_rank *b, int objectives)
{
    for (int k = 0; k < objectives; k++) {
        if (a->objective[k] != b->objective[k]) {
            return a->objective[k] < b->objective[k];
        }
    }
    return a->index < b->index;
}

static cop_status fail_empty(const cop_trial_report *report, const cop_trial_rank *nearest,
                             const cop_pick_limit *limits, int count, cop_error *err)
{
    cop_text text = {0};
    if (nearest == NULL) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "pick: no candidate has a result yet (allowed: after the first results of "
                        "`coppice search`)");
    }
    const cop_trial_result *result = cop_trial_report_result(report, nearest->index);
    const cop_free_space *space = report->space;
    for (int i = 0; i < space->bounds && nearest->violation > 0; i++) {
        cop_text_appendf(&text, "%s%s = %g", text.length > 0 ? ", " : "", space->bound[i].metric,
                         cop_trial_metric(result, space->bound[i].metric));
    }
    for (int i = 0; i < count && !(nearest->violation > 0); i++) {
        cop_text_appendf(&text, "%s%s = %g", text.length > 0 ? ", " : "", limits[i].name,
                         cop_trial_metric(result, limits[i].name));
    }
    const cop_status status =
        COP_FAIL(err, COP_ERR_CONFIG, "pick: no candidate meets the %s; the nearest is %s with %s",
                 nearest->violation > 0 ? "bounds of the study" : "limits",
                 report->trials.entry[nearest->index].id, cop_text_view(&text));
    cop_text_release(&text);
    return status;
}

static void describe(cop_trial_pick *pick, const cop_trial_report *report,
                     const cop_trial_rank *best, const cop_pick_limit *limits, int count)
{
    const cop_trial_stage *stage = &report->stage[report->deepest];
    size_t at =
        (size_t)snprintf(pick->reason, sizeof pick->reason, "lowest %s, %.6g, of %lld candidate%s",
                         report->space->objective[0], best->objective[0], (long long)pick->eligible,
                         pick->eligible == 1 ? "" : "s");
    for (int i = 0; i < count && at < sizeof pick->reason; i++) {
        at += (size_t)snprintf(pick->reason + at, sizeof pick->reason - at, "%s%s <= %g",
                               i == 0 ? " with " : " and ", limits[i].name, limits[i].limit);
    }
    if (report->space->bounds > 0 && at < sizeof pick->reason) {
        at += (size_t)snprintf(pick->reason + at, sizeof pick->reason - at, "%s",
                               " within all bounds");
    }
    if (report->study->rungs > 0 && at < sizeof pick->reason) {
        (void)snprintf(pick->reason + at, sizeof pick->reason - at, " at fidelity %g",
                       stage->fidelity);
    }
}

cop_status cop_trial_pick_make(cop_trial_pick *out, const cop_trial_report *report,
                               const cop_pick_limit *limits, int count, cop_error *err)
{
    const int objectives = report->space->objectives;
    const cop_trial_rank *best = NULL;
    const cop_trial_rank *second = NULL;
    const cop_trial_rank *nearest = NULL;
    double least = (double)INFINITY;
    cop_status status = COP_OK;

    *out = (cop_trial_pick){.index = -1, .runner_up = -1};
    for (int i = 0; i < count; i++) {
        COP_TRY(status, check_limit(report, &limits[i], err));
    }
    for (int64_t i = 0; report->deepest >= 0 && i < report->stage[report->deepest].count; i++) {
        const cop_trial_rank *entry = &report->stage[report->deepest].ranking[i];
        const cop_trial_result *result = cop_trial_report_result(report, entry->index);
        const double over = excess(result, limits, count);
        if (report->place[entry->index].state == COP_STATE_FAILED) {
            continue;
        }
        if (entry->violation > 0 || over > 0) {
            // The ranking has feasible ones first: an infeasible one is the nearest only without them.
            const double distance = entry->violation > 0 ? entry->violation : over;
            const bool is_worse =
                nearest != NULL && nearest->violation == 0 && entry->violation > 0;
            if (nearest == NULL || (!is_worse && distance < least)) {
                nearest = entry;
                least = distance;
            }
            continue;
        }
        out->eligible++;
        if (best == NULL || is_before(entry, best, objectives)) {
            second = best;
            best = entry;
        } else if (second == NULL || is_before(entry, second, objectives)) {
            second = entry;
        }
    }
    if (best == NULL) {
        status = fail_empty(report, nearest, limits, count, err);
        goto done;
    }
    out->index = best->index;
    out->runner_up = second == NULL ? -1 : second->index;
    describe(out, report, best, limits, count);

done:
    return status;
}
