// Building JSON documents: numbers that are not finite become null, text that is no UTF-8 is mended.

#ifndef COP_REPORT_JSON_BUILD_H
#define COP_REPORT_JSON_BUILD_H

#include <jansson.h>
#include <stdint.h>

// Sets a key, taking the value over. A value that could not be made leaves the key as null, so that an
// exhausted memory never looks like a missing figure.
void cop_build_put(json_t *object, const char *key, json_t *value);
void cop_build_add(json_t *array, json_t *value);
json_t *cop_build_real(double value);
json_t *cop_build_text(const char *text); // NULL: null

#endif
