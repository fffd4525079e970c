// What the readers of the two token formats share: where the ids lie and how wide they are.

#ifndef COP_MODEL_TOKENS_INTERNAL_H
#define COP_MODEL_TOKENS_INTERNAL_H

#include <stdbool.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/status.h"

struct cop_tokens {
    char *path;       // owned
    cop_file_map map; // the ids
    int64_t count;
    int64_t vocab;
    int id_bytes; // 1, 2, 4 or 8
    bool is_signed;
    cop_hash hash;
};

// `<path without .bin><ending>`, owned by the caller, or NULL when memory is exhausted.
char *cop_tokens_sibling(const char *path, const char *ending);

// Fills count, id_bytes and is_signed from the index file of the Megatron format, and checks it
// against the mapped ids.
struct cop_tokens;
COP_MUST_CHECK cop_status cop_tokens_read_index(struct cop_tokens *tokens, const char *index_path,
                                                cop_error *err);

#endif
