// Writing JSON. Our own, for the numbers: jansson prints either too few digits to read a value
// back exactly or 1.0000000000000001e-05 for 1e-05; here each has the fewest digits that are exact.

#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

enum { DEPTH_MAX = 256 };

typedef struct printer {
    cop_text text;
    int indent; // spaces for each level; 0: one line
    bool is_too_deep;
    bool has_bad_number;
} printer;

static void print_real(printer *p, double value)
{
    if (!isfinite(value)) { // jansson makes no such value; only json_real_set could
        p->has_bad_number = true;
        return;
    }
    // A real stays a real when it is read back.
    const size_t start = p->text.length;
    cop_text_append_number(&p->text, value);
    if (strpbrk(cop_text_view(&p->text) + (p->text.is_broken ? 0 : start), ".e") == NULL) {
        cop_text_append(&p->text, ".0");
    }
}

static void break_line(printer *p, int depth)
{
    if (p->indent > 0) {
        cop_text_appendf(&p->text, "\n%*s", p->indent * depth, "");
    }
}

static void print_value(printer *p, const json_t *value, int depth);

static void print_object(printer *p, const json_t *object, int depth)
{
    // Iterating needs a non-const object, but does not change it.
    union {
        const json_t *in;
        json_t *out;
    } same = {.in = object};

    const char *separator = "";
    cop_text_append(&p->text, "{");
    for (void *at = json_object_iter(same.out); at != NULL;
         at = json_object_iter_next(same.out, at)) {
        const char *key = json_object_iter_key(at);
        cop_text_append(&p->text, separator);
        break_line(p, depth + 1);
        cop_text_append_json(&p->text, key, strlen(key));
        cop_text_append(&p->text, ": ");
        print_value(p, json_object_iter_value(at), depth + 1);
        separator = p->indent > 0 ? "," : ", ";
    }
    if (json_object_size(object) > 0) {
        break_line(p, depth);
    }
    cop_text_append(&p->text, "}");
}

// Arrays of scalars stay on one line.
static void print_array(printer *p, const json_t *array, int depth)
{
    const size_t count = json_array_size(array);
    bool is_flat = true;
    for (size_t i = 0; i < count && is_flat; i++) {
        const json_t *item = json_array_get(array, i);
        is_flat = !json_is_object(item) && !json_is_array(item);
    }
    cop_text_append(&p->text, "[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            cop_text_append(&p->text, is_flat || p->indent == 0 ? ", " : ",");
        }
        if (!is_flat) {
            break_line(p, depth + 1);
        }
        print_value(p, json_array_get(array, i), depth + 1);
    }
    if (!is_flat) {
        break_line(p, depth);
    }
    cop_text_append(&p->text, "]");
}

static void print_value(printer *p, const json_t *value, int depth)
{
    if (depth > DEPTH_MAX) {
        p->is_too_deep = true;
        return;
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT: print_object(p, value, depth); break;
    case JSON_ARRAY: print_array(p, value, depth); break;
    case JSON_STRING:
        cop_text_append_json(&p->text, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        cop_text_appendf(&p->text, "%lld", (long long)json_integer_value(value));
        break;
    case JSON_REAL: print_real(p, json_real_value(value)); break;
    case JSON_TRUE: cop_text_append(&p->text, "true"); break;
    case JSON_FALSE: cop_text_append(&p->text, "false"); break;
    case JSON_NULL: cop_text_append(&p->text, "null"); break;
    }
}

static cop_status print(printer *p, const json_t *value, const char *name, cop_error *err)
{
    if (value == NULL) { // a json_…() constructor returned NULL
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory while making JSON", name);
    }
    print_value(p, value, 0);
    if (p->is_too_deep) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: nested deeper than %d levels", name, DEPTH_MAX);
    }
    if (p->has_bad_number) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: holds a number that is not finite", name);
    }
    return cop_text_check(&p->text, name, err);
}

cop_status cop_json_write(const json_t *value, const char *path, cop_error *err)
{
    cop_status status = COP_OK;
    printer p = {.indent = 2};
    COP_TRY(status, print(&p, value, path, err));
    cop_text_append(&p.text, "\n");
    COP_TRY(status, cop_text_check(&p.text, path, err));
    COP_TRY(status, cop_file_write(path, p.text.data, p.text.length, err));

done:
    cop_text_release(&p.text);
    return status;
}

cop_status cop_json_text(char **out, const json_t *value, int indent, cop_error *err)
{
    printer p = {.indent = indent};
    const cop_status status = print(&p, value, "JSON", err);
    *out = NULL;
    if (status != COP_OK) {
        cop_text_release(&p.text);
        return status;
    }
    *out = p.text.data; // the caller is the owner now
    return COP_OK;
}
