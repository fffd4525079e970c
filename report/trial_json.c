// report.json of a study with an evaluator.

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "base/version.h"
#include "report/json_build.h"
#include "report/surrogate_json.h"
#include "report/trial_report.h"
#include "search/facts.h"

json_t *cop_trial_json_number(double value)
{
    return isfinite(value) && value == floor(value) && fabs(value) < 0x1p53
               ? json_integer((json_int_t)value)
               : cop_build_real(value);
}

static json_t *id_at(const cop_trial_report *report, int64_t index)
{
    return index < 0 ? json_null() : cop_build_text(report->trials.entry[index].id);
}

// --- Candidates -----------------------------------------------------------------------------------

static json_t *metrics_of(const cop_trial_report *report, const cop_trial_result *result)
{
    json_t *object = json_object();
    for (int64_t i = 0; i < report->metrics; i++) {
        const double value = cop_trial_metric(result, report->metric[i]);
        if (isnan(value)) {
            continue;
        }
        json_t *metric = json_object();
        cop_build_put(metric, "value", cop_build_real(value));
        cop_build_put(metric, "low", json_null());
        cop_build_put(metric, "high", json_null());
        cop_build_put(metric, "tokens", cop_trial_json_number(result->fidelity));
        cop_build_put(object, report->metric[i], metric);
    }
    return object;
}

static json_t *values_of(const cop_trial_entry *entry)
{
    json_t *values = NULL;
    const cop_status status =
        cop_json_parse(&values, entry->id, entry->values, strlen(entry->values), NULL);
    return status == COP_OK ? values : json_null();
}

json_t *cop_trial_json_candidate(const cop_trial_report *report, int64_t index)
{
    const cop_trial_entry *entry = &report->trials.entry[index];
    const cop_trial_place *place = &report->place[index];
    const cop_trial_rank *rank = cop_trial_report_entry(report, index);
    const cop_trial_result *result = cop_trial_report_result(report, index);
    const char *reason = cop_trial_report_reason(report, index);
    json_t *object = json_object();
    const bool is_feasible = rank != NULL && rank->violation == 0;

    cop_build_put(object, "id", cop_build_text(entry->id));
    cop_build_put(object, "values", values_of(entry));
    cop_build_put(object, "stage", rank == NULL ? json_null() : json_integer(place->stage));
    cop_build_put(object, "tokens",
                  rank == NULL ? json_null() : cop_trial_json_number(result->fidelity));
    cop_build_put(object, "metrics", rank == NULL ? json_object() : metrics_of(report, result));
    cop_build_put(object, "status", cop_build_text(cop_candidate_state_name(place->state)));
    cop_build_put(object, "reason", reason[0] == '\0' ? json_null() : cop_build_text(reason));
    cop_build_put(object, "feasible", rank == NULL ? json_null() : json_boolean(is_feasible));
    cop_build_put(object, "violation",
                  rank == NULL ? json_null() : cop_build_real(rank->violation));
    cop_build_put(object, "on_front", json_boolean(place->is_on_front));
    cop_build_put(object, "rank", rank == NULL ? json_null() : json_integer(place->rank));
    cop_build_put(object, "front", is_feasible ? json_integer(rank->front) : json_null());
    cop_build_put(object, "batch", json_integer(entry->batch));
    cop_build_put(object, "number", json_integer(entry->number));
    return object;
}

// --- The study ------------------------------------------------------------------------------------

static json_t *axis_of(const cop_free_space *space, int index)
{
    const cop_free_axis *axis = &space->axis[index];
    json_t *object = json_object();
    cop_build_put(object, "name", cop_build_text(axis->name));
    cop_build_put(object, "values", json_integer(axis->levels));
    if (axis->word != NULL) {
        json_t *words = json_array();
        for (int64_t i = 0; i < axis->levels; i++) {
            cop_build_add(words, cop_build_text(axis->word[i]));
        }
        cop_build_put(object, "words", words);
    } else {
        double low = (double)INFINITY;
        double high = -(double)INFINITY;
        for (int64_t i = 0; axis->value != NULL && i < axis->levels; i++) {
            low = fmin(low, axis->value[i]);
            high = fmax(high, axis->value[i]);
        }
        if (axis->value == NULL) {
            low = cop_free_space_value(space, index, 0);
            high = cop_free_space_value(space, index, (int32_t)axis->levels - 1);
        }
        cop_build_put(object, "from", cop_trial_json_number(low));
        cop_build_put(object, "to", cop_trial_json_number(high));
    }
    return object;
}

json_t *cop_trial_json_space(const cop_free_space *space)
{
    json_t *object = json_object();
    json_t *axes = json_array();
    json_t *bounds = json_array();
    for (int i = 0; i < space->axes; i++) {
        cop_build_add(axes, axis_of(space, i));
    }
    for (int i = 0; i < space->bounds; i++) {
        json_t *bound = json_object();
        cop_build_put(bound, "metric", cop_build_text(space->bound[i].metric));
        cop_build_put(bound, "min", cop_build_real(space->bound[i].min));
        cop_build_put(bound, "max", cop_build_real(space->bound[i].max));
        cop_build_add(bounds, bound);
    }
    cop_build_put(object, "size", cop_trial_json_number(cop_free_space_size(space)));
    cop_build_put(object, "axes", axes);
    cop_build_put(object, "bounds", bounds);
    return object;
}

static json_t *study_of(const cop_trial_report *report)
{
    json_t *object = json_object();
    cop_build_put(object, "name", cop_build_text(report->name));
    cop_build_put(object, "kind", json_string("evaluator"));
    cop_build_put(object, "seed", json_integer((json_int_t)report->study->seed));
    cop_build_put(object, "strategy", cop_build_text(report->study->strategy));
    cop_build_put(object, "candidates", json_integer(report->trials.count));
    cop_build_put(object, "stages", json_integer(report->stages));
    cop_build_put(object, "deepest_stage",
                  report->deepest < 0 ? json_null() : json_integer(report->deepest));
    cop_build_put(object, "failures", json_integer(report->failures));
    cop_build_put(object, "space", cop_trial_json_space(report->space));
    cop_build_put(
        object, "hypervolume",
        cop_report_json_volume(&report->volume, &report->history, report->space->objectives));
    cop_build_put(object, "surrogate",
                  cop_report_json_surrogate(report->trials.fact, report->trials.facts));
    return object;
}

static json_t *objectives_of(const cop_trial_report *report)
{
    json_t *list = json_array();
    for (int i = 0; i < report->space->objectives; i++) {
        json_t *object = json_object();
        cop_build_put(object, "name", cop_build_text(report->space->objective[i]));
        cop_build_put(object, "direction", json_string("minimise"));
        cop_build_put(object, "definition", json_string("metric of the evaluator"));
        cop_build_add(list, object);
    }
    return list;
}

static json_t *pick_of(const cop_trial_report *report)
{
    if (!report->has_pick) {
        return json_null();
    }
    json_t *object = json_object();
    cop_build_put(object, "id", id_at(report, report->pick.index));
    cop_build_put(object, "reason", cop_build_text(report->pick.reason));
    cop_build_put(object, "runner_up", id_at(report, report->pick.runner_up));
    return object;
}

static json_t *stages_of(const cop_trial_report *report)
{
    json_t *list = json_array();
    for (int s = report->first; s < report->stages; s++) {
        const cop_trial_stage *stage = &report->stage[s];
        json_t *object = json_object();
        cop_build_put(object, "stage", json_integer(s));
        cop_build_put(object, "fidelity", cop_trial_json_number(stage->fidelity));
        cop_build_put(object, "entered", json_integer(stage->entered));
        cop_build_put(object, "finished", json_integer(stage->count));
        cop_build_put(object, "promoted", json_integer(stage->promoted));
        cop_build_put(object, "rescued", json_integer(stage->rescued));
        cop_build_put(object, "failed", json_integer(stage->failed));
        cop_build_add(list, object);
    }
    return list;
}

static json_t *provenance_of(const cop_trial_report *report)
{
    const cop_trials *trials = &report->trials;
    json_t *object = json_object();
    json_t *facts = json_object();
    json_t *seconds = json_array();
    json_t *retries = json_object();
    for (int64_t i = 0; i < trials->facts; i++) {
        const cop_fact *fact = &trials->fact[i];
        if (cop_fact_is_provenance(fact->key)) {
            cop_build_put(facts, fact->key, cop_build_text(fact->value));
        }
    }
    for (int s = report->first; s < report->stages; s++) {
        cop_build_add(seconds, cop_build_real(report->stage[s].seconds));
    }
    for (int64_t i = 0; i < trials->count; i++) {
        if (trials->entry[i].failures > 0) {
            cop_build_put(retries, trials->entry[i].id, json_integer(trials->entry[i].failures));
        }
    }
    cop_build_put(object, "command", cop_build_text(cop_trials_fact(trials, COP_FACT_COMMAND)));
    cop_build_put(object, "evaluator", cop_build_text(report->study->evaluator_command));
    cop_build_put(object, "directory", cop_build_text(report->directory));
    cop_build_put(object, "report_version", cop_build_text(cop_version()));
    cop_build_put(object, "seconds", cop_build_real(report->seconds));
    cop_build_put(object, "seconds_per_stage", seconds);
    cop_build_put(object, "failed_attempts", retries);
    cop_build_put(object, "facts", facts);
    return object;
}

cop_status cop_trial_json(json_t **out, const cop_trial_report *report, cop_error *err)
{
    json_t *front = json_array();
    json_t *candidates = json_array();
    *out = json_object();
    if (*out == NULL) {
        json_decref(front);
        json_decref(candidates);
        return COP_FAIL(err, COP_ERR_NOMEM, "report: out of memory");
    }
    for (int64_t i = 0; i < report->front_count; i++) {
        cop_build_add(front, id_at(report, report->stage[report->deepest].ranking[i].index));
    }
    for (int64_t i = 0; i < report->trials.count; i++) {
        cop_build_add(candidates, cop_trial_json_candidate(report, i));
    }
    cop_build_put(*out, "study", study_of(report));
    cop_build_put(*out, "objectives", objectives_of(report));
    cop_build_put(*out, "pick", pick_of(report));
    cop_build_put(*out, "front", front);
    cop_build_put(*out, "stages", stages_of(report));
    cop_build_put(*out, "evaluations", json_integer(report->evaluations));
    cop_build_put(*out, "tokens", cop_trial_json_number(report->tokens));
    cop_build_put(*out, "candidates", candidates);
    cop_build_put(*out, "provenance", provenance_of(report));
    return COP_OK;
}
