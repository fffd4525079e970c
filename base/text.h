// A bounded, growing string: how every line of text that is not an error message is built.

#ifndef COP_BASE_TEXT_H
#define COP_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

// Zero-initialize with `= {0}`. A failed append (no memory) sets `is_broken`, drops the text and
// makes all later appends do nothing, so that a caller checks once, at the end.
typedef struct cop_text {
    char *data; // NUL-terminated; NULL while empty: use cop_text_view()
    size_t length;
    size_t capacity;
    bool is_broken;
} cop_text;

void cop_text_append(cop_text *text, const char *string);
void cop_text_append_bytes(cop_text *text, const void *bytes, size_t count);
void cop_text_appendf(cop_text *text, const char *format, ...) COP_PRINTF(2, 3);

// The shortest of 15 to 17 digits that reads back as the same number; nothing for what is not finite.
void cop_text_append_number(cop_text *text, double value);
// A JSON string of `count` bytes of UTF-8, in its quotes.
void cop_text_append_json(cop_text *text, const char *string, size_t count);
// A field of CSV, in quotes where RFC 4180 wants them.
void cop_text_append_csv(cop_text *text, const char *string);

// The text, never NULL; valid until the next append.
const char *cop_text_view(const cop_text *text);

// Fails with COP_ERR_NOMEM when an append failed. `what` names the text in the message.
COP_MUST_CHECK cop_status cop_text_check(const cop_text *text, const char *what, cop_error *err);

void cop_text_release(cop_text *text);

enum { COP_TEXT_NUMBER_BYTES = 32 };

// Short forms for people: "8.27B" / "4.19M" parameters, "1.3 GiB", "3h12m" / "45 s".
// `out` has COP_TEXT_NUMBER_BYTES bytes; it is returned.
char *cop_text_count(char *out, double count);
char *cop_text_bytes(char *out, uint64_t bytes);
char *cop_text_seconds(char *out, double seconds);

// The entry of `words` nearest to `word` in edit distance, or NULL when none is near enough to be
// a plausible misspelling.
const char *cop_text_nearest(const char *word, const char *const *words, size_t count);

// Strict conversions: the whole string must be one number. `1e9` is a valid integer when exact.
// false for an empty string, trailing characters, overflow, NaN and infinity.
bool cop_text_to_f64(const char *string, double *out);
bool cop_text_to_i64(const char *string, int64_t *out);

#ifdef __cplusplus
}
#endif

#endif
