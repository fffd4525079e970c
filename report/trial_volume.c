// The hypervolume of a study's front, and how it grew with the evaluations.

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "report/trial_report.h"
#include "search/hypervolume.h"

enum { OBJECTIVES_MAX = 4, FRONT_MAX = 4096 };

static const double reference = 1.1;

// Feasible results of a stage in the order proposed, and what of them is not dominated so far.
typedef struct growth {
    const cop_trial_rank **entry; // [count]
    int64_t count;
    double *front; // [kept, objectives]
    int64_t kept;
    int objectives;
} growth;

static int compare_entries(const void *a, const void *b)
{
    const cop_trial_rank *x = *(const cop_trial_rank *const *)a;
    const cop_trial_rank *y = *(const cop_trial_rank *const *)b;
    return (x->index > y->index) - (x->index < y->index);
}

static bool is_no_better(const double *a, const double *b, int objectives)
{
    for (int k = 0; k < objectives; k++) {
        if (!(a[k] >= b[k])) {
            return false;
        }
    }
    return true;
}

static void add(growth *g, const double *point)
{
    const int d = g->objectives;
    int64_t kept = 0;
    for (int64_t i = 0; i < g->kept; i++) {
        if (is_no_better(point, g->front + i * d, d)) {
            return;
        }
    }
    for (int64_t i = 0; i < g->kept; i++) {
        if (!is_no_better(g->front + i * d, point, d)) {
            memmove(g->front + kept++ * d, g->front + i * d, (size_t)d * sizeof *g->front);
        }
    }
    memcpy(g->front + kept++ * d, point, (size_t)d * sizeof *g->front);
    g->kept = kept;
}

static cop_status gather(growth *g, cop_trial_volume *out, const cop_trial_stage *stage,
                         const cop_trial_report *report, cop_error *err)
{
    g->objectives = report->space->objectives;
    g->entry = cop_alloc((size_t)stage->count + 1, sizeof *g->entry);
    g->front = cop_alloc((size_t)(stage->count + 1) * (size_t)g->objectives, sizeof *g->front);
    if (g->entry == NULL || g->front == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", report->directory);
    }
    for (int k = 0; k < g->objectives; k++) {
        out->minimum[k] = (double)INFINITY;
        out->maximum[k] = -(double)INFINITY;
    }
    for (int64_t i = 0; i < stage->count; i++) {
        const cop_trial_rank *entry = &stage->ranking[i];
        bool is_usable = entry->violation == 0;
        for (int k = 0; k < g->objectives; k++) {
            is_usable = is_usable && isfinite(entry->objective[k]);
        }
        if (!is_usable) {
            continue;
        }
        g->entry[g->count++] = entry;
        for (int k = 0; k < g->objectives; k++) {
            out->minimum[k] = fmin(out->minimum[k], entry->objective[k]);
            out->maximum[k] = fmax(out->maximum[k], entry->objective[k]);
        }
    }
    qsort(g->entry, (size_t)g->count, sizeof *g->entry, compare_entries);
    return COP_OK;
}

// A volume that cannot be computed for its size is none.
static cop_status measure(double *value, const growth *g, const cop_trial_volume *out,
                          cop_error *err)
{
    if (g->objectives > 3 && g->kept > FRONT_MAX) {
        *value = (double)NAN;
        return COP_OK;
    }
    return cop_hypervolume_normalized(value, g->front, g->kept, g->objectives, out->minimum,
                                      out->maximum, reference, err);
}

// Points of the history: after how many of `count` results the volume is looked at, the last after all.
static int64_t look_at(int64_t count, int points, int at)
{
    return (int64_t)((double)count * (double)(at + 1) / (double)points);
}

static cop_status grow(growth *g, cop_trial_volume *out, bool with_history,
                       const cop_trial_report *report, cop_error *err)
{
    const int wanted = !with_history ? 1 : g->objectives > 3 ? 20 : COP_TRIAL_HISTORY_MAX;
    const int points = g->count < wanted ? (int)g->count : wanted;
    cop_status status = COP_OK;
    int64_t done = 0;

    for (int i = 0; i < points; i++) {
        for (const int64_t end = look_at(g->count, points, i); done < end; done++) {
            add(g, g->entry[done]->objective);
        }
        COP_TRY(status, measure(&out->value, g, out, err));
        if (with_history) {
            // Evaluations are all that were asked for up to there, infeasible and failed ones, too.
            out->evaluations[out->points] =
                i + 1 == points ? report->trials.count : g->entry[done - 1]->index + 1;
            out->history[out->points++] = out->value;
        }
    }

done:
    return status;
}

cop_status cop_trial_volume_make(cop_trial_volume *out, const cop_trial_report *report, int stage,
                                 bool with_history, cop_error *err)
{
    cop_status status = COP_OK;
    growth g = {0};

    *out = (cop_trial_volume){.stage = stage, .value = (double)NAN};
    if (report->space->objectives > OBJECTIVES_MAX || report->stage[stage].count == 0) {
        return COP_OK;
    }
    COP_TRY(status, gather(&g, out, &report->stage[stage], report, err));
    COP_TRY(status, grow(&g, out, with_history, report, err));

done:
    cop_free(g.entry);
    cop_free(g.front);
    return status;
}
