// Lines to and from an external evaluator.

#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json.h"
#include "search/evaluator_internal.h"

enum { NAME_SHOWN = 40, LINE_SHOWN = 120, SAID_SHOWN = 200 };

// --- Text ---------------------------------------------------------------------------------------

// Bytes of the character that starts here, 0 when it is none.
static size_t character_bytes(const unsigned char *text, size_t bytes)
{
    const unsigned char first = text[0];
    const size_t length = first < 0x80                    ? 1
                          : first >= 0xc2 && first < 0xe0 ? 2
                          : first >= 0xe0 && first < 0xf0 ? 3
                          : first >= 0xf0 && first < 0xf5 ? 4
                                                          : 0;
    if (length > bytes) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    // Not there, though it looks so: shorter forms exist, halves of pairs, beyond the last character.
    const int lead = length < 3 ? 0 : first << 8 | text[1];
    const bool is_none = (lead >= 0xe080 && lead < 0xe0a0) || (lead >= 0xeda0 && lead < 0xee80) ||
                         (lead >= 0xf080 && lead < 0xf090) || (lead >= 0xf490 && lead < 0xf580);
    return is_none ? 0 : length;
}

const char *cop_evaluator_quote(char *out, const char *text, size_t bytes, size_t length_max)
{
    size_t length = 0;
    size_t at = 0;
    assert(length_max + 8 <= COP_EVALUATOR_QUOTE_BYTES);
    out[length++] = '"';
    while (at < bytes) {
        const unsigned char *const from = (const unsigned char *)text + at;
        const size_t step = character_bytes(from, bytes - at);
        const size_t taken = step == 0 ? 1 : step;
        if (length + taken > length_max + 1) {
            break;
        }
        if (step == 0 || *from < 0x20 || *from == 0x7f) {
            out[length++] = step == 0 ? '?' : ' ';
        } else {
            memcpy(out + length, from, taken);
            length += taken;
        }
        at += taken;
    }
    (void)snprintf(out + length, COP_EVALUATOR_QUOTE_BYTES - length, at < bytes ? "…\"" : "\"");
    return out;
}

void cop_evaluator_answer_fail(cop_evaluator_answer *out, cop_evaluator_outcome outcome,
                               const char *format, ...)
{
    char text[COP_ERROR_MESSAGE_BYTES];
    cop_error tidy;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    // The rules of error messages: one line of whole characters.
    (void)COP_FAIL(&tidy, COP_ERR_FORMAT, "evaluator %d: %s", out->process, text);
    (void)snprintf(out->reason, sizeof out->reason, "%s", tidy.message);
    out->outcome = outcome;
}

// --- Requests -----------------------------------------------------------------------------------

void cop_evaluator_request_text(cop_text *out, const char *id, const char *values, double fidelity)
{
    assert(isfinite(fidelity));
    assert(values[0] == '{' && strpbrk(values, "\r\n") == NULL);
    cop_text_append(out, "{\"id\":");
    cop_text_append_json(out, id, strlen(id));
    cop_text_append(out, ",\"values\":");
    cop_text_append(out, values);
    cop_text_append(out, ",\"fidelity\":");
    cop_text_append_number(out, fidelity);
    cop_text_append(out, "}\n");
}

// --- Answers ------------------------------------------------------------------------------------

typedef struct answer_line {
    const char *text;
    size_t bytes;
} answer_line;

// A bad answer; the line is quoted behind the reason.
COP_PRINTF(3, 4)

static void refuse(cop_evaluator_answer *out, const answer_line *line, const char *format, ...)
{
    char text[COP_ERROR_MESSAGE_BYTES];
    char quoted[COP_EVALUATOR_QUOTE_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    cop_evaluator_answer_fail(out, COP_EVALUATOR_BAD, "%s: %s", text,
                              cop_evaluator_quote(quoted, line->text, line->bytes, LINE_SHOWN));
}

static const char *kind_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER:
    case JSON_REAL: return "a number";
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_NULL: return "null";
    }
    return "nothing";
}

// The document, or NULL with the reason in *why (empty when memory is exhausted). Integers are read as real
// numbers: counts of operations exceed 64 bits.
static json_t *read_json(const char *line, size_t bytes, cop_error *why)
{
    json_error_t reason;
    json_t *json =
        json_loadb(line, bytes, JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, &reason);
    why->message[0] = '\0';
    if (json == NULL) {
        // jansson takes exhausted memory for a syntax error; cop_json_parse() tells the two apart.
        json_t *again = NULL;
        const cop_status status = cop_json_parse(&again, "answer", line, bytes, NULL);
        json_decref(again);
        if (status == COP_ERR_FORMAT) {
            (void)COP_FAIL(why, COP_ERR_FORMAT, "column %d: %s", reason.column, reason.text);
        }
    }
    return json;
}

// A line that is no JSON, but names the request, is most likely its answer with a number such as NaN.
static bool mentions(const char *line, size_t bytes, const char *id)
{
    const size_t length = strlen(id);
    if (line[0] != '{') {
        return false;
    }
    for (size_t at = 1; at + length + 1 < bytes; at++) {
        if (line[at] == '"' && memcmp(line + at + 1, id, length) == 0 &&
            line[at + 1 + length] == '"') {
            return true;
        }
    }
    return false;
}

// Copies the metrics: one block, the array and behind it the names.
static cop_status take_metrics(cop_evaluator_answer *out, json_t *metrics, cop_error *err)
{
    const size_t count = json_object_size(metrics);
    const char *name;
    json_t *value;
    size_t names_bytes = 0;
    json_object_foreach(metrics, name, value)
    {
        names_bytes += strlen(name) + 1;
    }
    // Both were counted in one line in memory: no overflow.
    char *block = cop_alloc(count * sizeof *out->metrics + names_bytes + 1, 1);
    if (block == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "evaluator %d: no memory for %zu metrics", out->process,
                        count);
    }
    char *at = block + count * sizeof *out->metrics;
    out->metrics = (cop_evaluator_metric *)(void *)block;
    out->count = 0;
    json_object_foreach(metrics, name, value)
    {
        const size_t bytes = strlen(name) + 1;
        memcpy(at, name, bytes);
        out->metrics[out->count++] =
            (cop_evaluator_metric){.name = at, .value = json_number_value(value)};
        at += bytes;
    }
    return COP_OK;
}

// Are all metrics finite numbers, and the required ones there? If not, says so in `out`.
static bool check_metrics(cop_evaluator_answer *out, json_t *metrics, const answer_line *line,
                          const char *const *required, int required_count)
{
    char quoted[COP_EVALUATOR_QUOTE_BYTES];
    const char *name;
    json_t *value;
    if (!json_is_object(metrics)) {
        refuse(out, line, "metrics is %s (allowed: an object of numbers)", kind_name(metrics));
        return false;
    }
    json_object_foreach(metrics, name, value)
    {
        if (!json_is_number(value) || !isfinite(json_number_value(value))) {
            refuse(out, line, "metric %s is %s (allowed: a finite number)",
                   cop_evaluator_quote(quoted, name, strlen(name), NAME_SHOWN),
                   json_is_number(value) ? "infinite" : kind_name(value));
            return false;
        }
    }
    for (int i = 0; i < required_count; i++) {
        if (json_object_get(metrics, required[i]) == NULL) {
            refuse(out, line, "metric %s is missing, which the study uses",
                   cop_evaluator_quote(quoted, required[i], strlen(required[i]), NAME_SHOWN));
            return false;
        }
    }
    return true;
}

// Is this the answer to `id`? If not, says so in `out`.
static bool check_id(cop_evaluator_answer *out, json_t *json, const char *id,
                     const answer_line *line)
{
    char found[COP_EVALUATOR_QUOTE_BYTES];
    char wanted[COP_EVALUATOR_QUOTE_BYTES];
    const json_t *value = json_object_get(json, "id");
    if (json_is_string(value) && strcmp(json_string_value(value), id) == 0) {
        return true;
    }
    (void)cop_evaluator_quote(wanted, id, strlen(id), NAME_SHOWN);
    if (!json_is_object(json)) {
        refuse(out, line, "the answer is %s (allowed: an object)", kind_name(json));
    } else if (value == NULL) {
        refuse(out, line, "the answer has no id (allowed: that of the request, %s)", wanted);
    } else if (!json_is_string(value)) {
        refuse(out, line, "the answer's id is %s (allowed: that of the request, %s)",
               kind_name(value), wanted);
    } else {
        refuse(out, line, "the answer has the id %s (allowed: that of the request, %s)",
               cop_evaluator_quote(found, json_string_value(value), json_string_length(value),
                                   NAME_SHOWN),
               wanted);
    }
    return false;
}

// Are there `id` and one of `metrics` and `error`, and nothing else? If not, says so in `out`.
static bool check_keys(cop_evaluator_answer *out, json_t *json, const answer_line *line)
{
    char quoted[COP_EVALUATOR_QUOTE_BYTES];
    const char *key;
    json_t *value;
    json_object_foreach(json, key, value)
    {
        if (strcmp(key, "id") != 0 && strcmp(key, "metrics") != 0 && strcmp(key, "error") != 0) {
            refuse(out, line, "the answer has the key %s (allowed: id, and metrics or error)",
                   cop_evaluator_quote(quoted, key, strlen(key), NAME_SHOWN));
            return false;
        }
    }
    if (json_object_size(json) != 2) {
        refuse(out, line, "the answer has %s metrics %s error (allowed: one of them)",
               json_object_size(json) > 2 ? "both" : "neither",
               json_object_size(json) > 2 ? "and" : "nor");
        return false;
    }
    return true;
}

cop_status cop_evaluator_answer_parse(cop_evaluator_answer *out, bool *is_in_step, const char *line,
                                      size_t bytes, const char *id, const char *const *required,
                                      int required_count, cop_error *err)
{
    cop_status status = COP_OK;
    cop_error why;
    const answer_line whole = {line, bytes};
    json_t *json = read_json(line, bytes, &why);
    *is_in_step = false;
    if (json == NULL && why.message[0] == '\0') {
        return COP_FAIL(err, COP_ERR_NOMEM, "evaluator %d: no memory to read an answer",
                        out->process);
    }
    if (json == NULL) {
        *is_in_step = mentions(line, bytes, id);
        refuse(out, &whole, "the answer is not JSON (%s)", why.message);
        return COP_OK;
    }
    *is_in_step = check_id(out, json, id, &whole);
    if (*is_in_step && check_keys(out, json, &whole)) {
        json_t *metrics = json_object_get(json, "metrics");
        const json_t *error = json_object_get(json, "error");
        if (json_is_string(error)) {
            char quoted[COP_EVALUATOR_QUOTE_BYTES];
            cop_evaluator_answer_fail(out, COP_EVALUATOR_ERROR, "error: %s",
                                      cop_evaluator_quote(quoted, json_string_value(error),
                                                          json_string_length(error), SAID_SHOWN));
        } else if (error != NULL) {
            refuse(out, &whole, "error is %s (allowed: a text)", kind_name(error));
        } else if (check_metrics(out, metrics, &whole, required, required_count)) {
            out->outcome = COP_EVALUATOR_METRICS;
            out->reason[0] = '\0';
            status = take_metrics(out, metrics, err);
        }
    }
    json_decref(json);
    return status;
}
