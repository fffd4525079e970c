// Content hashes: XXH3, 128 bits, over a defined byte order. They name caches and provenance;
// they are no defence against forgery.

#ifndef COP_BASE_HASH_H
#define COP_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { COP_HASH_TEXT_BYTES = 33 };

typedef struct cop_hash {
    uint64_t high;
    uint64_t low;
} cop_hash;

typedef struct cop_hasher cop_hasher; // incremental

COP_MUST_CHECK cop_status cop_hasher_create(cop_hasher **out, cop_error *err);
void cop_hasher_destroy(cop_hasher *hasher);
void cop_hasher_add_bytes(cop_hasher *hasher, const void *data, size_t bytes);
void cop_hasher_add_text(cop_hasher *hasher, const char *text); // length, then the bytes
void cop_hasher_add_i64(cop_hasher *hasher, int64_t value);     // 8 bytes, little-endian
void cop_hasher_add_f64(cop_hasher *hasher, double value);      // its bits, little-endian
cop_hash cop_hasher_value(const cop_hasher *hasher);

cop_hash cop_hash_bytes(const void *data, size_t bytes);

// Hash of a file's content, read sequentially in pieces.
COP_MUST_CHECK cop_status cop_hash_file(cop_hash *out, const char *path, cop_error *err);

// 32 hexadecimal digits; `out` has COP_HASH_TEXT_BYTES bytes and is returned.
char *cop_hash_text(char *out, cop_hash hash);

#endif
