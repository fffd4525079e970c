#include "search/free_space.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "base/json.h"

// --- Values -------------------------------------------------------------------------------------

// Multiples of a step such as 0.001 are not exact: the decimal that was meant is.
static double tidy(double value)
{
    char text[40];
    double out = 0;
    (void)snprintf(text, sizeof text, "%.13g", value);
    return cop_text_to_f64(text, &out) ? out : value;
}

double cop_free_space_value(const cop_free_space *space, int axis, int32_t level)
{
    const cop_free_axis *a = &space->axis[axis];
    if (a->word != NULL) {
        return (double)level;
    }
    return a->value != NULL ? a->value[level] : tidy(a->from + (double)level * a->step);
}

double cop_free_space_size(const cop_free_space *space)
{
    double size = 1;
    for (int i = 0; i < space->axes; i++) {
        size *= (double)space->axis[i].levels;
    }
    return size;
}

// --- As a domain --------------------------------------------------------------------------------

static void canonicalize(const void *context, int32_t *genome)
{
    const cop_free_space *space = context;
    const int at = space->layers_axis;
    if (at < 0) {
        return;
    }
    const double layers = cop_free_space_value(space, at, genome[at]);
    for (int i = 0; i < space->axes; i++) {
        if (space->axis[i].layer > 0 && (double)space->axis[i].layer > layers) {
            genome[i] = 0;
        }
    }
}

static double value_of(const void *context, int axis, int32_t level)
{
    return cop_free_space_value(context, axis, level);
}

cop_domain cop_free_space_domain(const cop_free_space *space)
{
    return (cop_domain){.axes = space->axes,
                        .levels = space->levels,
                        .is_ordered = space->is_ordered,
                        .context = space,
                        .canonicalize = space->layers_axis >= 0 ? canonicalize : NULL,
                        .value = value_of};
}

// --- As text ------------------------------------------------------------------------------------

static void append_value(cop_text *out, const cop_free_space *space, int axis, int32_t level)
{
    if (space->axis[axis].word != NULL) {
        cop_text_append_json(out, space->axis[axis].word[level],
                             strlen(space->axis[axis].word[level]));
    } else {
        cop_text_append_number(out, cop_free_space_value(space, axis, level));
    }
}

void cop_free_space_values(cop_text *out, const cop_free_space *space, const int32_t *genome)
{
    cop_text_append(out, "{");
    for (int i = 0; i < space->axes; i++) {
        cop_text_append(out, i > 0 ? "," : "");
        cop_text_append_json(out, space->axis[i].name, strlen(space->axis[i].name));
        cop_text_append(out, ":");
        append_value(out, space, i, genome[i]);
    }
    cop_text_append(out, "}");
}

// The level of a value on an axis, -1: none.
static int32_t find_level(const cop_free_space *space, int axis, const json_t *value)
{
    const cop_free_axis *a = &space->axis[axis];
    if (a->word != NULL) {
        for (int32_t i = 0; json_is_string(value) && i < a->levels; i++) {
            if (strcmp(a->word[i], json_string_value(value)) == 0) {
                return i;
            }
        }
        return -1;
    }
    if (!json_is_number(value)) {
        return -1;
    }
    const double number = json_number_value(value);
    if (a->value == NULL) {
        const double at = floor((number - a->from) / a->step + 0.5);
        const bool is_level = at >= 0 && at < (double)a->levels &&
                              cop_free_space_value(space, axis, (int32_t)at) == number;
        return is_level ? (int32_t)at : -1;
    }
    for (int32_t i = 0; i < a->levels; i++) {
        if (a->value[i] == number) {
            return i;
        }
    }
    return -1;
}

bool cop_free_space_parse(const cop_free_space *space, const char *values, int32_t *genome)
{
    json_t *object = NULL;
    bool is_point = cop_json_parse(&object, "values", values, strlen(values), NULL) == COP_OK &&
                    json_is_object(object) && json_object_size(object) == (size_t)space->axes;

    for (int i = 0; is_point && i < space->axes; i++) {
        const json_t *value = json_object_get(object, space->axis[i].name);
        genome[i] = value == NULL ? -1 : find_level(space, i, value);
        is_point = genome[i] >= 0;
    }
    json_decref(object);
    return is_point;
}

static bool is_plain(const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "._+-@=,";
    return text[strspn(text, plain)] == '\0';
}

cop_status cop_free_space_id(char out[COP_FREE_ID_BYTES], const cop_free_space *space,
                             const int32_t *genome, cop_error *err)
{
    enum { READABLE = 40, DIGITS = 16 };

    cop_text text = {0};
    cop_status status = COP_OK;

    for (int i = 0; i < space->axes && text.length <= READABLE; i++) {
        cop_text_appendf(&text, "%s%s=", i > 0 ? "," : "", space->axis[i].name);
        if (space->axis[i].word != NULL) {
            cop_text_append(&text, space->axis[i].word[genome[i]]);
        } else {
            cop_text_append_number(&text, cop_free_space_value(space, i, genome[i]));
        }
    }
    COP_TRY(status, cop_text_check(&text, "space", err));
    if (text.length <= READABLE && is_plain(cop_text_view(&text))) {
        (void)snprintf(out, COP_FREE_ID_BYTES, "%s", cop_text_view(&text));
        goto done;
    }
    cop_text_release(&text);
    cop_free_space_values(&text, space, genome);
    COP_TRY(status, cop_text_check(&text, "space", err));
    char hash[COP_HASH_TEXT_BYTES];
    (void)cop_hash_text(hash, cop_hash_bytes(cop_text_view(&text), text.length));
    (void)snprintf(out, COP_FREE_ID_BYTES, "p-%.*s", DIGITS, hash);

done:
    cop_text_release(&text);
    return status;
}

void cop_free_space_describe(cop_text *axes, cop_text *objectives, cop_text *bounds,
                             const cop_free_space *space)
{
    for (int i = 0; i < space->axes; i++) {
        const cop_free_axis *axis = &space->axis[i];
        cop_text_appendf(axes, "%s%s: ", i > 0 ? "; " : "", axis->name);
        if (axis->word == NULL && axis->value == NULL) {
            cop_text_appendf(axes, "%lld from %.17g by %.17g", (long long)axis->levels, axis->from,
                             axis->step);
            continue;
        }
        for (int32_t k = 0; k < axis->levels; k++) {
            cop_text_append(axes, k > 0 ? ", " : "");
            append_value(axes, space, i, k);
        }
    }
    for (int i = 0; i < space->objectives; i++) {
        cop_text_appendf(objectives, "%s%s", i > 0 ? "," : "", space->objective[i]);
    }
    for (int i = 0; i < space->bounds; i++) {
        const cop_free_bound *bound = &space->bound[i];
        cop_text_appendf(bounds, "%s%.17g <= %s <= %.17g", i > 0 ? "; " : "", bound->min,
                         bound->metric, bound->max);
    }
}

// --- Bounds -------------------------------------------------------------------------------------

double cop_free_space_violation(const cop_free_space *space,
                                double (*metric)(const void *context, const char *name),
                                const void *context)
{
    double sum = 0;
    for (int i = 0; i < space->bounds; i++) {
        const cop_free_bound *bound = &space->bound[i];
        const double value = metric(context, bound->metric);
        if (isnan(value)) {
            return (double)INFINITY;
        }
        if (value > bound->max) {
            sum += (value - bound->max) / fmax(1, fabs(bound->max));
        }
        if (value < bound->min) {
            sum += (bound->min - value) / fmax(1, fabs(bound->min));
        }
    }
    return sum;
}
