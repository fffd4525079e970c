#include "base/text.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static const size_t capacity_max = (size_t)1 << 30; // a runaway loop ends here, not in the swap

static void break_text(cop_text *text)
{
    cop_free(text->data);
    *text = (cop_text){.is_broken = true};
}

// Room for `count` more bytes and a NUL.
static bool reserve(cop_text *text, size_t count)
{
    if (text->is_broken) {
        return false;
    }
    if (count >= capacity_max || text->length + count >= capacity_max) {
        break_text(text);
        return false;
    }
    const size_t needed = text->length + count + 1;
    if (needed > text->capacity) {
        size_t capacity = text->capacity < 64 ? 64 : text->capacity;
        while (capacity < needed) {
            capacity *= 2;
        }
        char *data = cop_realloc(text->data, capacity, 1);
        if (data == NULL) {
            break_text(text);
            return false;
        }
        text->data = data;
        text->capacity = capacity;
    }
    return true;
}

void cop_text_append_bytes(cop_text *text, const void *bytes, size_t count)
{
    if (reserve(text, count)) {
        if (count > 0) {
            memcpy(text->data + text->length, bytes, count);
        }
        text->length += count;
        text->data[text->length] = '\0';
    }
}

void cop_text_append(cop_text *text, const char *string)
{
    cop_text_append_bytes(text, string, strlen(string));
}

void cop_text_appendf(cop_text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    va_list again;
    va_copy(again, args);
    const int length = vsnprintf(NULL, 0, format, args);
    if (length >= 0 && reserve(text, (size_t)length)) {
        (void)vsnprintf(text->data + text->length, (size_t)length + 1, format, again);
        text->length += (size_t)length;
    }
    va_end(again);
    va_end(args);
}

void cop_text_append_number(cop_text *text, double value)
{
    char number[40] = "";
    for (int digits = 15; isfinite(value) && digits <= 17; digits++) {
        (void)snprintf(number, sizeof number, "%.*g", digits, value);
        if (strtod(number, NULL) == value) {
            break;
        }
    }
    cop_text_append(text, number);
}

void cop_text_append_json(cop_text *text, const char *string, size_t count)
{
    size_t plain = 0; // start of what was not yet copied
    cop_text_append(text, "\"");
    for (size_t i = 0; i < count; i++) {
        const unsigned char byte = (unsigned char)string[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\' && byte != 0x7f) {
            continue;
        }
        cop_text_append_bytes(text, string + plain, i - plain);
        plain = i + 1;
        switch (byte) {
        case '"': cop_text_append(text, "\\\""); break;
        case '\\': cop_text_append(text, "\\\\"); break;
        case '\n': cop_text_append(text, "\\n"); break;
        case '\t': cop_text_append(text, "\\t"); break;
        case '\r': cop_text_append(text, "\\r"); break;
        default: cop_text_appendf(text, "\\u%04x", (unsigned)byte); break;
        }
    }
    cop_text_append_bytes(text, string + plain, count - plain);
    cop_text_append(text, "\"");
}

void cop_text_append_csv(cop_text *text, const char *string)
{
    if (strpbrk(string, ",\"\r\n") == NULL) {
        cop_text_append(text, string);
        return;
    }
    cop_text_append(text, "\"");
    for (const char *c = string; *c != '\0'; c++) {
        cop_text_append_bytes(text, *c == '"' ? "\"\"" : c, *c == '"' ? 2 : 1);
    }
    cop_text_append(text, "\"");
}

const char *cop_text_view(const cop_text *text)
{
    return text->data != NULL ? text->data : "";
}

cop_status cop_text_check(const cop_text *text, const char *what, cop_error *err)
{
    if (text->is_broken) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory while building the text", what);
    }
    return COP_OK;
}

void cop_text_release(cop_text *text)
{
    cop_free(text->data);
    *text = (cop_text){0};
}

// Three significant digits, or the whole number when it has more.
static int decimals_for(double value)
{
    return value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
}

char *cop_text_count(char *out, double count)
{
    static const char *const units[] = {"", "k", "M", "B", "T", "Q"};
    size_t unit = 0;
    double value = fabs(count);
    while (value >= 999.5 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1000.0;
        unit++;
    }
    const bool is_whole = unit == 0 && value == floor(value);
    (void)snprintf(out, COP_TEXT_NUMBER_BYTES, "%s%.*f%s", count < 0.0 ? "-" : "",
                   is_whole ? 0 : decimals_for(value), value, units[unit]);
    return out;
}

char *cop_text_bytes(char *out, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t unit = 0;
    double value = (double)bytes;
    while (value >= 1023.5) {
        value /= 1024.0;
        unit++;
    }
    const int decimals = unit == 0 || value >= 99.95 ? 0 : 1;
    (void)snprintf(out, COP_TEXT_NUMBER_BYTES, "%.*f %s", decimals, value, units[unit]);
    return out;
}

char *cop_text_seconds(char *out, double seconds)
{
    const double limit = 1e9; // 31 years
    if (!(seconds >= 0.0)) {
        seconds = 0.0;
    }
    const long long whole = llround(seconds < limit ? seconds : limit);
    if (seconds < 0.0995) {
        (void)snprintf(out, COP_TEXT_NUMBER_BYTES, "%.*f ms", decimals_for(1e3 * seconds),
                       1e3 * seconds);
    } else if (seconds < 9.95) {
        (void)snprintf(out, COP_TEXT_NUMBER_BYTES, "%.1f s", seconds);
    } else if (whole < 60) {
        (void)snprintf(out, COP_TEXT_NUMBER_BYTES, "%lld s", whole);
    } else if (whole < 3600) {
        (void)snprintf(out, COP_TEXT_NUMBER_BYTES, "%lldm%02llds", whole / 60, whole % 60);
    } else if (whole < 86400) {
        (void)snprintf(out, COP_TEXT_NUMBER_BYTES, "%lldh%02lldm", whole / 3600, whole % 3600 / 60);
    } else {
        (void)snprintf(out, COP_TEXT_NUMBER_BYTES, "%lldd%02lldh", whole / 86400,
                       whole % 86400 / 3600);
    }
    return out;
}

enum { WORD_MAX = 63 };

// Optimal string alignment distance: insertions, deletions, replacements, and swaps of
// neighbours, each counting one. Upper and lower case are equal.
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length)
{
    size_t rows[3][WORD_MAX + 1];
    size_t *before = rows[0];
    size_t *previous = rows[1];
    size_t *current = rows[2];
    for (size_t j = 0; j <= b_length; j++) {
        before[j] = j;
        previous[j] = j;
    }
    for (size_t i = 1; i <= a_length; i++) {
        current[0] = i;
        for (size_t j = 1; j <= b_length; j++) {
            const int x = tolower((unsigned char)a[i - 1]);
            const int y = tolower((unsigned char)b[j - 1]);
            size_t best = previous[j - 1] + (x != y);
            best = previous[j] + 1 < best ? previous[j] + 1 : best;
            best = current[j - 1] + 1 < best ? current[j - 1] + 1 : best;
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                y == tolower((unsigned char)a[i - 2]) && before[j - 2] + 1 < best) {
                best = before[j - 2] + 1;
            }
            current[j] = best;
        }
        size_t *oldest = before;
        before = previous;
        previous = current;
        current = oldest;
    }
    return previous[b_length];
}

const char *cop_text_nearest(const char *word, const char *const *words, size_t count)
{
    const char *nearest = NULL;
    const size_t length = strlen(word);
    if (length == 0 || length > WORD_MAX) {
        return NULL;
    }
    size_t best = (length + 2) / 3 + 1; // one change in three letters is still a misspelling
    for (size_t i = 0; i < count; i++) {
        const size_t other_length = strlen(words[i]);
        if (other_length == 0 || other_length > WORD_MAX) {
            continue;
        }
        const size_t distance = edit_distance(word, length, words[i], other_length);
        if (distance < best) {
            best = distance;
            nearest = words[i];
        }
    }
    return nearest;
}

// A decimal number as text: [+-] digits [. digits] [e [+-] digits].
typedef struct decimal {
    bool is_negative;
    const char *digits;   // may hold one '.'
    size_t length;        // of `digits`
    long fraction_digits; // behind the '.'
    long exponent;        // clamped to ±9999
    bool has_point;
    bool has_exponent;
} decimal;

static bool parse_decimal(const char *string, decimal *out)
{
    const char *p = string;
    *out = (decimal){.is_negative = *p == '-'};
    p += *p == '-' || *p == '+';
    out->digits = p;
    long digits = 0;
    for (; isdigit((unsigned char)*p) || (*p == '.' && !out->has_point); p++) {
        if (*p == '.') {
            out->has_point = true;
        } else {
            digits++;
            out->fraction_digits += out->has_point;
        }
    }
    out->length = (size_t)(p - out->digits);
    // A leading zero would be octal to some readers: refused rather than guessed.
    if (digits == 0 || (out->digits[0] == '0' && isdigit((unsigned char)out->digits[1]))) {
        return false;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        const bool is_negative = *p == '-';
        p += *p == '-' || *p == '+';
        if (!isdigit((unsigned char)*p)) {
            return false;
        }
        for (; isdigit((unsigned char)*p); p++) {
            if (out->exponent < 1000) {
                out->exponent = out->exponent * 10 + (*p - '0');
            }
        }
        out->exponent = is_negative ? -out->exponent : out->exponent;
        out->has_exponent = true;
    }
    return *p == '\0';
}

bool cop_text_to_f64(const char *string, double *out)
{
    decimal parts;
    if (!parse_decimal(string, &parts)) {
        return false;
    }
    char *end = NULL;
    const double value = strtod(string, &end); // the program never leaves the C locale
    if (end == string || *end != '\0' || !isfinite(value)) {
        return false;
    }
    *out = value;
    return true;
}

bool cop_text_to_i64(const char *string, int64_t *out)
{
    decimal parts;
    if (!parse_decimal(string, &parts) || (parts.has_point && !parts.has_exponent)) {
        return false;
    }
    // Collected negatively: INT64_MIN has no positive counterpart. Zeros are held back until a
    // digit follows, so that 1.500e3 and 10e-1 are exact.
    int64_t value = 0;
    long zeros = 0;
    for (size_t i = 0; i <= parts.length; i++) {
        const char c = parts.digits[i < parts.length ? i : 0];
        const bool is_end = i == parts.length;
        if (!is_end && (c == '0' || c == '.')) {
            zeros += c == '0';
            continue;
        }
        if (is_end) { // all digits seen: only the power of ten is left
            zeros += parts.exponent - parts.fraction_digits;
            if (value != 0 && zeros < 0) {
                return false;
            }
        }
        for (; value != 0 && zeros > 0; zeros--) {
            if (value < INT64_MIN / 10) {
                return false;
            }
            value *= 10;
        }
        zeros = 0;
        if (!is_end) {
            const int digit = c - '0';
            if (value < (INT64_MIN + digit) / 10) {
                return false;
            }
            value = value * 10 - digit;
        }
    }
    if (!parts.is_negative && value == INT64_MIN) {
        return false;
    }
    *out = parts.is_negative ? value : -value;
    return true;
}
