// status of a study with an evaluator.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cli/trial_view.h"
#include "report/json_build.h"
#include "report/surrogate_json.h"

typedef struct progress {
    const char *state; // "running", "stopped", "finished"
    char owner[160];
    int current;                          // stage at work or next; -1: all done
    double total[COP_TRIAL_STAGES_MAX];   // evaluations that the stage takes
    double seconds[COP_TRIAL_STAGES_MAX]; // of one; NaN: not known
    double rate;                          // evaluations per second of the current stage, or NaN
    double eta_seconds;                   // or NaN
} progress;

static double planned(const cop_trial_report *report)
{
    const double size = cop_free_space_size(report->space);
    const double wanted =
        report->study->evaluations > 0 ? (double)report->study->evaluations : size;
    return fmax(fmin(wanted, size), (double)report->trials.count);
}

static double done_at(const cop_trial_report *report, int stage)
{
    return (double)(report->stage[stage].count + report->stage[stage].failed);
}

// What lies ahead at the speed of what lies behind; a fidelity without any result takes as long as the last
// one that has, times its share of it.
static void estimate(progress *p, const cop_trial_report *report)
{
    double ahead = 0;
    double known = (double)NAN;
    const double width = (double)report->study->evaluator_processes;
    for (int s = report->first; s < report->stages; s++) {
        const cop_trial_stage *stage = &report->stage[s];
        const double before = s > report->first ? report->stage[s - 1].fidelity : 0;
        if (stage->count > 0) {
            known = stage->seconds / (double)stage->count;
        } else if (before > 0) {
            known *= stage->fidelity / before;
        }
        p->seconds[s] = known;
        ahead += fmax(0, p->total[s] - done_at(report, s)) * known / width;
    }
    p->eta_seconds = ahead;
    if (p->current >= 0 && p->seconds[p->current] > 0) {
        p->rate = width / p->seconds[p->current];
    }
}

static void measure(progress *p, const cop_trial_report *report, const char *directory)
{
    const bool is_owned = cop_store_owner(directory, p->owner, sizeof p->owner);
    p->current = -1;
    p->rate = (double)NAN;
    p->eta_seconds = (double)NAN;
    p->state = is_owned ? "running" : report->is_finished ? "finished" : "stopped";
    for (int s = report->first; s < report->stages; s++) {
        const cop_trial_stage *stage = &report->stage[s];
        const double share = ceil(report->study->keep * p->total[s > 0 ? s - 1 : 0] - 1e-9);
        p->total[s] = report->is_finished || (s > report->first && stage->entered > 0)
                          ? (double)stage->entered
                      : s == report->first ? planned(report)
                                           : fmax(1, share);
        if (p->current < 0 && !report->is_finished && done_at(report, s) < p->total[s]) {
            p->current = s;
        }
    }
    if (!report->is_finished) {
        estimate(p, report);
    }
}

// --- JSON -----------------------------------------------------------------------------------------

static json_t *json_stages(const progress *p, const cop_trial_report *report)
{
    json_t *list = json_array();
    for (int s = report->first; s < report->stages; s++) {
        const cop_trial_stage *stage = &report->stage[s];
        json_t *object = json_object();
        cop_build_put(object, "stage", json_integer(s));
        cop_build_put(object, "fidelity", cop_trial_json_number(stage->fidelity));
        cop_build_put(object, "total", cop_trial_json_number(p->total[s]));
        cop_build_put(object, "done", json_integer(stage->count));
        cop_build_put(object, "failed", json_integer(stage->failed));
        cop_build_put(object, "seconds", cop_build_real(stage->seconds));
        cop_build_add(list, object);
    }
    return list;
}

static json_t *json_best(const cop_trial_report *report)
{
    if (!report->has_pick) {
        return json_null();
    }
    json_t *object = json_object();
    json_t *objectives = json_object();
    const cop_trial_rank *entry = cop_trial_report_entry(report, report->pick.index);
    for (int k = 0; k < report->space->objectives; k++) {
        cop_build_put(objectives, report->space->objective[k], cop_build_real(entry->objective[k]));
    }
    cop_build_put(object, "id", cop_build_text(report->trials.entry[report->pick.index].id));
    cop_build_put(object, "stage", json_integer(report->deepest));
    cop_build_put(object, "fidelity",
                  cop_trial_json_number(report->stage[report->deepest].fidelity));
    cop_build_put(object, "objectives", objectives);
    return object;
}

static json_t *json_failures(const cop_trial_report *report)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < report->trials.count; i++) {
        if (report->place[i].state == COP_STATE_FAILED) {
            json_t *object = json_object();
            cop_build_put(object, "id", cop_build_text(report->trials.entry[i].id));
            cop_build_put(object, "reason", cop_build_text(cop_trial_report_reason(report, i)));
            cop_build_add(list, object);
        }
    }
    return list;
}

static int print_json(const progress *p, const cop_trial_report *report, const char *directory)
{
    json_t *object = json_object();
    cop_build_put(object, "directory", cop_build_text(directory));
    cop_build_put(object, "kind", json_string("evaluator"));
    cop_build_put(object, "state", cop_build_text(p->state));
    cop_build_put(object, "owner", cop_build_text(p->owner[0] == '\0' ? NULL : p->owner));
    cop_build_put(object, "stage", p->current < 0 ? json_null() : json_integer(p->current));
    cop_build_put(object, "stages", json_stages(p, report));
    cop_build_put(object, "candidates", json_integer(report->trials.count));
    cop_build_put(object, "surrogate",
                  cop_report_json_surrogate(report->trials.fact, report->trials.facts));
    cop_build_put(object, "best", json_best(report));
    cop_build_put(object, "front", json_integer(report->front_count));
    cop_build_put(object, "failures", json_failures(report));
    cop_build_put(object, "evaluations", json_integer(report->evaluations));
    cop_build_put(object, "tokens", cop_trial_json_number(report->tokens));
    cop_build_put(object, "seconds", cop_build_real(report->seconds));
    cop_build_put(object, "evaluations_per_second", cop_build_real(p->rate));
    cop_build_put(object, "eta_seconds", cop_build_real(p->eta_seconds));
    return cop_cli_print_json(object);
}

// --- Text -----------------------------------------------------------------------------------------

static void print_stages(const progress *p, const cop_trial_report *report)
{
    static const char *const titles[] = {"stage", "fidelity", "done", "failed", "each", ""};
    char text[COP_TEXT_NUMBER_BYTES];
    cop_cli_table table;
    cop_cli_table_init(&table, "rrrrrl");
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        cop_cli_cell(&table, "%s", titles[i]);
    }
    for (int s = report->first; s < report->stages; s++) {
        const cop_trial_stage *stage = &report->stage[s];
        cop_cli_cell(&table, "%d", s);
        cop_cli_cell(&table, "%.6g", stage->fidelity);
        cop_cli_cell(&table, p->total[s] < 1e15 ? "%lld/%.0f" : "%lld/%.3g",
                     (long long)stage->count, p->total[s]);
        cop_cli_cell(&table, "%lld", (long long)stage->failed);
        cop_cli_cell(
            &table, "%s",
            stage->count > 0 ? cop_text_seconds(text, stage->seconds / (double)stage->count) : "-");
        cop_cli_cell(&table, "%s", s == p->current ? "<- now" : "");
    }
    cop_cli_table_print(&table);
}

static void print_text(const progress *p, const cop_trial_report *report, const char *directory)
{
    char text[COP_TEXT_NUMBER_BYTES];
    cop_text surrogate = {0};
    cop_cli_print("%s: %s%s%s\n", directory, p->state, p->owner[0] == '\0' ? "" : " by ", p->owner);
    print_stages(p, report);
    if (report->has_pick) {
        const cop_trial_rank *entry = cop_trial_report_entry(report, report->pick.index);
        cop_cli_print("best     %s:", report->trials.entry[report->pick.index].id);
        for (int k = 0; k < report->space->objectives; k++) {
            cop_cli_print("%s %s %.6g", k > 0 ? "," : "", report->space->objective[k],
                          entry->objective[k]);
        }
        cop_cli_print("\n");
    }
    cop_report_append_surrogate(&surrogate, report->trials.fact, report->trials.facts,
                                "\nmodel    ");
    if (surrogate.length > 0 && !surrogate.is_broken) {
        cop_cli_print("model    %s\n", cop_text_view(&surrogate));
    }
    cop_text_release(&surrogate);
    cop_cli_print("front    %lld of %lld candidates\n", (long long)report->front_count,
                  (long long)report->trials.count);
    for (int64_t i = 0, shown = 0; i < report->trials.count && shown < 5; i++) {
        if (report->place[i].state == COP_STATE_FAILED) {
            cop_cli_print("failed   %s: %s\n", report->trials.entry[i].id,
                          cop_trial_report_reason(report, i));
            shown++;
        }
    }
    cop_cli_print("spent    %lld evaluations, %s of the evaluator\n",
                  (long long)report->evaluations, cop_text_seconds(text, report->seconds));
    if (isfinite(p->rate)) {
        cop_cli_print("rate     about %.3g evaluations per second\n", p->rate);
    }
    if (isfinite(p->eta_seconds)) {
        cop_cli_print("left     about %s\n", cop_text_seconds(text, p->eta_seconds));
    }
}

cop_status cop_trial_view_status(const char *directory, bool is_json, bool *is_running, int *code,
                                 cop_error *err)
{
    cop_status status = COP_OK;
    cop_trial_view view = {0};
    progress p = {0};
    COP_TRY(status, cop_trial_view_open(&view, directory, err));
    measure(&p, &view.report, directory);
    *is_running = strcmp(p.state, "running") == 0;
    if (is_json) {
        *code = print_json(&p, &view.report, directory);
    } else {
        print_text(&p, &view.report, directory);
    }

done:
    cop_trial_view_release(&view);
    return status;
}
