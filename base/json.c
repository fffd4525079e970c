#include "base/json.h"

#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/text.h"

// jansson calls exhausted memory a syntax error in most places: the allocator knows better.
static _Thread_local bool has_exhausted_memory;

static void *allocate(size_t bytes)
{
    void *memory = cop_alloc(bytes, 1);
    has_exhausted_memory = has_exhausted_memory || memory == NULL;
    return memory;
}

// Before main(), so that no value is ever allocated one way and released the other.
__attribute__((constructor)) static void install_allocator(void)
{
    json_set_alloc_funcs(allocate, cop_free);
}

cop_status cop_json_read(json_t **out, const char *path, size_t bytes_max, cop_error *err)
{
    cop_status status = COP_OK;
    char *text = NULL;
    size_t bytes = 0;
    *out = NULL;
    COP_TRY(status, cop_file_read(&text, &bytes, path, bytes_max, err));
    COP_TRY(status, cop_json_parse(out, path, text, bytes, err));

done:
    cop_free(text);
    return status;
}

cop_status cop_json_parse(json_t **out, const char *name, const char *text, size_t bytes,
                          cop_error *err)
{
    json_error_t reason;
    has_exhausted_memory = false;
    *out = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &reason);
    if (*out != NULL) {
        return COP_OK;
    }
    if (has_exhausted_memory || json_error_code(&reason) == json_error_out_of_memory) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory while reading JSON", name);
    }
    return COP_FAIL(err, COP_ERR_FORMAT, "%s:%d:%d: %s", name, reason.line, reason.column,
                    reason.text);
}

static const char *kind_name(const json_t *value)
{
    if (value == NULL) {
        return "nothing";
    }
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a number with a fraction";
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    case JSON_NULL: return "null";
    }
    return "nothing";
}

// The value of a key; NULL with COP_OK when it is missing or null and `is_optional`.
static cop_status find(const json_t **out, const json_t *object, const char *key, bool is_optional,
                       const char *name, cop_error *err)
{
    *out = NULL;
    if (!json_is_object(object)) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: is %s (allowed: an object with the key %s)", name,
                        kind_name(object), key);
    }
    const json_t *value = json_object_get(object, key);
    if (is_optional && (value == NULL || json_is_null(value))) {
        return COP_OK;
    }
    if (value == NULL) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: %s is missing", name, key);
    }
    *out = value;
    return COP_OK;
}

static cop_status to_i64(int64_t *out, const json_t *value, const char *key, int64_t min,
                         int64_t max, const char *name, cop_error *err)
{
    if (!json_is_integer(value)) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: %s is %s (allowed: an integer in %lld..%lld)",
                        name, key, kind_name(value), (long long)min, (long long)max);
    }
    const int64_t number = json_integer_value(value);
    if (number < min || number > max) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: %s is %lld (allowed: %lld..%lld)", name, key,
                        (long long)number, (long long)min, (long long)max);
    }
    *out = number;
    return COP_OK;
}

cop_status cop_json_i64(int64_t *out, const json_t *object, const char *key, int64_t min,
                        int64_t max, const char *name, cop_error *err)
{
    cop_status status = COP_OK;
    const json_t *value = NULL;
    COP_TRY(status, find(&value, object, key, false, name, err));
    COP_TRY(status, to_i64(out, value, key, min, max, name, err));

done:
    return status;
}

cop_status cop_json_i64_or(int64_t *out, const json_t *object, const char *key, int64_t min,
                           int64_t max, int64_t fallback, const char *name, cop_error *err)
{
    cop_status status = COP_OK;
    const json_t *value = NULL;
    COP_TRY(status, find(&value, object, key, true, name, err));
    if (value == NULL) {
        *out = fallback;
    } else {
        COP_TRY(status, to_i64(out, value, key, min, max, name, err));
    }

done:
    return status;
}

static cop_status to_f64(double *out, const json_t *value, const char *key, double min, double max,
                         const char *name, cop_error *err)
{
    if (!json_is_number(value)) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: %s is %s (allowed: a number in %g..%g)", name,
                        key, kind_name(value), min, max);
    }
    const double number = json_number_value(value);
    if (!(number >= min && number <= max)) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: %s is %g (allowed: %g..%g)", name, key, number,
                        min, max);
    }
    *out = number;
    return COP_OK;
}

cop_status cop_json_f64(double *out, const json_t *object, const char *key, double min, double max,
                        const char *name, cop_error *err)
{
    cop_status status = COP_OK;
    const json_t *value = NULL;
    COP_TRY(status, find(&value, object, key, false, name, err));
    COP_TRY(status, to_f64(out, value, key, min, max, name, err));

done:
    return status;
}

cop_status cop_json_f64_or(double *out, const json_t *object, const char *key, double min,
                           double max, double fallback, const char *name, cop_error *err)
{
    cop_status status = COP_OK;
    const json_t *value = NULL;
    COP_TRY(status, find(&value, object, key, true, name, err));
    if (value == NULL) {
        *out = fallback;
    } else {
        COP_TRY(status, to_f64(out, value, key, min, max, name, err));
    }

done:
    return status;
}

cop_status cop_json_bool_or(bool *out, const json_t *object, const char *key, bool fallback,
                            const char *name, cop_error *err)
{
    const json_t *value = NULL;
    const cop_status status = find(&value, object, key, true, name, err);
    if (status != COP_OK) {
        return status;
    }
    if (value != NULL && !json_is_boolean(value)) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: %s is %s (allowed: true, false)", name, key,
                        kind_name(value));
    }
    *out = value != NULL ? json_is_true(value) : fallback;
    return COP_OK;
}

static cop_status to_text(const char **out, const json_t *value, const char *key, const char *name,
                          cop_error *err)
{
    if (!json_is_string(value)) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: %s is %s (allowed: a string)", name, key,
                        kind_name(value));
    }
    *out = json_string_value(value);
    return COP_OK;
}

cop_status cop_json_text_of(const char **out, const json_t *object, const char *key,
                            const char *name, cop_error *err)
{
    cop_status status = COP_OK;
    const json_t *value = NULL;
    COP_TRY(status, find(&value, object, key, false, name, err));
    COP_TRY(status, to_text(out, value, key, name, err));

done:
    return status;
}

cop_status cop_json_text_or(const char **out, const json_t *object, const char *key,
                            const char *fallback, const char *name, cop_error *err)
{
    cop_status status = COP_OK;
    const json_t *value = NULL;
    COP_TRY(status, find(&value, object, key, true, name, err));
    if (value == NULL) {
        *out = fallback;
    } else {
        COP_TRY(status, to_text(out, value, key, name, err));
    }

done:
    return status;
}
