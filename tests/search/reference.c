#include "tests/search/reference.h"

#include <stdlib.h>
#include <string.h>

#include "tests/support.h"

FILE *reference_open(const char *name)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", COP_REFERENCE_DATA, name);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        skip();
    }
    return file;
}

int64_t reference_numbers(double *values, int64_t limit, const char *name)
{
    static char line[1024];
    FILE *file = reference_open(name);
    int64_t count = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        char *at = line;
        char *end = line;
        while (line[0] != '#') {
            const double value = strtod(at, &end);
            if (end == at) {
                break;
            }
            assert_true(count < limit);
            values[count++] = value;
            at = end;
        }
    }
    (void)fclose(file);
    return count;
}

// Field number `field` of a line of comma-separated values.
static const char *field_of(const char *line, int field)
{
    for (; field > 0; field--) {
        line = strchr(line, ',');
        assert_non_null(line);
        line++;
    }
    return line;
}

int64_t reference_column(double *values, int64_t stride, const char *column, size_t length)
{
    static char line[2048];
    FILE *file = reference_open("hwgpt/hwgpt_s.csv");
    int64_t row = 0;
    int field = 0;
    assert_non_null(fgets(line, sizeof line, file));
    for (const char *name = line;
         strncmp(name, column, length) != 0 || strchr(",\r\n", name[length]) == NULL; field++) {
        name = field_of(name, 1);
    }
    for (; fgets(line, sizeof line, file) != NULL; row++) {
        assert_true(row < REFERENCE_ROWS_MAX);
        values[row * stride] = strtod(field_of(line, field), NULL);
    }
    (void)fclose(file);
    return row;
}
