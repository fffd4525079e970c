// Values of study.yaml that only the space of a teacher has: lists of layers, and workloads.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "search/study_internal.h"

// --- Axes ---------------------------------------------------------------------------------------

cop_status cop_study_space_check(const cop_study_file *study, cop_error *err)
{
    const cop_config_node *heads = study->layer_axis[COP_SPACE_HEADS].node;
    const cop_config_node *kv_heads = study->layer_axis[COP_SPACE_KV_HEADS].node;
    const cop_config_node *ffn = study->layer_axis[COP_SPACE_FFN].node;

    const struct {
        const cop_config_node *node;
        const cop_config_node *other;
        const char *key;
    } pairs[] = {
        {study->ffn_ratio.node, study->axis[COP_SPACE_FFN].node, "ffn"},
        {study->kv_groups.node, study->axis[COP_SPACE_KV_HEADS].node, "kv_heads"},
        {heads, study->axis[COP_SPACE_HEADS].node, "heads"},
        {kv_heads, study->axis[COP_SPACE_KV_HEADS].node, "kv_heads"},
        {kv_heads, study->kv_groups.node, "kv_groups"},
        {ffn, study->axis[COP_SPACE_FFN].node, "ffn"},
        {ffn, study->ffn_ratio.node, "ffn_ratio"},
    };

    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        if (pairs[i].node != NULL && pairs[i].other != NULL) {
            return cop_config_fail(pairs[i].node, err,
                                   "stands beside space.%s (allowed: one of the two)",
                                   pairs[i].key);
        }
    }
    return COP_OK;
}

// --- Lists of layers ----------------------------------------------------------------------------

cop_status cop_study_layers_read(cop_layer_set *out, const cop_study_row *row,
                                 const cop_config_node *node, cop_error *err)
{
    cop_status status = COP_OK;

    *out = (cop_layer_set){0};
    if (cop_config_node_kind(node) != COP_CONFIG_LIST) {
        return cop_config_fail(node, err, "is no list of layers (allowed: e.g. [0, 1, 31])");
    }
    for (size_t i = 0; i < cop_config_node_count(node); i++) {
        const cop_config_node *item = cop_config_node_item(node, i);
        int64_t layer = 0;
        COP_TRY(status, cop_config_i64(&layer, item, (int64_t)row->min, (int64_t)row->max, err));
        if (cop_layer_set_has(out, layer)) {
            status = cop_config_fail(item, err, "is %lld a second time (allowed: each once)",
                                     (long long)layer);
            goto done;
        }
        cop_layer_set_add(out, layer);
    }

done:
    return status;
}

void cop_study_layers_append(cop_text *out, const cop_layer_set *layers)
{
    const char *separator = "";
    for (int64_t i = 0; i < COP_ARCH_LAYERS_MAX; i++) {
        if (cop_layer_set_has(layers, i)) {
            cop_text_appendf(out, "%s%lld", separator, (long long)i);
            separator = ", ";
        }
    }
}

// --- Workloads ----------------------------------------------------------------------------------

static const char *const dtype_words[] = {"f32", "bf16"};

static bool is_bounded(cop_bound bound)
{
    return bound.min > -HUGE_VAL || bound.max < HUGE_VAL;
}

static cop_status read_bound(cop_bound *out, const cop_config_node *node, double most,
                             cop_error *err)
{
    static const char *const keys[] = {"min", "max"};
    const cop_config_node *min = NULL;
    const cop_config_node *max = NULL;
    cop_status status = COP_OK;

    COP_TRY(status, cop_config_check_keys(node, keys, 2, err));
    min = cop_config_node_find(node, "min");
    max = cop_config_node_find(node, "max");
    if (min != NULL) {
        COP_TRY(status, cop_config_f64(&out->min, min, 0.0, most, err));
    }
    if (max != NULL) {
        COP_TRY(status, cop_config_f64(&out->max, max, 0.0, most, err));
    }
    if (out->min > out->max) {
        status = cop_config_fail(min, err, "is %g (allowed: at most max, which is %g)", out->min,
                                 out->max);
    }

done:
    return status;
}

static cop_status read_dtype(cop_dtype *out, const cop_config_node *node, cop_error *err)
{
    int choice = 0;
    const cop_status status = cop_config_choice(&choice, node, dtype_words, 2, err);
    *out = choice == 0 ? COP_F32 : COP_BF16;
    return status;
}

static cop_status read_workload(cop_workload *out, const cop_config_node *node, cop_error *err)
{
    static const char *const keys[] = {"batch",        "sequence",        "weights",   "kv",
                                       "memory_bytes", "flops_per_token", "latency_ms"};
    const cop_bound unbounded = {.min = -HUGE_VAL, .max = HUGE_VAL};
    const cop_config_node *part[7] = {NULL};
    cop_status status = COP_OK;

    *out = (cop_workload){.batch = 1,
                          .sequence = 4096,
                          .weights = COP_BF16,
                          .kv = COP_BF16,
                          .memory_bytes = unbounded,
                          .flops_per_token = unbounded,
                          .latency_ms = unbounded};
    COP_TRY(status, cop_config_check_keys(node, keys, 7, err));
    for (int i = 0; i < 7; i++) {
        part[i] = cop_config_node_find(node, keys[i]);
    }
    if (part[0] != NULL) {
        COP_TRY(status, cop_config_i64(&out->batch, part[0], 1, 65536, err));
    }
    if (part[1] != NULL) {
        COP_TRY(status, cop_config_i64(&out->sequence, part[1], 1, COP_ARCH_CONTEXT_MAX, err));
    }
    if (part[2] != NULL) {
        COP_TRY(status, read_dtype(&out->weights, part[2], err));
    }
    if (part[3] != NULL) {
        COP_TRY(status, read_dtype(&out->kv, part[3], err));
    }
    if (part[4] != NULL) {
        COP_TRY(status, read_bound(&out->memory_bytes, part[4], 0x1p53, err));
    }
    if (part[5] != NULL) {
        COP_TRY(status, read_bound(&out->flops_per_token, part[5], 1e18, err));
    }
    if (part[6] != NULL) {
        COP_TRY(status, read_bound(&out->latency_ms, part[6], 1e9, err));
    }
    if (!is_bounded(out->memory_bytes) && !is_bounded(out->flops_per_token) &&
        !is_bounded(out->latency_ms)) {
        status = cop_config_fail(node, err,
                                 "bounds nothing (allowed: min or max of memory_bytes, "
                                 "flops_per_token or latency_ms)");
    }

done:
    return status;
}

cop_status cop_study_workloads_read(cop_study_file *study, const cop_config_node *node,
                                    cop_error *err)
{
    const size_t count = cop_config_node_count(node);
    cop_status status = COP_OK;

    if (cop_config_node_kind(node) != COP_CONFIG_MAPPING || count < 1 ||
        count > COP_STUDY_WORKLOADS_MAX) {
        return cop_config_fail(node, err, "is no mapping of 1 to %d names to workloads",
                               COP_STUDY_WORKLOADS_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = cop_config_node_key(node, i);
        const cop_config_node *value = cop_config_node_value(node, i);
        const size_t length = strlen(name);
        if (length < 1 || length >= COP_WORKLOAD_NAME_BYTES ||
            strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") !=
                length) {
            return cop_config_fail(value, err,
                                   "has no name for a workload (allowed: 1 to %d letters, digits, "
                                   "_ and -)",
                                   COP_WORKLOAD_NAME_BYTES - 1);
        }
        COP_TRY(status, read_workload(&study->workload[i], value, err));
        (void)snprintf(study->workload[i].name, sizeof study->workload[i].name, "%s", name);
        study->workloads = (int)i + 1;
    }

done:
    return status;
}

static void append_bound(cop_text *out, const char *name, cop_bound bound)
{
    if (is_bounded(bound)) {
        cop_text_appendf(out, ", %s in %.15g..%.15g", name, bound.min, bound.max);
    }
}

void cop_study_workloads_append(cop_text *out, const cop_study_file *study)
{
    for (int i = 0; i < study->workloads; i++) {
        const cop_workload *w = &study->workload[i];
        cop_text_appendf(out, "%s%s: %lld x %lld, %s, %s", i > 0 ? "; " : "", w->name,
                         (long long)w->batch, (long long)w->sequence, cop_dtype_name(w->weights),
                         cop_dtype_name(w->kv));
        append_bound(out, "memory_bytes", w->memory_bytes);
        append_bound(out, "flops_per_token", w->flops_per_token);
        append_bound(out, "latency_ms", w->latency_ms);
    }
}

int cop_study_latencies(const cop_study_file *study,
                        cop_latency_budget out[COP_STUDY_LATENCIES_MAX])
{
    int count = 0;

    if (is_bounded(study->latency_ms)) {
        out[count++] = (cop_latency_budget){.name = "",
                                            .bound = study->latency_ms,
                                            .batch = study->latency_batch,
                                            .sequence = study->latency_sequence};
    }
    for (int i = 0; i < study->workloads; i++) {
        const cop_workload *w = &study->workload[i];
        if (is_bounded(w->latency_ms)) {
            out[count++] = (cop_latency_budget){.name = w->name,
                                                .bound = w->latency_ms,
                                                .batch = w->batch,
                                                .sequence = w->sequence};
        }
    }
    return count;
}
