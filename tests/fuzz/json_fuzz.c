// JSON on any bytes: what is read must be written and read again as the same value.

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    json_t *value = NULL;
    json_t *again = NULL;
    char *text = NULL;
    if (cop_json_parse(&value, "fuzz.json", (const char *)data, bytes, NULL) == COP_OK &&
        cop_json_text(&text, value, 2, NULL) == COP_OK) { // very deep values are not written
        const cop_status status = cop_json_parse(&again, "again", text, strlen(text), NULL);
        assert(status == COP_OK);
        assert(json_equal(value, again));
    }
    cop_free(text);
    json_decref(again);
    json_decref(value);
    return 0;
}
