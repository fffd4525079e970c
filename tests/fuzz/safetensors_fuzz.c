// safetensors on any bytes: every byte a header lends must lie in the file, and a file that is
// refused says why in one line.

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "model/safetensors.h"

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's name
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static uint64_t sum_of(const cop_safetensors_entry *entry)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < entry->bytes; i++) {
        sum += ((const unsigned char *)entry->data)[i];
    }
    return sum;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    cop_safetensors *file = NULL;
    cop_error err = {0};

    if (cop_safetensors_parse(&file, "fuzz.safetensors", data, bytes, &err) != COP_OK) {
        assert(file == NULL);
        assert(err.message[0] != '\0' && strpbrk(err.message, "\n\r") == NULL);
        return 0;
    }
    uint64_t total = 0;
    for (int64_t i = 0; i < cop_safetensors_count(file); i++) {
        const cop_safetensors_entry entry = cop_safetensors_at(file, i);
        uint64_t size = cop_dtype_bytes(entry.dtype);
        for (int d = 0; d < entry.rank; d++) {
            size *= (uint64_t)entry.shape[d];
        }
        assert(size == entry.bytes);
        assert(cop_safetensors_find(file, entry.name) == i);
        assert(sum_of(&entry) <= 255 * entry.bytes); // reads them all
        total += entry.bytes;
    }
    assert(total < bytes);
    (void)cop_safetensors_metadata(file, "format");
    cop_safetensors_destroy(file);
    return 0;
}
