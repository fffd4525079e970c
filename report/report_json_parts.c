// Parts of report.json: where the candidates come from, and what is known of them before they are measured.

#include <stdio.h>
#include <string.h>

#include "report/json_build.h"
#include "report/report.h"
#include "search/facts.h"

json_t *cop_report_json_fact(const cop_report *report, const char *key)
{
    const char *value = cop_snapshot_fact(report->snapshot, key);
    int64_t number = 0;
    return value != NULL && cop_text_to_i64(value, &number) ? json_integer(number)
                                                            : cop_build_text(value);
}

// Where there are too many grid points, nothing of them was counted.
static bool has_count(const cop_report *report, const char *key)
{
    const char *value = cop_snapshot_fact(report->snapshot, key);
    int64_t number = 0;
    return value == NULL || !cop_text_to_i64(value, &number) || number != INT64_MAX;
}

static json_t *counted(const cop_report *report, const char *key)
{
    return has_count(report, key) ? cop_report_json_fact(report, key) : json_null();
}

// "params >= 7.8e9: 12; params <= 8.5e9: 30" as [{text, excluded}].
static json_t *bounds_of(const cop_report *report)
{
    const char *at = cop_snapshot_fact(report->snapshot, COP_FACT_EXCLUDED);
    const bool is_counted = has_count(report, COP_FACT_FEASIBLE);
    json_t *list = json_array();
    while (at != NULL && *at != '\0') {
        char part[160];
        const size_t length = strcspn(at, ";");
        int64_t excluded = 0;
        (void)snprintf(part, sizeof part, "%.*s", (int)length, at);
        char *colon = strrchr(part, ':');
        if (colon != NULL && cop_text_to_i64(colon + 1 + strspn(colon + 1, " "), &excluded)) {
            json_t *bound = json_object();
            *colon = '\0';
            cop_build_put(bound, "text", cop_build_text(part));
            cop_build_put(bound, "excluded", is_counted ? json_integer(excluded) : json_null());
            cop_build_add(list, bound);
        }
        at += length;
        at += strspn(at, "; ");
    }
    return list;
}

json_t *cop_report_json_space(const cop_report *report)
{
    json_t *object = json_object();
    cop_build_put(object, "size", counted(report, COP_FACT_SPACE_SIZE));
    cop_build_put(object, "feasible",
                  report->batches > 0 ? counted(report, COP_FACT_FEASIBLE)
                                      : json_integer(report->snapshot->count));
    cop_build_put(object, "bounds", bounds_of(report));
    return object;
}

json_t *cop_report_json_proposals(const cop_report *report)
{
    const cop_snapshot *snapshot = report->snapshot;
    json_t *list = json_array();
    for (int64_t b = 0; b < report->batches; b++) {
        json_t *batch = json_object();
        cop_build_put(batch, "batch", json_integer(b));
        cop_build_put(batch, "candidates", json_integer(0));
        cop_build_add(list, batch);
    }
    for (int64_t i = 0; i < snapshot->count; i++) {
        if (snapshot->candidate[i].batch >= 0) {
            json_t *count = json_object_get(
                json_array_get(list, (size_t)snapshot->candidate[i].batch), "candidates");
            (void)json_integer_set(count, json_integer_value(count) + 1);
        }
    }
    return list;
}

json_t *cop_report_json_blocks(const cop_candidate *candidate)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < candidate->layers; i++) {
        const cop_layer_arch *layer = &candidate->layer[i];
        json_t *block = json_object();
        cop_build_put(block, "heads", json_integer(layer->heads));
        cop_build_put(block, "kv_heads", json_integer(layer->kv_heads));
        cop_build_put(block, "ffn", json_integer(layer->ffn));
        cop_build_add(list, block);
    }
    return list;
}

json_t *cop_report_json_mass(const cop_report *report, int64_t index)
{
    static const char *const name[COP_MASS_AXES] = {[COP_MASS_LAYERS] = "layers",
                                                    [COP_MASS_CHANNELS] = "channels",
                                                    [COP_MASS_HEADS] = "heads",
                                                    [COP_MASS_KV_GROUPS] = "kv_groups",
                                                    [COP_MASS_NEURONS] = "neurons"};
    if (report->mass == NULL) {
        return json_null();
    }
    json_t *object = json_object();
    for (int i = 0; i < COP_MASS_AXES; i++) {
        cop_build_put(object, name[i], cop_build_real(report->mass[index][i]));
    }
    return object;
}

json_t *cop_report_json_within(const cop_rank_agreement *agreement)
{
    json_t *object = cop_report_json_estimate(&agreement->within);
    json_t *strata = json_array();
    for (int k = 0; k < COP_SIZE_STRATA; k++) {
        const cop_size_stratum *stratum = &agreement->stratum[k];
        if (stratum->count > 0) {
            json_t *part = json_object();
            cop_build_put(part, "params_min", json_integer(stratum->params_min));
            cop_build_put(part, "params_max", json_integer(stratum->params_max));
            cop_build_put(part, "shared", json_integer(stratum->count));
            cop_build_put(part, "tau", cop_build_real(stratum->tau));
            cop_build_add(strata, part);
        }
    }
    cop_build_put(object, "strata", strata);
    return object;
}
