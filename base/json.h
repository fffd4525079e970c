// Strict reading and writing of JSON over jansson: duplicate keys refused, every getter checks
// presence, type and range, and every message names the file and the key.

#ifndef COP_BASE_JSON_H
#define COP_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

// Parses a file of at most `bytes_max` bytes. The value is owned by the caller: json_decref().
// Errors carry file:line:column.
COP_MUST_CHECK cop_status cop_json_read(json_t **out, const char *path, size_t bytes_max,
                                        cop_error *err);

// Parses `bytes` bytes of text; `name` stands for the file in messages.
COP_MUST_CHECK cop_status cop_json_parse(json_t **out, const char *name, const char *text,
                                         size_t bytes, cop_error *err);

// Writes indented JSON with a final newline, atomically. Keys keep their insertion order.
COP_MUST_CHECK cop_status cop_json_write(const json_t *value, const char *path, cop_error *err);

// The text of a value, owned by the caller (cop_free). `indent` 0: one line.
COP_MUST_CHECK cop_status cop_json_text(char **out, const json_t *value, int indent,
                                        cop_error *err);

// Getters. `object` is checked to be an object; `name` stands for the file. A missing key is an
// error; the _or forms return the fallback for a missing or null key.
COP_MUST_CHECK cop_status cop_json_i64(int64_t *out, const json_t *object, const char *key,
                                       int64_t min, int64_t max, const char *name, cop_error *err);
COP_MUST_CHECK cop_status cop_json_i64_or(int64_t *out, const json_t *object, const char *key,
                                          int64_t min, int64_t max, int64_t fallback,
                                          const char *name, cop_error *err);
COP_MUST_CHECK cop_status cop_json_f64(double *out, const json_t *object, const char *key,
                                       double min, double max, const char *name, cop_error *err);
COP_MUST_CHECK cop_status cop_json_f64_or(double *out, const json_t *object, const char *key,
                                          double min, double max, double fallback, const char *name,
                                          cop_error *err);
COP_MUST_CHECK cop_status cop_json_bool_or(bool *out, const json_t *object, const char *key,
                                           bool fallback, const char *name, cop_error *err);
// Borrowed string; valid as long as the object.
COP_MUST_CHECK cop_status cop_json_text_of(const char **out, const json_t *object, const char *key,
                                           const char *name, cop_error *err);
COP_MUST_CHECK cop_status cop_json_text_or(const char **out, const json_t *object, const char *key,
                                           const char *fallback, const char *name, cop_error *err);

#endif
