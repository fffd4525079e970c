// Reads the free axes, objectives and bounds of a study with an evaluator.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "search/free_space.h"

static const double number_max = 1e300;
static const double step_tolerance = 1e-9;

static cop_status nomem(const cop_config_node *node, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", cop_config_node_path(node));
}

static cop_status check_name(char out[COP_FREE_NAME_BYTES], const cop_config_node *node,
                             const char *name, cop_error *err)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                  "_.:@/-";
    const size_t length = strlen(name);
    if (length < 1 || length >= COP_FREE_NAME_BYTES || name[strspn(name, allowed)] != '\0') {
        return cop_config_fail(node, err,
                               "the name '%.80s' (allowed: 1 to %d letters, digits and _.:@/-)",
                               name, COP_FREE_NAME_BYTES - 1);
    }
    memcpy(out, name, length + 1);
    return COP_OK;
}

// --- Axes ---------------------------------------------------------------------------------------

static cop_status read_range(cop_free_axis *axis, const cop_config_node *node, cop_error *err)
{
    static const char *const keys[] = {"from", "to", "step"};
    const cop_config_node *part[3] = {NULL};
    double value[3] = {0};
    double steps = 0;
    cop_status status = COP_OK;

    COP_TRY(status, cop_config_check_keys(node, keys, 3, err));
    for (int i = 0; i < 3; i++) {
        part[i] = cop_config_node_find(node, keys[i]);
        if (part[i] == NULL) {
            status = cop_config_fail(node, err, "the key %s is missing", keys[i]);
            goto done;
        }
        COP_TRY(status,
                cop_config_f64(&value[i], part[i], i == 2 ? 1e-300 : -number_max, number_max, err));
    }
    if (value[1] < value[0]) {
        status = cop_config_fail(part[1], err, "is %s (allowed: at least from, which is %s)",
                                 cop_config_node_text(part[1]), cop_config_node_text(part[0]));
        goto done;
    }
    steps = floor((value[1] - value[0]) / value[2] * (1 + 1e-15) + step_tolerance);
    if (!(steps < COP_FREE_LEVELS_MAX)) {
        status = cop_config_fail(part[2], err, "makes %g values (allowed: up to %d)", steps,
                                 COP_FREE_LEVELS_MAX);
        goto done;
    }
    axis->levels = (int64_t)steps + 1;
    axis->from = value[0];
    axis->step = value[2];

done:
    return status;
}

static bool is_number(const cop_config_node *node)
{
    double value = 0;
    return cop_config_node_kind(node) == COP_CONFIG_SCALAR &&
           cop_config_f64(&value, node, -number_max, number_max, NULL) == COP_OK;
}

static cop_status read_word(cop_free_axis *axis, int64_t at, const cop_config_node *node,
                            cop_error *err)
{
    const char *text = NULL;
    const cop_status status = cop_config_text(&text, node, err);
    if (status != COP_OK) {
        return status;
    }
    axis->word[at] = cop_alloc_string(text);
    return axis->word[at] != NULL ? COP_OK : nomem(node, err);
}

static bool is_same(const cop_free_axis *axis, int64_t a, int64_t b)
{
    return axis->word != NULL ? strcmp(axis->word[a], axis->word[b]) == 0
                              : axis->value[a] == axis->value[b];
}

// A list, or one value: `item` of the list, or the scalar itself.
static cop_status read_values(cop_free_axis *axis, const cop_config_node *node, cop_error *err)
{
    const bool is_list = cop_config_node_kind(node) == COP_CONFIG_LIST;
    const int64_t count = is_list ? (int64_t)cop_config_node_count(node) : 1;
    cop_status status = COP_OK;
    bool are_numbers = true;

    if (count < 1 || count > 65536) {
        return cop_config_fail(node, err, "has %lld values (allowed: 1..65536)", (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        are_numbers =
            are_numbers && is_number(is_list ? cop_config_node_item(node, (size_t)i) : node);
    }
    if (are_numbers) {
        axis->value = cop_alloc((size_t)count, sizeof *axis->value);
    } else {
        axis->word = cop_alloc((size_t)count, sizeof *axis->word);
    }
    if (axis->value == NULL && axis->word == NULL) {
        return nomem(node, err);
    }
    axis->levels = count;
    for (int64_t i = 0; i < count; i++) {
        const cop_config_node *item = is_list ? cop_config_node_item(node, (size_t)i) : node;
        if (are_numbers) {
            COP_TRY(status, cop_config_f64(&axis->value[i], item, -number_max, number_max, err));
        } else {
            COP_TRY(status, read_word(axis, i, item, err));
        }
        for (int64_t k = 0; k < i && count <= 4096; k++) {
            if (is_same(axis, k, i)) {
                status = cop_config_fail(item, err, "is %s a second time (allowed: each once)",
                                         cop_config_node_text(item));
                goto done;
            }
        }
    }

done:
    return status;
}

// <name>@<j>
static int64_t layer_of(const char *name)
{
    const char *at = strrchr(name, '@');
    int64_t layer = 0;
    return at != NULL && cop_text_to_i64(at + 1, &layer) && layer > 0 ? layer : 0;
}

static cop_status read_axis(cop_free_axis *axis, const char *name, const cop_config_node *node,
                            cop_error *err)
{
    cop_status status = COP_OK;

    COP_TRY(status, check_name(axis->name, node, name, err));
    axis->layer = layer_of(axis->name);
    if (cop_config_node_kind(node) == COP_CONFIG_MAPPING) {
        COP_TRY(status, read_range(axis, node, err));
    } else {
        COP_TRY(status, read_values(axis, node, err));
    }

done:
    return status;
}

static cop_status read_axes(cop_free_space *space, const cop_config_node *root, cop_error *err)
{
    const cop_config_node *node = cop_config_node_find(root, "space");
    cop_status status = COP_OK;
    bool has_layers = false;

    if (node == NULL || cop_config_node_kind(node) != COP_CONFIG_MAPPING) {
        return cop_config_fail(node != NULL ? node : root, err,
                               "space must name the axes of the search (allowed: a mapping of "
                               "names to values)");
    }
    const size_t count = cop_config_node_count(node);
    if (count < 1 || count > COP_DOMAIN_AXES_MAX) {
        return cop_config_fail(node, err, "has %zu axes (allowed: 1..%d)", count,
                               COP_DOMAIN_AXES_MAX);
    }
    space->axis = cop_alloc(count, sizeof *space->axis);
    space->levels = cop_alloc(count, sizeof *space->levels);
    space->is_ordered = cop_alloc(count, sizeof *space->is_ordered);
    if (space->axis == NULL || space->levels == NULL || space->is_ordered == NULL) {
        return nomem(node, err);
    }
    space->layers_axis = -1;
    for (size_t i = 0; i < count; i++) {
        cop_free_axis *axis = &space->axis[i];
        space->axes = (int)i + 1; // what is to be released
        COP_TRY(status,
                read_axis(axis, cop_config_node_key(node, i), cop_config_node_value(node, i), err));
        space->levels[i] = (int32_t)axis->levels;
        space->is_ordered[i] = axis->word == NULL;
        has_layers = has_layers || axis->layer > 0;
    }
    for (int i = 0; i < space->axes; i++) {
        if (has_layers && strcmp(space->axis[i].name, "layers") == 0 &&
            space->axis[i].word == NULL) {
            space->layers_axis = i;
        }
    }

done:
    return status;
}

// --- Objectives and bounds ----------------------------------------------------------------------

static cop_status read_objectives(cop_free_space *space, const cop_config_node *root,
                                  cop_error *err)
{
    const cop_config_node *node = cop_config_node_find(root, "objectives");
    cop_status status = COP_OK;

    if (node == NULL || cop_config_node_kind(node) != COP_CONFIG_LIST ||
        cop_config_node_count(node) < 1 || cop_config_node_count(node) > COP_FRONT_OBJECTIVES_MAX) {
        return cop_config_fail(node != NULL ? node : root, err,
                               "objectives must list 1 to %d metrics of the evaluator, all "
                               "minimised",
                               COP_FRONT_OBJECTIVES_MAX);
    }
    for (size_t i = 0; i < cop_config_node_count(node); i++) {
        const cop_config_node *item = cop_config_node_item(node, i);
        const char *name = NULL;
        COP_TRY(status, cop_config_text(&name, item, err));
        COP_TRY(status, check_name(space->objective[i], item, name, err));
        for (size_t k = 0; k < i; k++) {
            if (strcmp(space->objective[k], name) == 0) {
                status =
                    cop_config_fail(item, err, "is %s a second time (allowed: each once)", name);
                goto done;
            }
        }
        space->objectives = (int)i + 1;
    }

done:
    return status;
}

static cop_status read_bound(cop_free_bound *bound, const char *name, const cop_config_node *node,
                             cop_error *err)
{
    static const char *const keys[] = {"min", "max"};
    const cop_config_node *min = NULL;
    const cop_config_node *max = NULL;
    cop_status status = COP_OK;

    *bound = (cop_free_bound){.min = -HUGE_VAL, .max = HUGE_VAL};
    COP_TRY(status, check_name(bound->metric, node, name, err));
    COP_TRY(status, cop_config_check_keys(node, keys, 2, err));
    min = cop_config_node_find(node, "min");
    max = cop_config_node_find(node, "max");
    if (min == NULL && max == NULL) {
        status = cop_config_fail(node, err, "names no bound (allowed: min, max or both)");
        goto done;
    }
    if (min != NULL) {
        COP_TRY(status, cop_config_f64(&bound->min, min, -number_max, number_max, err));
    }
    if (max != NULL) {
        COP_TRY(status, cop_config_f64(&bound->max, max, -number_max, number_max, err));
    }
    if (bound->min > bound->max) {
        status = cop_config_fail(min, err, "is %g (allowed: at most max, which is %g)", bound->min,
                                 bound->max);
    }

done:
    return status;
}

static cop_status read_bounds(cop_free_space *space, const cop_config_node *root, cop_error *err)
{
    const cop_config_node *node = cop_config_node_find(root, "budget");
    cop_status status = COP_OK;

    if (node == NULL) {
        return COP_OK;
    }
    if (cop_config_node_kind(node) != COP_CONFIG_MAPPING ||
        cop_config_node_count(node) > COP_FREE_BOUNDS_MAX) {
        return cop_config_fail(node, err, "must be a mapping of up to %d metrics to {min, max}",
                               COP_FREE_BOUNDS_MAX);
    }
    for (size_t i = 0; i < cop_config_node_count(node); i++) {
        COP_TRY(status, read_bound(&space->bound[i], cop_config_node_key(node, i),
                                   cop_config_node_value(node, i), err));
        space->bounds = (int)i + 1;
    }

done:
    return status;
}

cop_status cop_free_space_read(cop_free_space **out, const cop_config_node *root, cop_error *err)
{
    cop_status status = COP_OK;
    cop_free_space *space = cop_alloc(1, sizeof *space);

    *out = NULL;
    if (space == NULL) {
        return nomem(root, err);
    }
    COP_TRY(status, read_axes(space, root, err));
    COP_TRY(status, read_objectives(space, root, err));
    COP_TRY(status, read_bounds(space, root, err));
    for (int i = 0; i < space->objectives; i++) {
        space->required[space->required_count++] = space->objective[i];
    }
    for (int i = 0; i < space->bounds; i++) {
        space->required[space->required_count++] = space->bound[i].metric;
    }
    *out = space;
    space = NULL;

done:
    cop_free_space_destroy(space);
    return status;
}

void cop_free_space_destroy(cop_free_space *space)
{
    if (space == NULL) {
        return;
    }
    for (int i = 0; i < space->axes; i++) {
        cop_free_axis *axis = &space->axis[i];
        for (int64_t k = 0; axis->word != NULL && k < axis->levels; k++) {
            cop_free(axis->word[k]);
        }
        cop_free(axis->word);
        cop_free(axis->value);
    }
    cop_free(space->axis);
    cop_free(space->levels);
    cop_free(space->is_ordered);
    cop_free(space);
}
