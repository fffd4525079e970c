// Reads the values of study.yaml into their fields.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "search/strategy.h"
#include "search/study_internal.h"

// Steps of an axis may be fractions such as 0.1, whose multiples are not exact.
static const double step_tolerance = 1e-9;

static void *field_of(cop_study_file *study, const cop_study_row *row)
{
    return (char *)study + row->offset;
}

// A path as the program opens it: relative ones start at the study file's directory.
static cop_status read_path(cop_study_file *study, const cop_study_row *row,
                            const cop_config_node *node, cop_error *err)
{
    char *field = field_of(study, row);
    const char *value = NULL;
    const cop_status status = cop_config_text(&value, node, err);
    if (status != COP_OK) {
        return status;
    }
    char path[COP_STUDY_PATH_BYTES];
    const char *slash = strrchr(study->path, '/');
    const int folder = value[0] == '/' || slash == NULL ? 0 : (int)(slash - study->path) + 1;
    const int wanted = snprintf(path, sizeof path, "%.*s%s", folder, study->path, value);
    if (wanted < 0 || wanted >= COP_STUDY_PATH_BYTES) {
        return cop_config_fail(node, err, "has %d bytes with its folder (allowed: up to %d)",
                               wanted, COP_STUDY_PATH_BYTES - 1);
    }
    memcpy(field, path, sizeof path);
    return COP_OK;
}

// --- Axes ---------------------------------------------------------------------------------------

static cop_status check_value(double *out, const cop_study_row *row, const cop_config_node *node,
                              cop_error *err)
{
    if (row->kind == COP_STUDY_RATIOS) {
        return cop_config_f64(out, node, row->min, row->max, err);
    }
    int64_t integer = 0;
    const cop_status status =
        cop_config_i64(&integer, node, (int64_t)row->min, (int64_t)row->max, err);
    *out = (double)integer;
    return status;
}

static cop_status allocate(cop_axis_values *out, int64_t count, const cop_config_node *node,
                           cop_error *err)
{
    if (count < 1 || count > COP_STUDY_VALUES_MAX) {
        return cop_config_fail(node, err, "has %lld values (allowed: 1..%d)", (long long)count,
                               COP_STUDY_VALUES_MAX);
    }
    out->value = cop_alloc((size_t)count, sizeof *out->value);
    if (out->value == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", cop_config_node_path(node));
    }
    out->count = count;
    return COP_OK;
}

static cop_status read_list(cop_axis_values *out, const cop_study_row *row,
                            const cop_config_node *node, cop_error *err)
{
    const int64_t count = (int64_t)cop_config_node_count(node);
    cop_status status = COP_OK;

    COP_TRY(status, allocate(out, count, node, err));
    for (int64_t i = 0; i < count; i++) {
        const cop_config_node *item = cop_config_node_item(node, (size_t)i);
        COP_TRY(status, check_value(&out->value[i], row, item, err));
        for (int64_t k = 0; k < i; k++) {
            if (out->value[k] == out->value[i]) {
                status = cop_config_fail(item, err, "is %s a second time (allowed: each once)",
                                         cop_config_node_text(item));
                goto done;
            }
        }
    }

done:
    return status;
}

static cop_status require(const cop_config_node **out, const cop_config_node *mapping,
                          const char *key, cop_error *err)
{
    *out = cop_config_node_find(mapping, key);
    if (*out == NULL) {
        return cop_config_fail(mapping, err, "the key %s is missing", key);
    }
    return COP_OK;
}

// {from, to, step}, both ends included.
static cop_status read_range(cop_axis_values *out, const cop_study_row *row,
                             const cop_config_node *node, cop_error *err)
{
    static const char *const keys[] = {"from", "to", "step", "min", "max"};
    const cop_config_node *part[3] = {NULL};
    double value[3] = {0.0};
    double steps = 0.0;
    cop_status status = COP_OK;

    COP_TRY(status, cop_config_check_keys(node, keys, 5, err));
    for (int i = 0; i < 3; i++) {
        COP_TRY(status, require(&part[i], node, keys[i], err));
        COP_TRY(status, check_value(&value[i], row, part[i], err));
    }
    if (value[1] < value[0]) {
        status = cop_config_fail(part[1], err, "is %s (allowed: at least from, which is %s)",
                                 cop_config_node_text(part[1]), cop_config_node_text(part[0]));
        goto done;
    }
    steps = floor((value[1] - value[0]) / value[2] + step_tolerance);
    COP_TRY(status, allocate(out, (int64_t)fmin(steps, 1e9) + 1, node, err));
    for (int64_t i = 0; i < out->count; i++) {
        out->value[i] = value[0] + (double)i * value[2];
    }

done:
    return status;
}

// {divisor, max_cut}; with a min of its own the cut needs no limit.
static cop_status read_cut(cop_axis_values *out, const cop_study_row *row,
                           const cop_config_node *node, cop_error *err)
{
    static const char *const keys[] = {"divisor", "max_cut", "min", "max"};
    const cop_config_node *divisor = NULL;
    const cop_config_node *max_cut = cop_config_node_find(node, keys[1]);
    cop_status status = COP_OK;

    COP_TRY(status, cop_config_check_keys(node, keys, 4, err));
    COP_TRY(status, require(&divisor, node, keys[0], err));
    if (cop_config_node_find(node, "min") == NULL) {
        COP_TRY(status, require(&max_cut, node, keys[1], err));
    }
    if (row->kind == COP_STUDY_RATIOS) {
        status = cop_config_fail(node, err,
                                 "is {divisor, max_cut} (allowed for whole sizes: use "
                                 "space.ffn, or a list or {from, to, step} here)");
        goto done;
    }
    COP_TRY(status, cop_config_i64(&out->divisor, divisor, 1, (int64_t)row->max, err));
    out->max_cut = 1.0;
    if (max_cut != NULL) {
        COP_TRY(status, cop_config_f64(&out->max_cut, max_cut, 0.0, 1.0, err));
    }

done:
    return status;
}

// {values}, a list that {min, max} can stand beside.
static cop_status read_values(cop_axis_values *out, const cop_study_row *row,
                              const cop_config_node *node, cop_error *err)
{
    static const char *const keys[] = {"values", "min", "max"};
    const cop_config_node *values = cop_config_node_find(node, keys[0]);
    cop_status status = COP_OK;

    COP_TRY(status, cop_config_check_keys(node, keys, 3, err));
    if (cop_config_node_kind(values) != COP_CONFIG_LIST) {
        return cop_config_fail(values, err, "is no list of values");
    }
    COP_TRY(status, read_list(out, row, values, err));

done:
    return status;
}

// {min, max} beside the other keys of a mapping; values outside of them are left out.
static cop_status read_limits(cop_axis_values *out, const cop_study_row *row,
                              const cop_config_node *node, cop_error *err)
{
    const cop_config_node *min = cop_config_node_find(node, "min");
    const cop_config_node *max = cop_config_node_find(node, "max");
    const int64_t found = out->count;
    cop_status status = COP_OK;

    if (min != NULL) {
        COP_TRY(status, check_value(&out->min, row, min, err));
    }
    if (max != NULL) {
        COP_TRY(status, check_value(&out->max, row, max, err));
    }
    if (out->min > out->max) {
        return cop_config_fail(min, err, "is %s (allowed: at most max, which is %s)",
                               cop_config_node_text(min), cop_config_node_text(max));
    }
    out->count = 0;
    for (int64_t i = 0; i < found; i++) {
        if (out->value[i] >= out->min && out->value[i] <= out->max) {
            out->value[out->count++] = out->value[i];
        }
    }
    if (found > 0 && out->count == 0) {
        return cop_config_fail(node, err, "none of its %lld values lies in %.15g..%.15g",
                               (long long)found, out->min, out->max);
    }

done:
    return status;
}

cop_status cop_study_axis_read(cop_axis_values *out, const cop_study_row *row,
                               const cop_config_node *node, cop_error *err)
{
    static const char *const keys[] = {"from",    "to",     "step", "divisor",
                                       "max_cut", "values", "min",  "max"};
    cop_status status = COP_OK;

    out->node = node;
    out->min = -HUGE_VAL;
    out->max = HUGE_VAL;
    switch (cop_config_node_kind(node)) {
    case COP_CONFIG_LIST: COP_TRY(status, read_list(out, row, node, err)); break;
    case COP_CONFIG_SCALAR:
        COP_TRY(status, allocate(out, 1, node, err));
        COP_TRY(status, check_value(&out->value[0], row, node, err));
        break;
    case COP_CONFIG_MAPPING:
        COP_TRY(status, cop_config_check_keys(node, keys, 8, err));
        if (cop_config_node_find(node, "values") != NULL) {
            COP_TRY(status, read_values(out, row, node, err));
        } else if (cop_config_node_find(node, "divisor") != NULL ||
                   cop_config_node_find(node, "max_cut") != NULL) {
            COP_TRY(status, read_cut(out, row, node, err));
        } else {
            COP_TRY(status, read_range(out, row, node, err));
        }
        COP_TRY(status, read_limits(out, row, node, err));
        break;
    }

done:
    return status;
}

// --- Lists --------------------------------------------------------------------------------------

static cop_status read_objectives(cop_study_file *study, const cop_config_node *node,
                                  cop_error *err)
{
    const char *words[COP_OBJECTIVE_FLOPS + 1];
    const size_t count = cop_config_node_count(node);
    cop_status status = COP_OK;

    for (int i = 0; i <= COP_OBJECTIVE_FLOPS; i++) {
        words[i] = cop_objective_name((cop_objective)i);
    }
    if (cop_config_node_kind(node) != COP_CONFIG_LIST || count < 1 ||
        count > COP_OBJECTIVE_FLOPS + 1) {
        return cop_config_fail(node, err,
                               "is no list of 1 to 4 objectives (allowed: loss, params, "
                               "memory_bytes, flops_per_token)");
    }
    study->objectives = 0;
    for (size_t i = 0; i < count; i++) {
        const cop_config_node *item = cop_config_node_item(node, i);
        int choice = 0;
        COP_TRY(status, cop_config_choice(&choice, item, words, COP_OBJECTIVE_FLOPS + 1, err));
        for (size_t k = 0; k < i; k++) {
            if ((int)study->objective[k] == choice) {
                status = cop_config_fail(item, err, "is %s a second time (allowed: each once)",
                                         words[choice]);
                goto done;
            }
        }
        study->objective[i] = (cop_objective)choice;
    }
    if (study->objective[0] != COP_OBJECTIVE_LOSS) {
        status = cop_config_fail(cop_config_node_item(node, 0), err,
                                 "is %s (allowed: loss, which candidates are ranked by, first)",
                                 cop_objective_name(study->objective[0]));
        goto done;
    }
    study->objectives = (int)count;

done:
    return status;
}

static cop_status read_rungs(cop_study_file *study, const cop_study_row *row,
                             const cop_config_node *node, cop_error *err)
{
    const size_t count = cop_config_node_count(node);
    cop_status status = COP_OK;

    if (cop_config_node_kind(node) != COP_CONFIG_LIST || count < 1 || count > COP_STUDY_RUNGS_MAX) {
        return cop_config_fail(node, err, "is no list of 1 to %d token counts",
                               COP_STUDY_RUNGS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        const cop_config_node *item = cop_config_node_item(node, i);
        COP_TRY(status, cop_config_i64(&study->rung_tokens[i], item, (int64_t)row->min,
                                       (int64_t)row->max, err));
        if (i > 0 && study->rung_tokens[i] <= study->rung_tokens[i - 1]) {
            status = cop_config_fail(item, err, "is %lld (allowed: above %lld, the rung before)",
                                     (long long)study->rung_tokens[i],
                                     (long long)study->rung_tokens[i - 1]);
            goto done;
        }
    }
    study->rungs = (int)count;

done:
    return status;
}

// --- One key ------------------------------------------------------------------------------------

static cop_status read_strategy(cop_study_file *study, const cop_config_node *node, cop_error *err)
{
    enum { STRATEGIES_MAX = 16 };

    const char *words[STRATEGIES_MAX] = {NULL};
    const cop_strategy_type *const *types = cop_strategy_types();
    size_t count = 0;
    int choice = 0;

    for (; types[count] != NULL && count < STRATEGIES_MAX; count++) {
        words[count] = types[count]->name;
    }
    const cop_status status = cop_config_choice(&choice, node, words, count, err);
    if (status == COP_OK) {
        (void)snprintf(study->strategy, sizeof study->strategy, "%s", words[choice]);
    }
    return status;
}

static cop_status read_text(char *field, const cop_config_node *node, cop_error *err)
{
    const char *value = NULL;
    const cop_status status = cop_config_text(&value, node, err);
    if (status != COP_OK) {
        return status;
    }
    if (strlen(value) >= COP_STUDY_PATH_BYTES) {
        return cop_config_fail(node, err, "has %zu bytes (allowed: up to %d)", strlen(value),
                               COP_STUDY_PATH_BYTES - 1);
    }
    memcpy(field, value, strlen(value) + 1);
    return COP_OK;
}

cop_status cop_study_row_read(cop_study_file *study, const cop_study_row *row,
                              const cop_config_node *node, cop_error *err)
{
    void *field = field_of(study, row);
    int64_t integer = 0;
    double number = 0.0;
    bool boolean = false;
    int choice = 0;
    cop_status status = COP_OK;

    switch (row->kind) {
    case COP_STUDY_PATH: status = read_path(study, row, node, err); break;
    case COP_STUDY_TEXT: status = read_text(field, node, err); break;
    case COP_STUDY_INTEGER:
        COP_TRY(status, cop_config_i64(&integer, node, (int64_t)row->min, (int64_t)row->max, err));
        memcpy(field, &integer, sizeof integer);
        break;
    case COP_STUDY_NUMBER:
        COP_TRY(status, cop_config_f64(&number, node, row->min, row->max, err));
        memcpy(field, &number, sizeof number);
        break;
    case COP_STUDY_BOOLEAN:
        COP_TRY(status, cop_config_bool(&boolean, node, err));
        memcpy(field, &boolean, sizeof boolean);
        break;
    case COP_STUDY_CHOICE:
        COP_TRY(status,
                cop_config_choice(&choice, node, row->words, cop_study_word_count(row), err));
        memcpy(field, &choice, sizeof choice);
        break;
    case COP_STUDY_AXIS:
    case COP_STUDY_RATIOS: status = cop_study_axis_read(field, row, node, err); break;
    case COP_STUDY_LAYERS: status = cop_study_layers_read(field, row, node, err); break;
    case COP_STUDY_WORKLOADS: status = cop_study_workloads_read(study, node, err); break;
    case COP_STUDY_OBJECTIVES: status = read_objectives(study, node, err); break;
    case COP_STUDY_RUNGS: status = read_rungs(study, row, node, err); break;
    case COP_STUDY_STRATEGY: status = read_strategy(study, node, err); break;
    }

done:
    return status;
}

void cop_study_row_default(cop_study_file *study, const cop_study_row *row)
{
    void *field = field_of(study, row);
    const bool is_true = strcmp(row->fallback, "true") == 0;
    int64_t integer = 0;
    double number = 0.0;

    if (strcmp(row->fallback, "none") == 0 || strcmp(row->fallback, "auto") == 0) {
        if (row->kind != COP_STUDY_CHOICE) {
            return;
        }
    }
    switch (row->kind) {
    case COP_STUDY_INTEGER:
        if (cop_text_to_i64(row->fallback, &integer)) {
            memcpy(field, &integer, sizeof integer);
        }
        break;
    case COP_STUDY_NUMBER:
        if (cop_text_to_f64(row->fallback, &number)) {
            memcpy(field, &number, sizeof number);
        }
        break;
    case COP_STUDY_BOOLEAN: memcpy(field, &is_true, sizeof is_true); break;
    case COP_STUDY_CHOICE:
        for (int i = 0; i < (int)cop_study_word_count(row); i++) {
            if (strcmp(row->words[i], row->fallback) == 0) {
                memcpy(field, &i, sizeof i);
            }
        }
        break;
    case COP_STUDY_STRATEGY:
        (void)snprintf(field, sizeof study->strategy, "%s", row->fallback);
        break;
    case COP_STUDY_OBJECTIVES:
        study->objective[0] = COP_OBJECTIVE_LOSS;
        study->objective[1] = COP_OBJECTIVE_PARAMS;
        study->objectives = 2;
        break;
    case COP_STUDY_PATH:
    case COP_STUDY_AXIS:
    case COP_STUDY_RATIOS:
    case COP_STUDY_TEXT:
    case COP_STUDY_LAYERS:
    case COP_STUDY_WORKLOADS:
    case COP_STUDY_RUNGS: break;
    }
}
