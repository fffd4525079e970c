// From the results of a study with an evaluator to everything that its report says.

#include "report/trial_report.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "report/settings.h"
#include "search/facts.h"

static cop_status nomem(const cop_trial_report *report, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", report->directory);
}

const cop_trial_rank *cop_trial_report_entry(const cop_trial_report *report, int64_t index)
{
    const cop_trial_place *place = &report->place[index];
    return place->stage < 0 ? NULL : &report->stage[place->stage].ranking[place->entry];
}

const cop_trial_result *cop_trial_report_result(const cop_trial_report *report, int64_t index)
{
    const int stage = report->place[index].stage;
    return stage < 0 ? NULL : &report->trials.entry[index].result[stage];
}

const char *cop_trial_report_reason(const cop_trial_report *report, int64_t index)
{
    const cop_trial_entry *entry = &report->trials.entry[index];
    const char *text = entry->reason;
    static const char prefix[] = "evaluator ";
    if (!entry->is_failed) {
        return "";
    }
    if (strncmp(text, prefix, sizeof prefix - 1) == 0) {
        const char *number = text + sizeof prefix - 1;
        const size_t digits = strspn(number, "0123456789");
        if (digits > 0 && strncmp(number + digits, ": ", 2) == 0) {
            return number + digits + 2;
        }
    }
    return text;
}

// --- Reading ------------------------------------------------------------------------------------

static cop_status read_study(cop_trial_report *report, cop_error *err)
{
    cop_status status = COP_OK;
    char *path = cop_file_join(report->directory, "study.yaml");
    cop_study_file *study = cop_alloc(1, sizeof *study);

    if (path == NULL || study == NULL) {
        status = nomem(report, err);
        goto done;
    }
    COP_TRY(status, cop_study_file_read(study, path, false, err));
    report->study = study;
    study = NULL;
    report->space = report->study->free;
    if (report->space == NULL) {
        status = COP_FAIL(err, COP_ERR_FORMAT,
                          "%s: names no evaluator, though the study beside it has one", path);
    }

done:
    cop_free(study);
    cop_free(path);
    return status;
}

static void drop_result(cop_trial_result *result)
{
    cop_free(result->metric);
    *result = (cop_trial_result){0};
}

// A study that was extended may hold results of fidelities that it no longer has.
static void drop_others(cop_trial_report *report)
{
    for (int64_t i = 0; i < report->trials.count; i++) {
        for (int s = 0; s < COP_TRIAL_STAGES_MAX; s++) {
            cop_trial_result *result = &report->trials.entry[i].result[s];
            if (s < report->first || s >= report->stages ||
                result->fidelity != cop_trials_fidelity(report->study, s)) {
                drop_result(result);
            }
        }
    }
}

// --- Stages -------------------------------------------------------------------------------------

// Who goes on from a stage is known when the study is finished or anything behind it has a result.
static bool is_decided(const cop_trial_report *report, int stage)
{
    if (stage + 1 >= report->stages || report->is_finished) {
        return stage + 1 < report->stages;
    }
    for (int64_t i = 0; i < report->trials.count; i++) {
        for (int s = stage + 1; s < report->stages; s++) {
            if (report->trials.entry[i].result[s].is_done) {
                return true;
            }
        }
    }
    return false;
}

static cop_status decide(cop_trial_report *report, int stage, cop_error *err)
{
    const cop_study_file *study = report->study;
    cop_trial_stage *s = &report->stage[stage];
    cop_trial_stage *next = &report->stage[stage + 1];
    cop_status status = COP_OK;

    s->decision = cop_alloc((size_t)s->count + 1, 1);
    if (s->decision == NULL) {
        return nomem(report, err);
    }
    COP_TRY(status, cop_trials_promote(s->decision, s->ranking, s->count, stage, study->keep,
                                       study->rescue, study->seed, err));
    cop_trials_keep_promoted(&report->trials, s->ranking, s->count, s->decision, stage);
    for (int64_t i = 0; i < s->count; i++) {
        const cop_trial_entry *entry = &report->trials.entry[s->ranking[i].index];
        s->promoted += s->decision[i] == 'p';
        s->rescued += s->decision[i] == 'r';
        next->failed +=
            s->decision[i] != 'e' && entry->is_failed && !entry->result[stage + 1].is_done;
    }
    next->entered = s->promoted + s->rescued;

done:
    return status;
}

// Equal entries share a rank. One objective: one more than are better. Several: the number of the front.
static void place_stage(cop_trial_report *report, int stage)
{
    const cop_trial_stage *s = &report->stage[stage];
    int64_t group = 0;
    int64_t rank = 0;
    for (int64_t i = 0; i < s->count; i++) {
        const cop_trial_rank *entry = &s->ranking[i];
        if (i == 0 || entry->violation != s->ranking[i - 1].violation ||
            entry->front != s->ranking[i - 1].front) {
            group++;
            rank = report->space->objectives == 1 ? i + 1 : group;
        }
        const bool has_left = s->decision != NULL && s->decision[i] == 'e';
        report->place[entry->index] =
            (cop_trial_place){.state = stage + 1 == report->stages ? COP_STATE_FINISHED
                                       : has_left                  ? COP_STATE_ELIMINATED
                                                                   : COP_STATE_PENDING,
                              .stage = stage,
                              .entry = i,
                              .rank = rank};
    }
}

static void add_results(cop_trial_report *report, int stage)
{
    cop_trial_stage *s = &report->stage[stage];
    for (int64_t i = 0; i < s->count; i++) {
        const double seconds = report->trials.entry[s->ranking[i].index].result[stage].seconds;
        s->seconds += isfinite(seconds) ? seconds : 0;
    }
    report->evaluations += s->count;
    report->tokens += s->fidelity * (double)s->count;
    report->seconds += s->seconds;
    if (s->count > 0) {
        report->deepest = stage;
    }
}

static cop_status rank_stages(cop_trial_report *report, cop_error *err)
{
    cop_status status = COP_OK;
    const int64_t count = report->trials.count;

    report->place = cop_alloc((size_t)count + 1, sizeof *report->place);
    if (report->place == NULL) {
        return nomem(report, err);
    }
    for (int64_t i = 0; i < count; i++) {
        const cop_trial_entry *entry = &report->trials.entry[i];
        report->place[i] = (cop_trial_place){.state = COP_STATE_PENDING, .stage = -1};
        report->stage[report->first].failed +=
            entry->is_failed && !entry->result[report->first].is_done;
    }
    report->stage[report->first].entered = count;
    for (int s = report->first; s < report->stages; s++) {
        cop_trial_stage *stage = &report->stage[s];
        stage->fidelity = cop_trials_fidelity(report->study, s);
        COP_TRY(status, cop_trials_rank(&stage->ranking, &stage->count, &report->trials,
                                        report->space, s, err));
        if (is_decided(report, s)) {
            COP_TRY(status, decide(report, s, err));
        }
        place_stage(report, s);
        add_results(report, s);
    }
    for (int64_t i = 0; i < count; i++) {
        if (report->trials.entry[i].is_failed && report->place[i].state != COP_STATE_ELIMINATED) {
            report->place[i].state = COP_STATE_FAILED;
            report->failures++;
        }
    }

done:
    return status;
}

static void find_front(cop_trial_report *report)
{
    if (report->deepest < 0) {
        return;
    }
    const cop_trial_stage *stage = &report->stage[report->deepest];
    while (report->front_count < stage->count &&
           stage->ranking[report->front_count].violation == 0 &&
           stage->ranking[report->front_count].front == 0) {
        report->place[stage->ranking[report->front_count].index].is_on_front = true;
        report->front_count++;
    }
}

// --- Names of metrics ---------------------------------------------------------------------------

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, b);
}

static bool has_name(const cop_trial_report *report, int64_t from, const char *name)
{
    for (int64_t i = from; i < report->metrics; i++) {
        if (strcmp(report->metric[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void add_name(cop_trial_report *report, const char *name)
{
    if (!has_name(report, 0, name)) {
        memcpy(report->metric[report->metrics++], name, strlen(name) + 1);
    }
}

// Room for the names of one more result; those known already take none of it.
static cop_status reserve_names(cop_trial_report *report, int64_t more, int64_t *capacity,
                                cop_error *err)
{
    if (report->metrics + more <= *capacity) {
        return COP_OK;
    }
    const int64_t wanted = 2 * (report->metrics + more);
    char(*grown)[COP_FREE_NAME_BYTES] =
        cop_realloc(report->metric, (size_t)wanted, sizeof *report->metric);
    if (grown == NULL) {
        return nomem(report, err);
    }
    report->metric = grown;
    *capacity = wanted;
    return COP_OK;
}

// Results name mostly the same metrics in the same order.
static bool are_alike(const cop_trial_result *a, const cop_trial_result *b)
{
    if (a == NULL || a->metrics != b->metrics) {
        return false;
    }
    for (int i = 0; i < a->metrics; i++) {
        if (strcmp(a->metric[i].name, b->metric[i].name) != 0) {
            return false;
        }
    }
    return true;
}

static cop_status find_names(cop_trial_report *report, cop_error *err)
{
    const cop_free_space *space = report->space;
    cop_status status = COP_OK;
    int64_t capacity = 0;
    int64_t fixed = 0;
    const cop_trial_result *last = NULL;

    COP_TRY(status, reserve_names(report, space->objectives + space->bounds, &capacity, err));
    for (int i = 0; i < space->objectives; i++) {
        add_name(report, space->objective[i]);
    }
    for (int i = 0; i < space->bounds; i++) {
        add_name(report, space->bound[i].metric);
    }
    fixed = report->metrics;
    for (int64_t i = 0; i < report->trials.count; i++) {
        const cop_trial_result *result = cop_trial_report_result(report, i);
        if (result == NULL || are_alike(last, result)) {
            continue;
        }
        COP_TRY(status, reserve_names(report, result->metrics, &capacity, err));
        for (int k = 0; k < result->metrics; k++) {
            add_name(report, result->metric[k].name);
        }
        last = result;
    }
    qsort(report->metric[fixed], (size_t)(report->metrics - fixed), sizeof *report->metric,
          compare_names);

done:
    return status;
}

// --- All of it ----------------------------------------------------------------------------------

cop_status cop_trial_report_create(cop_trial_report *out, cop_store *store, const char *directory,
                                   cop_error *err)
{
    cop_status status = COP_OK;
    cop_status picked = COP_OK;
    const char *finished = NULL;

    *out = (cop_trial_report){.deepest = -1};
    (void)snprintf(out->directory, sizeof out->directory, "%s", directory);
    COP_TRY(status, cop_trials_read(&out->trials, store, false, err));
    COP_TRY(status, read_study(out, err));
    cop_report_set_name(out->name, sizeof out->name, cop_trials_fact(&out->trials, COP_FACT_STUDY),
                        directory);
    finished = cop_trials_fact(&out->trials, COP_FACT_FINISHED);
    out->is_finished = finished != NULL && finished[0] != '\0';
    out->first = (int)out->study->fidelity;
    out->stages = cop_trials_stages(out->study);
    drop_others(out);
    COP_TRY(status, rank_stages(out, err));
    find_front(out);
    COP_TRY(status, find_names(out, err));
    COP_TRY(status, cop_trial_volume_make(&out->history, out, out->first, true, err));
    out->volume = out->history;
    if (out->deepest > out->first) {
        COP_TRY(status, cop_trial_volume_make(&out->volume, out, out->deepest, false, err));
    }
    picked = cop_trial_pick_make(&out->pick, out, NULL, 0, NULL);
    out->has_pick = picked == COP_OK;
    if (picked == COP_ERR_NOMEM) {
        status = nomem(out, err);
    }

done:
    return status;
}

void cop_trial_report_release(cop_trial_report *report)
{
    for (int s = 0; s < COP_TRIAL_STAGES_MAX; s++) {
        cop_free(report->stage[s].ranking);
        cop_free(report->stage[s].decision);
    }
    cop_free(report->place);
    cop_free(report->metric);
    cop_trials_release(&report->trials);
    if (report->study != NULL) {
        cop_study_file_release(report->study);
        cop_free(report->study);
    }
    *report = (cop_trial_report){0};
}
