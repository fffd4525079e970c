#include "report/surrogate_json.h"

#include <math.h>
#include <string.h>

#include "base/json.h"
#include "report/json_build.h"
#include "search/facts.h"

static bool has_prefix(const char *key, const char *prefix)
{
    return strncmp(key, prefix, strlen(prefix)) == 0;
}

bool cop_fact_is_provenance(const char *key)
{
    return !has_prefix(key, COP_FACT_STAGE_PREFIX) && !has_prefix(key, COP_FACT_STALLED_PREFIX) &&
           !has_prefix(key, COP_FACT_CALIBRATION_PREFIX);
}

// NULL: it is no calibration, or cannot be read.
static json_t *read_fact(const cop_fact *fact)
{
    json_t *value = NULL;
    if (!has_prefix(fact->key, COP_FACT_CALIBRATION_PREFIX) ||
        cop_json_parse(&value, fact->key, fact->value, strlen(fact->value), NULL) != COP_OK) {
        return NULL;
    }
    if (!json_is_object(value)) {
        json_decref(value);
        return NULL;
    }
    return value;
}

json_t *cop_report_json_surrogate(const cop_fact *fact, int64_t facts)
{
    json_t *object = NULL;
    for (int64_t i = 0; i < facts; i++) {
        json_t *value = read_fact(&fact[i]);
        if (value != NULL) {
            object = object == NULL ? json_object() : object;
            cop_build_put(object, fact[i].key + strlen(COP_FACT_CALIBRATION_PREFIX), value);
        }
    }
    return object == NULL ? json_null() : object;
}

static double real_at(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : (double)NAN;
}

// Among few predictions there may be no tau: all alike.
static void append_figures(cop_text *out, const json_t *value)
{
    const double tau = real_at(value, "tau");
    if (isfinite(tau)) {
        cop_text_appendf(out, ", tau-b %.2f", tau);
    }
    cop_text_appendf(out, ", 50 %% intervals hold %.0f %%, 90 %% intervals %.0f %%, off by %.3g",
                     100 * real_at(value, "coverage50"), 100 * real_at(value, "coverage90"),
                     real_at(value, "rmse"));
}

void cop_report_append_surrogate(cop_text *out, const cop_fact *fact, int64_t facts,
                                 const char *separator)
{
    const char *before = "";
    for (int64_t i = 0; i < facts; i++) {
        json_t *value = read_fact(&fact[i]);
        const json_int_t n = json_integer_value(json_object_get(value, "n"));
        if (value != NULL && n > 0 && !json_is_true(json_object_get(value, "is_exact"))) {
            cop_text_appendf(out, "%s%s: %lld predictions", before,
                             fact[i].key + strlen(COP_FACT_CALIBRATION_PREFIX), (long long)n);
            append_figures(out, value);
            before = separator;
        }
        json_decref(value);
    }
}
