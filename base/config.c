// Reads a YAML document into nodes. libyaml's events are used rather than its document API: the
// latter resolves aliases on its own, and a small file could then stand for a huge tree.

#include "base/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "base/alloc.h"
#include "base/config_internal.h"
#include "base/file.h"
#include "base/text.h"

enum { DEPTH_MAX = 32, NODES_MAX = 100000, KEY_BYTES_MAX = 128 };

static const size_t file_bytes_max = (size_t)4 << 20;

typedef struct reader {
    yaml_parser_t parser;
    cop_config *config;
    const char *text;
    size_t bytes;
    size_t nodes;
} reader;

static void destroy_node(cop_config_node *node)
{
    if (node != NULL) {
        for (size_t i = 0; i < node->count; i++) {
            destroy_node(node->items[i]); // as deep as DEPTH_MAX
        }
        cop_free(node->items);
        cop_free(node->path);
        cop_free(node->key);
        cop_free(node->text);
        cop_free(node);
    }
}

void cop_config_destroy(cop_config *config)
{
    if (config != NULL) {
        destroy_node(config->root);
        cop_free(config->name);
        cop_free(config);
    }
}

static cop_status fail_with_nomem(const reader *r, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory while reading settings",
                    r->config->name);
}

static cop_status fail_at(const reader *r, yaml_mark_t mark, cop_error *err, const char *format,
                          ...) COP_PRINTF(4, 5);

static cop_status fail_at(const reader *r, yaml_mark_t mark, cop_error *err, const char *format,
                          ...)
{
    char text[COP_ERROR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    const int wanted = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return COP_FAIL(err, COP_ERR_CONFIG, "%s:%zu:%zu: %s", r->config->name, mark.line + 1,
                    mark.column + 1, wanted < 0 ? format : text);
}

// The first line, from `line` on, that is indented with a tab; false when there is none within
// a few lines of the place where libyaml gave up.
static bool find_tab(const reader *r, size_t line, yaml_mark_t *mark)
{
    size_t current = 0;
    const char *p = r->text;
    const char *end = r->text + r->bytes;
    while (p < end && current <= line + 1) {
        const char *start = p;
        while (p < end && *p == ' ') {
            p++;
        }
        if (p < end && *p == '\t' && current >= line) {
            *mark = (yaml_mark_t){.line = current, .column = (size_t)(p - start)};
            return true;
        }
        p = memchr(p, '\n', (size_t)(end - p));
        if (p == NULL) {
            return false;
        }
        p++;
        current++;
    }
    return false;
}

static cop_status fail_with_parser(const reader *r, cop_error *err)
{
    const yaml_parser_t *parser = &r->parser;
    yaml_mark_t mark = parser->problem_mark;
    const char *problem = parser->problem != NULL ? parser->problem : "cannot be read";
    if (parser->error == YAML_MEMORY_ERROR) {
        return fail_with_nomem(r, err);
    }
    if (parser->error == YAML_READER_ERROR) {
        return COP_FAIL(err, COP_ERR_CONFIG, "%s: byte %zu: %s (allowed: UTF-8 text)",
                        r->config->name, parser->problem_offset, problem);
    }
    if (find_tab(r, mark.line, &mark)) {
        return fail_at(r, mark, err, "a tab is used for indentation (allowed: spaces)");
    }
    const char *context = parser->context != NULL ? parser->context : "";
    return fail_at(r, mark, err, "%s%s%s", context, context[0] != '\0' ? ", " : "", problem);
}

static cop_status next_event(reader *r, yaml_event_t *event, cop_error *err)
{
    if (yaml_parser_parse(&r->parser, event) == 0) {
        return fail_with_parser(r, err);
    }
    return COP_OK;
}

static cop_status make_node(reader *r, cop_config_node **out, const yaml_event_t *event,
                            const char *path, cop_error *err)
{
    *out = NULL;
    if (++r->nodes > NODES_MAX) {
        return fail_at(r, event->start_mark, err, "more than %d entries", NODES_MAX);
    }
    cop_config_node *node = cop_alloc(1, sizeof *node);
    if (node == NULL) {
        return fail_with_nomem(r, err);
    }
    node->config = r->config;
    node->line = (int)event->start_mark.line + 1;
    node->column = (int)event->start_mark.column + 1;
    node->key_line = node->line;
    node->key_column = node->column;
    node->path = cop_alloc_string(path);
    if (node->path == NULL) {
        destroy_node(node);
        return fail_with_nomem(r, err);
    }
    *out = node;
    return COP_OK;
}

// The scalar of an event as a string of its own.
static cop_status take_text(const reader *r, char **out, const yaml_event_t *event, cop_error *err)
{
    const char *value = (const char *)event->data.scalar.value;
    if (strlen(value) != event->data.scalar.length) {
        return fail_at(r, event->start_mark, err, "a text holds a NUL character");
    }
    *out = cop_alloc_string(value);
    return *out != NULL ? COP_OK : fail_with_nomem(r, err);
}

static cop_status add_item(const reader *r, cop_config_node *parent, cop_config_node *item,
                           cop_error *err)
{
    if (parent->count == parent->capacity) {
        const size_t capacity = parent->capacity == 0 ? 8 : 2 * parent->capacity;
        cop_config_node **items =
            cop_realloc(parent->items, capacity,
                        sizeof items[0]); // NOLINT(bugprone-sizeof-expression): pointers are meant
        if (items == NULL) {
            destroy_node(item);
            return fail_with_nomem(r, err);
        }
        parent->items = items;
        parent->capacity = capacity;
    }
    parent->items[parent->count++] = item;
    return COP_OK;
}

static cop_status read_node(reader *r, cop_config_node **out, const yaml_event_t *event,
                            const char *path, int depth, cop_error *err);

static cop_status read_list(reader *r, cop_config_node *list, int depth, cop_error *err)
{
    cop_status status = COP_OK;
    yaml_event_t event = {0};
    cop_text path = {0};
    for (;;) {
        cop_config_node *item = NULL;
        COP_TRY(status, next_event(r, &event, err));
        if (event.type == YAML_SEQUENCE_END_EVENT) {
            break;
        }
        cop_text_release(&path);
        cop_text_appendf(&path, "%s[%zu]", list->path, list->count);
        COP_TRY(status, cop_text_check(&path, r->config->name, err));
        COP_TRY(status, read_node(r, &item, &event, path.data, depth + 1, err));
        yaml_event_delete(&event);
        COP_TRY(status, add_item(r, list, item, err));
    }

done:
    yaml_event_delete(&event);
    cop_text_release(&path);
    return status;
}

static cop_status read_key(reader *r, const cop_config_node *mapping, char **out,
                           const yaml_event_t *event, cop_error *err)
{
    *out = NULL;
    if (event->type == YAML_ALIAS_EVENT) {
        return fail_at(r, event->start_mark, err, "aliases are not allowed");
    }
    if (event->type != YAML_SCALAR_EVENT) {
        return fail_at(r, event->start_mark, err, "a key is a list or mapping (allowed: a name)");
    }
    if (event->data.scalar.anchor != NULL || event->data.scalar.tag != NULL) {
        return fail_at(r, event->start_mark, err, "anchors and tags are not allowed");
    }
    if (event->data.scalar.length == 0 || event->data.scalar.length > KEY_BYTES_MAX) {
        return fail_at(r, event->start_mark, err, "a key has %zu bytes (allowed: 1..%d)",
                       event->data.scalar.length, KEY_BYTES_MAX);
    }
    const char *key = (const char *)event->data.scalar.value;
    const cop_config_node *same = cop_config_node_find(mapping, key);
    if (same != NULL) {
        return fail_at(r, event->start_mark, err, "%s: duplicate key (first on line %d)",
                       same->path, same->key_line);
    }
    return take_text(r, out, event, err);
}

static cop_status read_mapping(reader *r, cop_config_node *mapping, int depth, cop_error *err)
{
    cop_status status = COP_OK;
    yaml_event_t event = {0};
    cop_text path = {0};
    char *key = NULL;
    for (;;) {
        cop_config_node *value = NULL;
        COP_TRY(status, next_event(r, &event, err));
        if (event.type == YAML_MAPPING_END_EVENT) {
            break;
        }
        COP_TRY(status, read_key(r, mapping, &key, &event, err));
        const yaml_mark_t mark = event.start_mark;
        yaml_event_delete(&event);

        cop_text_release(&path);
        cop_text_appendf(&path, "%s%s%s", mapping->path, mapping->path[0] != '\0' ? "." : "", key);
        COP_TRY(status, cop_text_check(&path, r->config->name, err));
        COP_TRY(status, next_event(r, &event, err));
        COP_TRY(status, read_node(r, &value, &event, path.data, depth + 1, err));
        yaml_event_delete(&event);
        value->key = key;
        key = NULL;
        value->key_line = (int)mark.line + 1;
        value->key_column = (int)mark.column + 1;
        COP_TRY(status, add_item(r, mapping, value, err));
    }

done:
    yaml_event_delete(&event);
    cop_text_release(&path);
    cop_free(key);
    return status;
}

static cop_status refuse_extras(const reader *r, const yaml_event_t *event, int depth,
                                cop_error *err)
{
    const yaml_char_t *anchor = NULL;
    const yaml_char_t *tag = NULL;
    if (event->type == YAML_ALIAS_EVENT) {
        return fail_at(r, event->start_mark, err, "aliases are not allowed");
    }
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    if (anchor != NULL || tag != NULL) {
        return fail_at(r, event->start_mark, err, "anchors and tags are not allowed");
    }
    if (depth > DEPTH_MAX) {
        return fail_at(r, event->start_mark, err, "nested deeper than %d levels", DEPTH_MAX);
    }
    return COP_OK;
}

static cop_status read_node(reader *r, cop_config_node **out, const yaml_event_t *event,
                            const char *path, int depth, cop_error *err)
{
    cop_status status = COP_OK;
    cop_config_node *node = NULL;
    COP_TRY(status, refuse_extras(r, event, depth, err));
    COP_TRY(status, make_node(r, &node, event, path, err));
    if (event->type == YAML_SCALAR_EVENT) {
        node->kind = COP_CONFIG_SCALAR;
        node->is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        COP_TRY(status, take_text(r, &node->text, event, err));
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        node->kind = COP_CONFIG_LIST;
        COP_TRY(status, read_list(r, node, depth, err));
    } else {
        node->kind = COP_CONFIG_MAPPING;
        COP_TRY(status, read_mapping(r, node, depth, err));
    }
    *out = node;
    node = NULL;

done:
    destroy_node(node);
    return status;
}

static cop_status read_document(reader *r, cop_error *err)
{
    cop_status status = COP_OK;
    yaml_event_t event = {0};
    const yaml_event_type_t opening[] = {YAML_STREAM_START_EVENT, YAML_DOCUMENT_START_EVENT};

    for (size_t i = 0; i < 2; i++) {
        COP_TRY(status, next_event(r, &event, err));
        if (event.type != opening[i]) {
            status = COP_FAIL(err, COP_ERR_CONFIG, "%s: holds no settings", r->config->name);
            goto done;
        }
        yaml_event_delete(&event);
    }
    COP_TRY(status, next_event(r, &event, err));
    if (event.type != YAML_MAPPING_START_EVENT) {
        status = fail_at(r, event.start_mark, err, "the document is no mapping of keys to values");
        goto done;
    }
    COP_TRY(status, read_node(r, &r->config->root, &event, "", 1, err));
    yaml_event_delete(&event);
    COP_TRY(status, next_event(r, &event, err)); // the end of the document
    yaml_event_delete(&event);
    COP_TRY(status, next_event(r, &event, err));
    if (event.type != YAML_STREAM_END_EVENT) {
        status = fail_at(r, event.start_mark, err, "a second document (allowed: one)");
    }

done:
    yaml_event_delete(&event);
    return status;
}

cop_status cop_config_parse(cop_config **out, const char *name, const char *text, size_t bytes,
                            cop_error *err)
{
    cop_status status = COP_OK;
    reader r = {.text = text, .bytes = bytes};
    *out = NULL;
    if (bytes > file_bytes_max) {
        return COP_FAIL(err, COP_ERR_CONFIG, "%s: has %zu bytes (allowed: at most %zu)", name,
                        bytes, file_bytes_max);
    }
    if (yaml_parser_initialize(&r.parser) == 0) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory while reading settings", name);
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, bytes);
    r.config = cop_alloc(1, sizeof *r.config);
    if (r.config == NULL || (r.config->name = cop_alloc_string(name)) == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory while reading settings", name);
        goto done;
    }
    COP_TRY(status, read_document(&r, err));
    *out = r.config;
    r.config = NULL;

done:
    cop_config_destroy(r.config);
    yaml_parser_delete(&r.parser);
    return status;
}

cop_status cop_config_open(cop_config **out, const char *path, cop_error *err)
{
    cop_status status = COP_OK;
    char *text = NULL;
    size_t bytes = 0;
    *out = NULL;
    COP_TRY(status, cop_file_read(&text, &bytes, path, file_bytes_max, err));
    COP_TRY(status, cop_config_parse(out, path, text, bytes, err));

done:
    cop_free(text);
    return status;
}
