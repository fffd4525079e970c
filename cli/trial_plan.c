// space and plan of a study with an evaluator.

#include <math.h>
#include <stdio.h>

#include "base/alloc.h"
#include "base/file.h"
#include "cli/trial_view.h"
#include "report/json_build.h"

// --- space ----------------------------------------------------------------------------------------

static int print_space_json(const cop_free_space *space)
{
    json_t *object = cop_trial_json_space(space);
    json_t *objectives = json_array();
    for (int i = 0; i < space->objectives; i++) {
        cop_build_add(objectives, cop_build_text(space->objective[i]));
    }
    cop_build_put(object, "kind", json_string("evaluator"));
    cop_build_put(object, "objectives", objectives);
    cop_build_put(object, "feasible", json_null()); // known once a point is evaluated
    return cop_cli_print_json(object);
}

static void print_level(cop_text *out, const cop_free_space *space, int axis, int64_t level)
{
    const cop_free_axis *a = &space->axis[axis];
    if (a->word != NULL) {
        cop_text_append(out, a->word[level]);
    } else {
        cop_text_appendf(out, "%.10g", cop_free_space_value(space, axis, (int32_t)level));
    }
}

static void print_axis(cop_cli_table *table, const cop_free_space *space, int axis)
{
    enum { SHOWN = 6 };

    const cop_free_axis *a = &space->axis[axis];
    cop_text values = {0};
    for (int64_t i = 0; i < a->levels && i < SHOWN; i++) {
        cop_text_append(&values, i > 0 ? ", " : "");
        if (i + 1 == SHOWN && a->levels > SHOWN) {
            cop_text_append(&values, "..., ");
            print_level(&values, space, axis, a->levels - 1);
        } else {
            print_level(&values, space, axis, i);
        }
    }
    cop_cli_cell(table, "%s", a->name);
    cop_cli_cell(table, "%lld", (long long)a->levels);
    cop_cli_cell(table, "%s", cop_text_view(&values));
    cop_text_release(&values);
}

int cop_trial_view_space(const cop_study_file *study, bool is_json)
{
    const cop_free_space *space = study->free;
    const double size = cop_free_space_size(space);
    cop_cli_table table;
    if (is_json) {
        return print_space_json(space);
    }
    cop_cli_table_init(&table, "lrl");
    cop_cli_cell(&table, "axis");
    cop_cli_cell(&table, "values");
    cop_cli_cell(&table, "%s", "");
    for (int i = 0; i < space->axes; i++) {
        print_axis(&table, space, i);
    }
    cop_cli_table_print(&table);
    cop_cli_print(size < 1e15 ? "%.0f grid points\n" : "%.4g grid points\n", size);
    cop_cli_print("minimised:");
    for (int i = 0; i < space->objectives; i++) {
        cop_cli_print("%s %s", i > 0 ? "," : "", space->objective[i]);
    }
    cop_cli_print("\n");
    for (int i = 0; i < space->bounds; i++) {
        const cop_free_bound *bound = &space->bound[i];
        cop_cli_print("bound: ");
        if (isfinite(bound->min)) {
            cop_cli_print("%g <= ", bound->min);
        }
        cop_cli_print("%s", bound->metric);
        if (isfinite(bound->max)) {
            cop_cli_print(" <= %g", bound->max);
        }
        cop_cli_print(", known once a point is evaluated\n");
    }
    return COP_EXIT_DONE;
}

// --- plan -----------------------------------------------------------------------------------------

typedef struct trial_plan {
    double count[COP_TRIAL_STAGES_MAX];
    double each[COP_TRIAL_STAGES_MAX]; // seconds; NaN: not measured
    double evaluations;
    double seconds; // NaN: not known
} trial_plan;

// Mean seconds of an evaluation in the study's directory, where there is one.
static cop_status measure(trial_plan *plan, const cop_study_file *study, cop_error *err)
{
    cop_status status = COP_OK;
    cop_trial_view view = {0};
    bool is_one = false;
    char *database = NULL;
    char *directory = cop_study_file_directory(study->path);

    if (directory != NULL) {
        database = cop_file_join(directory, "study.db");
    }
    if (database == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", study->path);
        goto done;
    }
    if (!cop_file_exists(database)) {
        goto done;
    }
    COP_TRY(status, cop_trial_view_is(&is_one, directory, err));
    if (!is_one) {
        goto done;
    }
    COP_TRY(status, cop_trial_view_open(&view, directory, err));
    for (int s = view.report.first; s < view.report.stages; s++) {
        const cop_trial_stage *stage = &view.report.stage[s];
        if (stage->count > 0 && s < cop_trials_stages(study) &&
            stage->fidelity == cop_trials_fidelity(study, s)) {
            plan->each[s] = stage->seconds / (double)stage->count;
        }
    }

done:
    cop_trial_view_release(&view);
    cop_free(database);
    cop_free(directory);
    return status;
}

static cop_status make(trial_plan *plan, const cop_study_file *study, cop_error *err)
{
    const int first = (int)study->fidelity;
    const double size = cop_free_space_size(study->free);
    double count = study->evaluations > 0 ? fmin((double)study->evaluations, size) : size;

    for (int s = 0; s < COP_TRIAL_STAGES_MAX; s++) {
        plan->each[s] = (double)NAN;
    }
    const cop_status status = measure(plan, study, err);
    for (int s = first; s < cop_trials_stages(study); s++) {
        plan->count[s] = count;
        plan->evaluations += count;
        plan->seconds += count * plan->each[s] / (double)study->evaluator_processes;
        count = fmax(1, ceil(study->keep * count - 1e-9));
    }
    return status;
}

static int print_plan_json(const trial_plan *plan, const cop_study_file *study)
{
    json_t *object = json_object();
    json_t *stages = json_array();
    for (int s = (int)study->fidelity; s < cop_trials_stages(study); s++) {
        json_t *stage = json_object();
        cop_build_put(stage, "stage", json_integer(s));
        cop_build_put(stage, "fidelity", cop_trial_json_number(cop_trials_fidelity(study, s)));
        cop_build_put(stage, "candidates", cop_trial_json_number(plan->count[s]));
        cop_build_put(stage, "seconds_each", cop_build_real(plan->each[s]));
        cop_build_put(
            stage, "seconds",
            cop_build_real(plan->count[s] * plan->each[s] / (double)study->evaluator_processes));
        cop_build_add(stages, stage);
    }
    cop_build_put(object, "kind", json_string("evaluator"));
    cop_build_put(object, "size", cop_trial_json_number(cop_free_space_size(study->free)));
    cop_build_put(object, "strategy", cop_build_text(study->strategy));
    cop_build_put(object, "stages", stages);
    cop_build_put(object, "evaluations", cop_trial_json_number(plan->evaluations));
    cop_build_put(object, "processes", json_integer(study->evaluator_processes));
    cop_build_put(object, "seconds", cop_build_real(plan->seconds));
    return cop_cli_print_json(object);
}

static void print_plan(const trial_plan *plan, const cop_study_file *study)
{
    static const char *const titles[] = {"stage", "fidelity", "evaluations", "each", "time"};
    char text[COP_TEXT_NUMBER_BYTES];
    cop_cli_table table;
    cop_cli_table_init(&table, "rrrrr");
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        cop_cli_cell(&table, "%s", titles[i]);
    }
    for (int s = (int)study->fidelity; s < cop_trials_stages(study); s++) {
        const double seconds = plan->count[s] * plan->each[s] / (double)study->evaluator_processes;
        cop_cli_cell(&table, "%d", s);
        cop_cli_cell(&table, "%.6g", cop_trials_fidelity(study, s));
        cop_cli_cell(&table, plan->count[s] < 1e15 ? "%.0f" : "%.4g", plan->count[s]);
        cop_cli_cell(&table, "%s",
                     isnan(seconds) ? "unknown" : cop_text_seconds(text, plan->each[s]));
        cop_cli_cell(&table, "%s", isnan(seconds) ? "unknown" : cop_text_seconds(text, seconds));
    }
    cop_cli_table_print(&table);
    cop_cli_print("%s: %s evaluations by %lld process%s, ", study->strategy,
                  cop_text_count(text, plan->evaluations), (long long)study->evaluator_processes,
                  study->evaluator_processes == 1 ? "" : "es");
    if (isnan(plan->seconds)) {
        cop_cli_print("seconds unknown: known once some are done\n");
    } else {
        cop_cli_print("about %s at the mean of those done\n",
                      cop_text_seconds(text, plan->seconds));
    }
}

cop_status cop_trial_view_plan(const cop_study_file *study, bool is_json, int *code, cop_error *err)
{
    trial_plan plan = {0};
    const cop_status status = make(&plan, study, err);
    if (status != COP_OK) {
        return status;
    }
    if (is_json) {
        *code = print_plan_json(&plan, study);
    } else {
        print_plan(&plan, study);
    }
    return COP_OK;
}
