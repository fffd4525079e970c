#include "search/space.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "search/space_internal.h"

static int64_t teacher_size(const cop_space *space, cop_space_axis axis)
{
    switch (axis) {
    case COP_SPACE_LAYERS: return space->teacher.layers;
    case COP_SPACE_HEADS: return space->block.heads;
    case COP_SPACE_KV_HEADS:
        return space->is_grouped ? space->block.heads / space->block.kv_heads
                                 : space->block.kv_heads;
    case COP_SPACE_FFN: return space->block.ffn;
    case COP_SPACE_HIDDEN: return space->teacher.hidden;
    case COP_SPACE_AXIS_COUNT: break;
    }
    return 0;
}

// --- Making -------------------------------------------------------------------------------------

static cop_status allocate(cop_space *space, cop_space_axis axis, int64_t count, cop_error *err)
{
    space->value[axis] = cop_alloc((size_t)count, sizeof *space->value[axis]);
    if (space->value[axis] == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory for %lld values of %s", space->path,
                        (long long)count, cop_space_axis_name(axis));
    }
    space->count[axis] = count;
    return COP_OK;
}

// All multiples of the divisor that cut at most the allowed share of the teacher's size.
static cop_status take_cut(cop_space *space, cop_space_axis axis, const cop_axis_values *values,
                           cop_error *err)
{
    const int64_t size = teacher_size(space, axis);
    const double uncut = ceil((double)size * (1.0 - values->max_cut) - 1e-9);
    const int64_t least = (int64_t)fmax(uncut, values->min);
    const int64_t top = (int64_t)fmin((double)size, values->max);
    const int64_t first = least > 1 ? (least + values->divisor - 1) / values->divisor : 1;
    const int64_t last = top / values->divisor;

    if (last < first) {
        return cop_config_fail(values->node, err,
                               "no multiple of %lld lies in %lld..%lld (%g of the teacher's %lld "
                               "may be cut)",
                               (long long)values->divisor, (long long)least, (long long)top,
                               values->max_cut, (long long)size);
    }
    const cop_status status = allocate(space, axis, last - first + 1, err);
    for (int64_t i = 0; status == COP_OK && i < space->count[axis]; i++) {
        space->value[axis][i] = (first + i) * values->divisor;
    }
    return status;
}

static cop_status take_axis(cop_space *space, cop_space_axis axis, const cop_axis_values *values,
                            cop_error *err)
{
    const int64_t top = teacher_size(space, axis);
    cop_status status = COP_OK;

    if (values->node == NULL) {
        COP_TRY(status, allocate(space, axis, 1, err));
        space->value[axis][0] = top;
        goto done;
    }
    if (values->divisor > 0) {
        return take_cut(space, axis, values, err);
    }
    COP_TRY(status, allocate(space, axis, values->count, err));
    for (int64_t i = 0; i < values->count; i++) {
        space->value[axis][i] = (int64_t)values->value[i];
        if (space->value[axis][i] > top) {
            status = cop_config_fail(cop_space_place(values, i), err,
                                     "value %lld (allowed: at most %lld, the teacher's %s)",
                                     (long long)space->value[axis][i], (long long)top,
                                     cop_space_key(space, axis));
            goto done;
        }
    }

done:
    return status;
}

static cop_status take_ratios(cop_space *space, const cop_axis_values *values, cop_error *err)
{
    int64_t narrowest = space->value[COP_SPACE_HIDDEN][0];
    int64_t narrowest_at = 0;

    space->ratio = cop_alloc((size_t)values->count, sizeof *space->ratio);
    if (space->ratio == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory for %lld values of ffn_ratio",
                        space->path, (long long)values->count);
    }
    space->count[COP_SPACE_FFN] = values->count;
    memcpy(space->ratio, values->value, (size_t)values->count * sizeof *space->ratio);
    for (int64_t i = 0; i < space->count[COP_SPACE_HIDDEN]; i++) {
        if (space->value[COP_SPACE_HIDDEN][i] < narrowest) {
            narrowest = space->value[COP_SPACE_HIDDEN][i];
            narrowest_at = i;
        }
    }
    for (int64_t i = 0; i < values->count; i++) {
        const int64_t ffn = cop_space_ffn(space, i, narrowest_at);
        if (ffn > space->block.ffn) {
            return cop_config_fail(cop_space_place(values, i), err,
                                   "value %g makes ffn %lld at the smallest hidden, %lld (allowed: "
                                   "at most %lld, the teacher's ffn)",
                                   space->ratio[i], (long long)ffn, (long long)narrowest,
                                   (long long)space->block.ffn);
        }
    }
    return COP_OK;
}

// --- Order --------------------------------------------------------------------------------------

typedef struct placed {
    double value;
    int32_t at;
} placed;

static int compare_placed(const void *left, const void *right)
{
    const placed *a = left;
    const placed *b = right;
    if (a->value != b->value) {
        return a->value < b->value ? -1 : 1;
    }
    return (a->at > b->at) - (a->at < b->at);
}

static cop_status sort_axis(cop_space *space, cop_space_axis axis, cop_error *err)
{
    const int64_t count = space->count[axis];
    placed *order = cop_alloc((size_t)count, sizeof *order);

    space->sorted[axis] = cop_alloc((size_t)count, sizeof *space->sorted[axis]);
    space->rank[axis] = cop_alloc((size_t)count, sizeof *space->rank[axis]);
    if (order == NULL || space->sorted[axis] == NULL || space->rank[axis] == NULL) {
        cop_free(order);
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory for %lld values of %s", space->path,
                        (long long)count, cop_space_axis_name(axis));
    }
    for (int64_t i = 0; i < count; i++) {
        const bool is_ratio = axis == COP_SPACE_FFN && space->ratio != NULL;
        order[i].value = is_ratio ? space->ratio[i] : (double)space->value[axis][i];
        order[i].at = (int32_t)i;
    }
    qsort(order, (size_t)count, sizeof *order, compare_placed);
    for (int64_t i = 0; i < count; i++) {
        space->sorted[axis][i] = order[i].at;
        space->rank[axis][order[i].at] = (int32_t)i;
    }
    cop_free(order);
    return COP_OK;
}

// Pairs of heads that fit, by position of heads.
static cop_status list_pairs(cop_space *space, cop_error *err)
{
    const int64_t heads = space->count[COP_SPACE_HEADS];
    const int64_t kv_heads = space->count[COP_SPACE_KV_HEADS];
    cop_space_pair pair;

    space->pair_first = cop_alloc((size_t)heads + 1, sizeof *space->pair_first);
    if (space->pair_first == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory for the space", space->path);
    }
    for (int pass = 0; pass < 2; pass++) { // counts, then fills
        space->pairs = 0;
        for (int64_t h = 0; h < heads; h++) {
            space->pair_first[h] = space->pairs;
            for (int64_t k = 0; k < kv_heads; k++) {
                if (!cop_space_pair_at(space, h, k, &pair)) {
                    continue;
                }
                if (pass == 1) {
                    space->pair[space->pairs] = pair;
                }
                space->pairs++;
            }
        }
        space->pair_first[heads] = space->pairs;
        if (pass == 0) {
            space->pair = cop_alloc((size_t)space->pairs, sizeof *space->pair);
        }
        if (space->pair == NULL) {
            return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory for %lld pairs of heads",
                            space->path, (long long)space->pairs);
        }
    }
    return COP_OK;
}

// --- Budget -------------------------------------------------------------------------------------

static void add_bounds(cop_space *space, cop_space_metric metric, int use, cop_bound bound)
{
    if (bound.min > -HUGE_VAL) {
        space->bound[space->bounds++] =
            (cop_space_bound){.metric = metric, .use = use, .is_min = true, .limit = bound.min};
    }
    if (bound.max < HUGE_VAL) {
        space->bound[space->bounds++] =
            (cop_space_bound){.metric = metric, .use = use, .is_min = false, .limit = bound.max};
    }
}

// Byte counts are exact integers: everything that follows stays below 2^62.
static cop_status check_cache(const cop_space *space, const cop_space_use *use, cop_error *err)
{
    const double cache = 2.0 * (double)use->batch * (double)use->sequence *
                         (double)space->teacher.layers * (double)space->block.kv_heads *
                         (double)space->teacher.head_dim * (double)cop_dtype_bytes(COP_F32);
    if (cache > 0x1p62) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "%s: budget.%s%s: the KV cache of %lld sequences of %lld tokens "
                        "has %g bytes (allowed: up to %g)",
                        space->path, use->name[0] == '\0' ? "memory_bytes" : "workloads.",
                        use->name, (long long)use->batch, (long long)use->sequence, cache, 0x1p62);
    }
    return COP_OK;
}

static cop_status take_budget(cop_space *space, const cop_study_file *study, cop_error *err)
{
    cop_status status = COP_OK;

    space->use[0] = (cop_space_use){.batch = study->memory_batch,
                                    .sequence = study->memory_sequence,
                                    .flops_sequence = study->flops_sequence,
                                    .weights = study->memory_weights,
                                    .kv = study->memory_kv};
    add_bounds(space, COP_SPACE_PARAMS, 0, study->params);
    add_bounds(space, COP_SPACE_PARAMS_NON_EMBEDDING, 0, study->params_non_embedding);
    add_bounds(space, COP_SPACE_MEMORY_BYTES, 0, study->memory_bytes);
    add_bounds(space, COP_SPACE_FLOPS_PER_TOKEN, 0, study->flops_per_token);
    COP_TRY(status, check_cache(space, &space->use[0], err));
    for (int i = 0; i < study->workloads; i++) {
        const cop_workload *w = &study->workload[i];
        cop_space_use *use = &space->use[i + 1];
        *use = (cop_space_use){.batch = w->batch,
                               .sequence = w->sequence,
                               .flops_sequence = w->sequence,
                               .weights = w->weights,
                               .kv = w->kv};
        (void)snprintf(use->name, sizeof use->name, "%s", w->name);
        add_bounds(space, COP_SPACE_MEMORY_BYTES, i + 1, w->memory_bytes);
        add_bounds(space, COP_SPACE_FLOPS_PER_TOKEN, i + 1, w->flops_per_token);
        COP_TRY(status, check_cache(space, use, err));
    }

done:
    return status;
}

cop_status cop_space_create(cop_space **out, const cop_study_file *study, const cop_arch *teacher,
                            cop_error *err)
{
    cop_status status = COP_OK;
    cop_space *space = NULL;

    *out = NULL;
    if (!cop_arch_is_uniform(teacher)) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "%s: teacher: its blocks differ in size (allowed: equal blocks)",
                        study->path);
    }
    space = cop_alloc(1, sizeof *space);
    if (space == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory for the space", study->path);
    }
    (void)snprintf(space->path, sizeof space->path, "%s", study->path);
    space->teacher = *teacher;
    space->block = teacher->layer[0];
    memcpy(space->objective, study->objective, sizeof space->objective);
    space->objectives = study->objectives;
    space->is_grouped = study->kv_groups.node != NULL;
    space->has_layer_pairs = study->layer_axis[COP_SPACE_HEADS].node != NULL ||
                             study->layer_axis[COP_SPACE_KV_HEADS].node != NULL;
    space->has_layer_ffn = study->layer_axis[COP_SPACE_FFN].node != NULL;
    for (int i = 0; i < COP_SPACE_AXIS_COUNT; i++) {
        const cop_space_axis axis = (cop_space_axis)i;
        if (axis != COP_SPACE_FFN || study->ffn_ratio.node == NULL) {
            COP_TRY(status, take_axis(space, axis, cop_space_values(study, axis), err));
        }
    }
    if (study->ffn_ratio.node != NULL) {
        COP_TRY(status, take_ratios(space, &study->ffn_ratio, err));
    }
    COP_TRY(status, cop_space_check_heads(space, study, err));
    COP_TRY(status, cop_space_check_layered(space, study, err));
    COP_TRY(status, cop_space_check_teacher(space, study, err));
    for (int i = 0; i < COP_SPACE_AXIS_COUNT; i++) {
        COP_TRY(status, sort_axis(space, (cop_space_axis)i, err));
    }
    COP_TRY(status, list_pairs(space, err));
    COP_TRY(status, take_budget(space, study, err));
    space->size = cop_space_count_all(space);
    *out = space;
    space = NULL;

done:
    cop_space_destroy(space);
    return status;
}

void cop_space_destroy(cop_space *space)
{
    if (space != NULL) {
        for (int i = 0; i < COP_SPACE_AXIS_COUNT; i++) {
            cop_free(space->value[i]);
            cop_free(space->sorted[i]);
            cop_free(space->rank[i]);
        }
        cop_free(space->pair);
        cop_free(space->pair_first);
        cop_free(space->ratio);
        cop_free(space);
    }
}
