#include "report/json_build.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"

void cop_build_put(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, value == NULL ? json_null() : value);
}

void cop_build_add(json_t *array, json_t *value)
{
    (void)json_array_append_new(array, value == NULL ? json_null() : value);
}

json_t *cop_build_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

json_t *cop_build_text(const char *text)
{
    if (text == NULL) {
        return json_null();
    }
    json_t *value = json_string(text);
    if (value != NULL) {
        return value;
    }
    char *plain = cop_alloc_string(text); // not UTF-8: keep what is ASCII
    for (char *c = plain; c != NULL && *c != '\0'; c++) {
        if ((unsigned char)*c >= 0x80) {
            *c = '?';
        }
    }
    value = plain == NULL ? NULL : json_string(plain);
    cop_free(plain);
    return value;
}
