// candidates.csv of a study with an evaluator: one row for each trial, with the metrics of its deepest stage.
// RFC 4180: lines end with CR LF, fields with commas, quotes or line ends are quoted. Empty: not measured.

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "report/trial_report.h"

static void put_values(cop_text *out, const cop_trial_report *report, const cop_trial_entry *entry)
{
    json_t *values = NULL;
    const cop_status status =
        cop_json_parse(&values, entry->id, entry->values, strlen(entry->values), NULL);
    for (int i = 0; i < report->space->axes; i++) {
        const json_t *value =
            status == COP_OK ? json_object_get(values, report->space->axis[i].name) : NULL;
        cop_text_append(out, ",");
        if (json_is_string(value)) {
            cop_text_append_csv(out, json_string_value(value));
        } else if (json_is_number(value)) {
            cop_text_append_number(out, json_number_value(value));
        }
    }
    json_decref(values);
}

static const char *word(bool is_true)
{
    return is_true ? "true" : "false";
}

static void put_row(cop_text *out, const cop_trial_report *report, int64_t index)
{
    const cop_trial_entry *entry = &report->trials.entry[index];
    const cop_trial_place *place = &report->place[index];
    const cop_trial_rank *rank = cop_trial_report_entry(report, index);
    const cop_trial_result *result = cop_trial_report_result(report, index);
    cop_text_append_csv(out, entry->id);
    cop_text_appendf(out, ",%" PRId64 ",%" PRId64 ",%s,%s,%s,", entry->number, entry->batch,
                     cop_candidate_state_name(place->state),
                     rank == NULL ? "" : word(rank->violation == 0), word(place->is_on_front));
    if (rank != NULL) {
        cop_text_appendf(out, "%" PRId64, place->rank);
    }
    put_values(out, report, entry);
    for (int64_t i = 0; i < report->metrics; i++) {
        cop_text_append(out, ",");
        cop_text_append_number(out, result == NULL ? (double)NAN
                                                   : cop_trial_metric(result, report->metric[i]));
    }
    cop_text_append(out, ",");
    cop_text_append_number(out, result == NULL ? (double)NAN : result->fidelity);
    cop_text_append(out, ",");
    cop_text_append_csv(out, cop_trial_report_reason(report, index));
    cop_text_append(out, "\r\n");
}

cop_status cop_trial_csv(cop_text *out, const cop_trial_report *report, cop_error *err)
{
    cop_text_append(out, "id,number,batch,status,feasible,on_front,rank");
    for (int i = 0; i < report->space->axes; i++) {
        cop_text_append(out, ",");
        cop_text_append_csv(out, report->space->axis[i].name);
    }
    for (int64_t i = 0; i < report->metrics; i++) {
        cop_text_append(out, ",");
        cop_text_append_csv(out, report->metric[i]);
    }
    cop_text_append(out, ",fidelity,reason\r\n");
    for (int64_t i = 0; i < report->trials.count; i++) {
        put_row(out, report, i);
    }
    return cop_text_check(out, "candidates.csv", err);
}
