// Getters of a settings document, and their messages.

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/config.h"
#include "base/config_internal.h"
#include "base/text.h"

const cop_config_node *cop_config_root(const cop_config *config)
{
    return config->root;
}

cop_config_kind cop_config_node_kind(const cop_config_node *node)
{
    return node->kind;
}

const char *cop_config_node_path(const cop_config_node *node)
{
    return node->path;
}

const char *cop_config_node_text(const cop_config_node *node)
{
    return node->text != NULL ? node->text : "";
}

size_t cop_config_node_count(const cop_config_node *node)
{
    return node->count;
}

const cop_config_node *cop_config_node_item(const cop_config_node *list, size_t index)
{
    assert(index < list->count);
    return list->items[index];
}

const char *cop_config_node_key(const cop_config_node *mapping, size_t index)
{
    assert(mapping->kind == COP_CONFIG_MAPPING && index < mapping->count);
    return mapping->items[index]->key;
}

const cop_config_node *cop_config_node_value(const cop_config_node *mapping, size_t index)
{
    assert(mapping->kind == COP_CONFIG_MAPPING && index < mapping->count);
    return mapping->items[index];
}

const cop_config_node *cop_config_node_find(const cop_config_node *mapping, const char *key)
{
    if (mapping->kind != COP_CONFIG_MAPPING) {
        return NULL;
    }
    for (size_t i = 0; i < mapping->count; i++) {
        if (strcmp(mapping->items[i]->key, key) == 0) {
            return mapping->items[i];
        }
    }
    return NULL;
}

static cop_status fail_at(const cop_config_node *node, int line, int column, cop_error *err,
                          const char *what)
{
    return COP_FAIL(err, COP_ERR_CONFIG, "%s:%d:%d: %s%s%s", node->config->name, line, column,
                    node->path, node->path[0] != '\0' ? ": " : "", what);
}

cop_status cop_config_fail(const cop_config_node *node, cop_error *err, const char *format, ...)
{
    char what[COP_ERROR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    const int wanted = vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return fail_at(node, node->line, node->column, err, wanted < 0 ? format : what);
}

// "(did you mean x? allowed: a, b, c)"
static void append_words(cop_text *text, const char *found, const char *const *words, size_t count)
{
    const char *nearest = cop_text_nearest(found, words, count);
    cop_text_append(text, " (");
    if (nearest != NULL) {
        cop_text_appendf(text, "did you mean %s? ", nearest);
    }
    cop_text_append(text, "allowed: ");
    for (size_t i = 0; i < count; i++) {
        cop_text_appendf(text, "%s%s", i > 0 ? ", " : "", words[i]);
    }
    cop_text_append(text, ")");
}

static const char *kind_name(const cop_config_node *node)
{
    switch (node->kind) {
    case COP_CONFIG_LIST: return "a list";
    case COP_CONFIG_MAPPING: return "a mapping";
    case COP_CONFIG_SCALAR: break;
    }
    return node->text[0] == '\0' && node->is_plain ? "empty" : node->text;
}

cop_status cop_config_check_keys(const cop_config_node *mapping, const char *const *keys,
                                 size_t count, cop_error *err)
{
    if (mapping->kind != COP_CONFIG_MAPPING) {
        return cop_config_fail(mapping, err, "is %s (allowed: a mapping of keys to values)",
                               kind_name(mapping));
    }
    for (size_t i = 0; i < mapping->count; i++) {
        const cop_config_node *value = mapping->items[i];
        bool is_known = false;
        for (size_t k = 0; k < count && !is_known; k++) {
            is_known = strcmp(value->key, keys[k]) == 0;
        }
        if (!is_known) {
            cop_text what = {0};
            cop_text_append(&what, "unknown key");
            append_words(&what, value->key, keys, count);
            const cop_status status = fail_at(value, value->key_line, value->key_column, err,
                                              what.is_broken ? "unknown key" : what.data);
            cop_text_release(&what);
            return status;
        }
    }
    return COP_OK;
}

static bool is_number(const cop_config_node *node)
{
    return node->kind == COP_CONFIG_SCALAR && node->is_plain;
}

cop_status cop_config_i64(int64_t *out, const cop_config_node *node, int64_t min, int64_t max,
                          cop_error *err)
{
    int64_t value = 0;
    if (!is_number(node) || !cop_text_to_i64(node->text, &value)) {
        const char *quotes = node->kind == COP_CONFIG_SCALAR && !node->is_plain ? "\"" : "";
        return cop_config_fail(node, err,
                               "is %s%s%s (allowed: an integer in %" PRId64 "..%" PRId64 ")",
                               quotes, kind_name(node), quotes, min, max);
    }
    if (value < min || value > max) {
        return cop_config_fail(node, err, "is %" PRId64 " (allowed: %" PRId64 "..%" PRId64 ")",
                               value, min, max);
    }
    *out = value;
    return COP_OK;
}

cop_status cop_config_f64(double *out, const cop_config_node *node, double min, double max,
                          cop_error *err)
{
    double value = 0.0;
    if (!is_number(node) || !cop_text_to_f64(node->text, &value)) {
        const char *quotes = node->kind == COP_CONFIG_SCALAR && !node->is_plain ? "\"" : "";
        return cop_config_fail(node, err, "is %s%s%s (allowed: a number in %g..%g)", quotes,
                               kind_name(node), quotes, min, max);
    }
    if (!(value >= min && value <= max)) {
        return cop_config_fail(node, err, "is %s (allowed: %g..%g)", node->text, min, max);
    }
    *out = value;
    return COP_OK;
}

cop_status cop_config_bool(bool *out, const cop_config_node *node, cop_error *err)
{
    if (is_number(node) && strcmp(node->text, "true") == 0) {
        *out = true;
        return COP_OK;
    }
    if (is_number(node) && strcmp(node->text, "false") == 0) {
        *out = false;
        return COP_OK;
    }
    return cop_config_fail(node, err, "is %s (allowed: true, false)", kind_name(node));
}

cop_status cop_config_text(const char **out, const cop_config_node *node, cop_error *err)
{
    if (node->kind != COP_CONFIG_SCALAR || node->text[0] == '\0') {
        return cop_config_fail(node, err, "is %s (allowed: a text that is not empty)",
                               node->kind == COP_CONFIG_SCALAR ? "empty" : kind_name(node));
    }
    *out = node->text;
    return COP_OK;
}

cop_status cop_config_choice(int *out, const cop_config_node *node, const char *const *words,
                             size_t count, cop_error *err)
{
    if (node->kind == COP_CONFIG_SCALAR) {
        for (size_t i = 0; i < count; i++) {
            if (strcmp(node->text, words[i]) == 0) {
                *out = (int)i;
                return COP_OK;
            }
        }
    }
    cop_text what = {0};
    cop_text_appendf(&what, "is %s", kind_name(node));
    append_words(&what, cop_config_node_text(node), words, count);
    const cop_status status =
        cop_config_fail(node, err, "%s", what.is_broken ? "is an unknown word" : what.data);
    cop_text_release(&what);
    return status;
}
