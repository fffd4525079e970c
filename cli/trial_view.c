// report, pick and the end of a search, for a study with an evaluator.

#include "cli/trial_view.h"

#include <math.h>

#include "report/json_build.h"

enum { ROWS = 12, COLUMNS_MAX = 8 };

cop_status cop_trial_view_is(bool *out, const char *directory, cop_error *err)
{
    cop_status status = COP_OK;
    cop_store *store = NULL;
    *out = false;
    COP_TRY(status, cop_store_open(&store, directory, COP_STORE_READ, err));
    COP_TRY(status, cop_store_has_trials(out, store, err));

done:
    cop_store_destroy(store);
    return status;
}

cop_status cop_trial_view_open(cop_trial_view *out, const char *directory, cop_error *err)
{
    cop_status status = COP_OK;
    *out = (cop_trial_view){0};
    COP_TRY(status, cop_store_open(&out->store, directory, COP_STORE_READ, err));
    COP_TRY(status, cop_trial_report_create(&out->report, out->store, directory, err));

done:
    return status;
}

void cop_trial_view_release(cop_trial_view *view)
{
    cop_trial_report_release(&view->report);
    cop_store_destroy(view->store);
    *view = (cop_trial_view){0};
}

// --- Tables ---------------------------------------------------------------------------------------

static const char *mark_of(const cop_trial_report *report, const cop_trial_rank *entry)
{
    const bool is_pick = report->has_pick && report->pick.index == entry->index;
    const bool is_front = report->place[entry->index].is_on_front;
    return is_pick && is_front    ? "front, pick"
           : is_pick              ? "pick"
           : is_front             ? "front"
           : entry->violation > 0 ? "breaks a bound"
                                  : "";
}

static void print_row(cop_cli_table *table, const cop_trial_report *report,
                      const cop_trial_rank *entry, int64_t columns)
{
    const cop_trial_result *result = &report->trials.entry[entry->index].result[report->deepest];
    cop_cli_cell(table, "%lld", (long long)report->place[entry->index].rank);
    cop_cli_cell(table, "%s", report->trials.entry[entry->index].id);
    for (int64_t k = 0; k < columns; k++) {
        const double value = cop_trial_metric(result, report->metric[k]);
        if (isnan(value)) {
            cop_cli_cell(table, "-");
        } else {
            cop_cli_cell(table, "%.6g", value);
        }
    }
    cop_cli_cell(table, "%s", mark_of(report, entry));
}

void cop_trial_view_ranking(const cop_trial_report *report, int64_t rows)
{
    const int64_t columns = report->metrics < COLUMNS_MAX ? report->metrics : COLUMNS_MAX;
    char alignment[COLUMNS_MAX + 4] = "rl";
    cop_cli_table table;

    if (report->deepest < 0) {
        return;
    }
    for (int64_t k = 0; k < columns; k++) {
        alignment[2 + k] = 'r';
    }
    alignment[2 + columns] = 'l';
    const cop_trial_stage *stage = &report->stage[report->deepest];
    cop_cli_table_init(&table, alignment);
    cop_cli_cell(&table, "rank");
    cop_cli_cell(&table, "candidate");
    for (int64_t k = 0; k < columns; k++) {
        cop_cli_cell(&table, "%s", report->metric[k]);
    }
    cop_cli_cell(&table, "%s", "");
    for (int64_t i = 0; i < stage->count && i < rows; i++) {
        print_row(&table, report, &stage->ranking[i], columns);
    }
    cop_cli_table_print(&table);
    if (stage->count > rows) {
        cop_cli_print("... and %lld more\n", (long long)(stage->count - rows));
    }
}

static void print_fidelity(const cop_trial_report *report)
{
    if (report->study->rungs > 0 && report->deepest >= 0) {
        cop_cli_print("stage %d, fidelity %.6g\n", report->deepest,
                      report->stage[report->deepest].fidelity);
    }
}

// --- report ---------------------------------------------------------------------------------------

static void print_report(const cop_trial_report *report, const char *directory)
{
    print_fidelity(report);
    cop_trial_view_ranking(report, ROWS);
    if (report->has_pick) {
        cop_cli_print("\npick  %s: %s\n", report->trials.entry[report->pick.index].id,
                      report->pick.reason);
    } else {
        cop_cli_print(report->deepest < 0 ? "no candidate has a result yet\n"
                                          : "\nno candidate meets all bounds\n");
    }
    cop_cli_print("%lld evaluations, %lld on the front, %lld failures\n",
                  (long long)report->evaluations, (long long)report->front_count,
                  (long long)report->failures);
    if (isfinite(report->volume.value)) {
        cop_cli_print("hypervolume %.6g (of the range of all feasible results, against 1.1)\n",
                      report->volume.value);
    }
    cop_cli_print("written: %s/report.html, report.json, candidates.csv\n", directory);
}

cop_status cop_trial_view_report(const char *directory, bool is_json, int *code, cop_error *err)
{
    cop_status status = COP_OK;
    cop_trial_view view = {0};
    json_t *document = NULL;
    COP_TRY(status, cop_trial_view_open(&view, directory, err));
    COP_TRY(status, cop_trial_report_write(&view.report, directory, err));
    if (is_json) {
        COP_TRY(status, cop_trial_json(&document, &view.report, err));
        *code = cop_cli_print_json(document);
    } else {
        print_report(&view.report, directory);
    }

done:
    cop_trial_view_release(&view);
    return status;
}

// --- pick -----------------------------------------------------------------------------------------

static int print_pick_json(const cop_trial_report *report, const cop_trial_pick *pick)
{
    json_t *object = cop_trial_json_candidate(report, pick->index);
    const char *runner_up = pick->runner_up < 0 ? NULL : report->trials.entry[pick->runner_up].id;
    cop_build_put(object, "reason", cop_build_text(pick->reason));
    cop_build_put(object, "runner_up", cop_build_text(runner_up));
    cop_build_put(object, "eligible", json_integer(pick->eligible));
    return cop_cli_print_json(object);
}

static void print_metrics(const cop_trial_report *report, int64_t index)
{
    const cop_trial_result *result = cop_trial_report_result(report, index);
    for (int64_t k = 0; k < report->metrics; k++) {
        const double value = cop_trial_metric(result, report->metric[k]);
        if (!isnan(value)) {
            cop_cli_print("%s%s %.6g", k > 0 ? ", " : "", report->metric[k], value);
        }
    }
    cop_cli_print("\n");
}

static void print_pick(const cop_trial_report *report, const cop_trial_pick *pick)
{
    const cop_trial_entry *entry = &report->trials.entry[pick->index];
    cop_cli_print("%s\n  values: %s\n  metrics: ", entry->id, entry->values);
    print_metrics(report, pick->index);
    cop_cli_print("  why: %s\n", pick->reason);
    if (pick->runner_up >= 0) {
        cop_cli_print("  runner-up: %s with ", report->trials.entry[pick->runner_up].id);
        print_metrics(report, pick->runner_up);
    }
}

cop_status cop_trial_view_pick(const char *directory, const cop_pick_limit *limits, int count,
                               bool is_json, int *code, cop_error *err)
{
    cop_status status = COP_OK;
    cop_trial_view view = {0};
    cop_trial_pick pick = {0};
    COP_TRY(status, cop_trial_view_open(&view, directory, err));
    COP_TRY(status, cop_trial_pick_make(&pick, &view.report, limits, count, err));
    if (is_json) {
        *code = print_pick_json(&view.report, &pick);
    } else {
        print_pick(&view.report, &pick);
    }

done:
    cop_trial_view_release(&view);
    return status;
}

// --- search ---------------------------------------------------------------------------------------

static json_t *ranking_of(const cop_trial_report *report)
{
    json_t *list = json_array();
    const cop_trial_stage *stage = &report->stage[report->deepest];
    for (int64_t i = 0; i < stage->count; i++) {
        const cop_trial_rank *entry = &stage->ranking[i];
        const cop_trial_place *place = &report->place[entry->index];
        json_t *object = json_object();
        json_t *objectives = json_object();
        for (int k = 0; k < report->space->objectives; k++) {
            cop_build_put(objectives, report->space->objective[k],
                          cop_build_real(entry->objective[k]));
        }
        cop_build_put(object, "id", cop_build_text(report->trials.entry[entry->index].id));
        cop_build_put(object, "rank", json_integer(place->rank));
        cop_build_put(object, "on_front", json_boolean(place->is_on_front));
        cop_build_put(object, "feasible", json_boolean(entry->violation == 0));
        cop_build_put(object, "objectives", objectives);
        cop_build_add(list, object);
    }
    return list;
}

static int print_summary_json(const cop_trial_report *report, const char *directory,
                              bool was_stopped)
{
    json_t *object = json_object();
    json_t *front = json_array();
    const bool has_result = report->deepest >= 0;
    for (int64_t i = 0; i < report->front_count; i++) {
        const int64_t index = report->stage[report->deepest].ranking[i].index;
        cop_build_add(front, cop_build_text(report->trials.entry[index].id));
    }
    cop_build_put(object, "study", cop_build_text(directory));
    cop_build_put(object, "status", json_string(was_stopped ? "stopped" : "finished"));
    cop_build_put(object, "candidates", json_integer(report->trials.count));
    cop_build_put(object, "stage", json_integer(report->deepest));
    cop_build_put(object, "tokens",
                  cop_trial_json_number(has_result ? report->stage[report->deepest].fidelity : 0));
    cop_build_put(object, "evaluations", json_integer(report->evaluations));
    cop_build_put(object, "failures", json_integer(report->failures));
    cop_build_put(object, "front", front);
    cop_build_put(object, "ranking", has_result ? ranking_of(report) : json_array());
    return cop_cli_print_json(object);
}

cop_status cop_trial_view_summary(const char *directory, bool was_stopped, bool is_json, int *code,
                                  cop_error *err)
{
    cop_status status = COP_OK;
    cop_trial_view view = {0};
    COP_TRY(status, cop_trial_view_open(&view, directory, err));
    if (is_json) {
        *code = print_summary_json(&view.report, directory, was_stopped);
        goto done;
    }
    cop_trial_view_ranking(&view.report, ROWS);
    print_fidelity(&view.report);
    cop_cli_print("%lld evaluations, %lld on the front, %lld failures\n",
                  (long long)view.report.evaluations, (long long)view.report.front_count,
                  (long long)view.report.failures);
    cop_cli_print("%s: %s\n", directory,
                  was_stopped ? "stopped; the same command continues" : "finished");

done:
    cop_trial_view_release(&view);
    return status;
}
