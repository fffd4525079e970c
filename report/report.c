// From a snapshot to everything that a report says.

#include "report/report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "report/settings.h"

const cop_ranked *cop_report_entry(const cop_report *report, int64_t index, int stage)
{
    if (stage < 0 || stage >= COP_REPORT_STAGES_MAX) {
        return NULL;
    }
    const cop_ranking *ranking = &report->stage[stage].ranking;
    for (int64_t i = 0; i < ranking->count; i++) {
        if (ranking->entry[i].index == index) {
            return &ranking->entry[i];
        }
    }
    return NULL;
}

bool cop_report_is_on_front(const cop_report *report, int64_t index)
{
    for (int64_t i = 0; i < report->front_count; i++) {
        if (report->front[i] == index) {
            return true;
        }
    }
    return false;
}

double cop_report_resource(const cop_report *report, int64_t index)
{
    const cop_candidate *c = &report->snapshot->candidate[index].candidate;
    switch (report->resource) {
    case COP_OBJECTIVE_MEMORY: return (double)c->cost.total_bytes;
    case COP_OBJECTIVE_FLOPS: return c->cost.flops_per_token;
    case COP_OBJECTIVE_LOSS:
    case COP_OBJECTIVE_PARAMS:
    default: return (double)c->cost.params;
    }
}

// The stage in which a candidate failed: the one behind its last finished stage.
static void count_candidate(cop_report *report, const cop_snapshot_candidate *c)
{
    const int next = c->last_stage + 1;
    for (int s = 0; s <= c->last_stage; s++) {
        const cop_snapshot_stage *stage = &c->stage[s];
        cop_report_stage *out = &report->stage[s];
        if (!stage->is_done) {
            continue;
        }
        const int64_t before = s > 0 && c->stage[s - 1].is_done ? c->stage[s - 1].record.tokens : 0;
        out->entered++;
        out->tokens = stage->record.tokens;
        out->tokens_spent += stage->record.tokens - before;
        out->seconds += isfinite(stage->record.seconds) ? stage->record.seconds : 0;
        out->promoted += strcmp(stage->decision, "promoted") == 0;
        out->rescued += strcmp(stage->decision, "rescued") == 0;
        out->eliminated += strcmp(stage->decision, "eliminated") == 0;
        report->evaluations++;
        report->has_teacher = report->has_teacher && stage->record.evaluation.kl != NULL;
    }
    if (next < COP_REPORT_STAGES_MAX && c->state == COP_STATE_FAILED) {
        report->stage[next].entered++;
        report->stage[next].failed++;
        report->failures++;
    } else if (c->running_stage >= 0) {
        report->stage[c->running_stage].entered++;
        report->stage[c->running_stage].running++;
    }
}

static cop_status rank_stages(cop_report *report, cop_error *err)
{
    cop_status status = COP_OK;
    report->deepest = -1;
    report->has_teacher = true;
    for (int64_t i = 0; i < report->snapshot->count; i++) {
        count_candidate(report, &report->snapshot->candidate[i]);
    }
    for (int s = 0; s < COP_REPORT_STAGES_MAX; s++) {
        cop_report_stage *stage = &report->stage[s];
        const int64_t kept = stage->promoted + stage->rescued;
        stage->agreement.tau = (cop_estimate){(double)NAN, (double)NAN, (double)NAN};
        stage->agreement.within = stage->agreement.tau;
        COP_TRY(status,
                cop_ranking_make(&stage->ranking, report->snapshot, report->objective,
                                 report->objectives, s, kept > 0 ? kept : 1, report->seed, err));
        report->tokens += stage->tokens_spent;
        report->seconds += stage->seconds;
        if (stage->ranking.count > 0) {
            report->deepest = s;
        }
        if (s > 0 && stage->ranking.count > 0) {
            COP_TRY(status, cop_ranking_agreement(&stage->agreement, report->snapshot, s - 1, s,
                                                  report->seed, err));
        }
        if (stage->entered > 0 && s + 1 > report->stages) {
            report->stages = s + 1;
        }
    }
done:
    return status;
}

typedef struct front_member {
    double resource;
    double loss;
    int64_t index;
} front_member;

static int compare_members(const void *a, const void *b)
{
    const front_member *x = a;
    const front_member *y = b;
    if (x->resource != y->resource) {
        return x->resource < y->resource ? -1 : 1;
    }
    return (x->index > y->index) - (x->index < y->index);
}

// Both rules work on the front scaled to [0, 1] in either direction; ties go to the smaller model.
static void find_knees(cop_report *report, const front_member *members)
{
    const int64_t count = report->front_count;
    double most = 0;
    double least = (double)INFINITY;
    double low = (double)INFINITY;
    double high = -(double)INFINITY;
    report->knee_by_distance = -1;
    report->knee_by_ideal = -1;
    if (count < 3) {
        return;
    }
    for (int64_t i = 0; i < count; i++) {
        low = fmin(low, members[i].loss);
        high = fmax(high, members[i].loss);
    }
    const double width = members[count - 1].resource - members[0].resource;
    if (!(width > 0) || !(high > low)) {
        return;
    }
    const double first = (members[0].loss - low) / (high - low);
    const double last = (members[count - 1].loss - low) / (high - low);
    for (int64_t i = 0; i < count; i++) {
        const double x = (members[i].resource - members[0].resource) / width;
        const double y = (members[i].loss - low) / (high - low);
        const double below = first + (last - first) * x - y; // proportional to the distance
        if (below > most + 1e-12) {
            most = below;
            report->knee_by_distance = members[i].index;
        }
        if (x + y < least - 1e-12) {
            least = x + y;
            report->knee_by_ideal = members[i].index;
        }
    }
}

static cop_status make_steps(cop_report *report, const front_member *members, cop_error *err)
{
    cop_status status = COP_OK;
    for (int64_t i = 0; i + 1 < report->front_count; i++) {
        cop_report_step *step = &report->step[i];
        step->from = members[i].index;
        step->to = members[i + 1].index;
        COP_TRY(status, cop_ranking_difference(&step->gain, report->snapshot, report->deepest,
                                               step->from, step->to, report->seed, err));
        const double growth = log(members[i + 1].resource / members[i].resource) / log(1.01);
        step->gain_per_percent = growth > 0 ? step->gain.value / growth : (double)NAN;
        step->is_flat = step->gain.low <= 0 && step->gain.high >= 0;
    }
done:
    return status;
}

static cop_status make_front(cop_report *report, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_ranking *ranking = &report->stage[report->deepest].ranking;
    front_member *members = cop_alloc((size_t)ranking->count + 1, sizeof *members);
    report->front = cop_alloc((size_t)ranking->count + 1, sizeof *report->front);
    report->step = cop_alloc((size_t)ranking->count + 1, sizeof *report->step);
    if (members == NULL || report->front == NULL || report->step == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "report: out of memory");
        goto done;
    }
    for (int64_t i = 0; i < ranking->count; i++) {
        const cop_ranked *entry = &ranking->entry[i];
        if (entry->on_front) {
            members[report->front_count++] = (front_member){
                cop_report_resource(report, entry->index), entry->loss.value, entry->index};
        }
    }
    qsort(members, (size_t)report->front_count, sizeof *members, compare_members);
    for (int64_t i = 0; i < report->front_count; i++) {
        report->front[i] = members[i].index;
    }
    find_knees(report, members);
    COP_TRY(status, make_steps(report, members, err));
done:
    cop_free(members);
    return status;
}

static void describe_change(cop_report *report)
{
    const cop_snapshot *snapshot = report->snapshot;
    const cop_candidate *pick = &snapshot->candidate[report->pick.index].candidate;
    char count[COP_TEXT_NUMBER_BYTES];
    char *text = report->pick_change;
    const size_t bytes = sizeof report->pick_change;
    size_t at = 0;
    if (report->pick.runner_up >= 0) {
        const cop_estimate *d = &report->pick.difference;
        const char *id = snapshot->candidate[report->pick.runner_up].candidate.id;
        at = (size_t)snprintf(text, bytes,
                              d->low <= 0 && d->high >= 0
                                  ? "%s ties with it (difference %+.4f [%+.4f, %+.4f]): a longer "
                                    "probe or more held-out text could swap them. "
                                  : "%s is behind by %.4f [%.4f, %.4f] nats per token and would "
                                    "have to close that. ",
                              id, d->value, d->low, d->high);
    }
    const cop_pick_limit below = {"params", (double)pick->cost.params - 1};
    cop_pick other = {0};
    if (at < bytes && cop_pick_make(&other, snapshot, &below, 1, report->seed, NULL) == COP_OK &&
        other.stage == report->pick.stage) {
        const cop_ranked *entry = cop_report_entry(report, other.index, other.stage);
        (void)snprintf(text + at, bytes - at, "Below %s parameters the pick would be %s (%.4f).",
                       cop_text_count(count, (double)pick->cost.params),
                       snapshot->candidate[other.index].candidate.id,
                       entry == NULL ? (double)NAN : entry->loss.value);
    }
}

cop_status cop_report_create(cop_report *out, const cop_snapshot *snapshot, const char *directory,
                             cop_error *err)
{
    cop_status status = COP_OK;
    *out = (cop_report){.snapshot = snapshot, .knee_by_distance = -1, .knee_by_ideal = -1};
    (void)snprintf(out->directory, sizeof out->directory, "%s", directory);
    COP_TRY(status, cop_report_settings(out, err));
    for (int64_t i = 0; i < snapshot->count; i++) {
        const int64_t batch = snapshot->candidate[i].batch;
        out->batches = batch >= out->batches ? batch + 1 : out->batches;
    }
    COP_TRY(status, rank_stages(out, err));
    COP_TRY(status, cop_report_find_mass(out, err));
    COP_TRY(status, cop_report_find_volume(out, err));
    if (out->deepest >= 0) {
        COP_TRY(status, make_front(out, err));
        const cop_status picked = cop_pick_make(&out->pick, snapshot, NULL, 0, out->seed, err);
        out->has_pick = picked == COP_OK;
        if (picked == COP_ERR_NOMEM) {
            status = picked;
            goto done;
        }
    }
    if (out->has_pick) {
        const cop_ranked *entry = cop_report_entry(out, out->pick.index, out->pick.stage);
        out->pick_lowest_share = entry == NULL ? (double)NAN : entry->best_probability;
        describe_change(out);
    } else {
        out->pick = (cop_pick){.index = -1, .runner_up = -1, .stage = -1};
    }
done:
    if (status != COP_OK) {
        cop_report_release(out);
    }
    return status;
}

void cop_report_release(cop_report *report)
{
    for (int s = 0; s < COP_REPORT_STAGES_MAX; s++) {
        cop_ranking_release(&report->stage[s].ranking);
    }
    cop_free(report->front);
    cop_free(report->step);
    cop_free(report->mass);
    *report = (cop_report){0};
}
