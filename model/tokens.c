#include "model/tokens.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "model/tokens_internal.h"

enum { SIDE_BYTES_MAX = 64 << 20 };

char *cop_tokens_sibling(const char *path, const char *ending)
{
    cop_text text = {0};
    const size_t length = strlen(path);
    const bool has_bin = length > 4 && strcmp(path + length - 4, ".bin") == 0;

    cop_text_append_bytes(&text, path, has_bin ? length - 4 : length);
    cop_text_append(&text, ending);
    char *copy = text.is_broken ? NULL : cop_alloc_string(cop_text_view(&text));
    cop_text_release(&text);
    return copy;
}

char *cop_tokens_side_path(const char *path)
{
    return cop_tokens_sibling(path, ".json");
}

// --- Reading ------------------------------------------------------------------------------------

// The side file's word on the ids; they are compared with it later.
typedef struct side_file {
    bool exists;
    bool has_hash;
    char hash[COP_HASH_TEXT_BYTES];
} side_file;

static cop_status read_side(cop_tokens *tokens, side_file *side, const char *path, cop_error *err)
{
    json_t *json = NULL;
    const char *format = NULL;
    const char *dtype = NULL;
    const char *hash = NULL;
    int64_t promised = 0;
    cop_status status = COP_OK;

    COP_TRY(status, cop_json_read(&json, path, SIDE_BYTES_MAX, err));
    COP_TRY(status, cop_json_text_of(&format, json, "format", path, err));
    if (strcmp(format, "coppice-tokens-1") != 0) {
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s: format is '%.64s' (allowed: coppice-tokens-1)",
                          path, format);
        goto done;
    }
    COP_TRY(status, cop_json_text_of(&dtype, json, "dtype", path, err));
    if (strcmp(dtype, "uint16") != 0 && strcmp(dtype, "uint32") != 0) {
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s: dtype is '%.64s' (allowed: uint16, uint32)",
                          path, dtype);
        goto done;
    }
    tokens->id_bytes = strcmp(dtype, "uint16") == 0 ? 2 : 4;
    COP_TRY(status, cop_json_i64(&tokens->vocab, json, "vocab", 1, INT32_MAX, path, err));
    COP_TRY(status, cop_json_i64(&promised, json, "tokens", 0, INT64_MAX, path, err));
    COP_TRY(status, cop_json_text_or(&hash, json, "hash", NULL, path, err));
    side->has_hash = hash != NULL;
    if (side->has_hash && strlen(hash) != COP_HASH_TEXT_BYTES - 1) {
        status = COP_FAIL(err, COP_ERR_FORMAT,
                          "%s: hash is '%.64s' (allowed: 32 hexadecimal "
                          "digits)",
                          path, hash);
        goto done;
    }
    if (side->has_hash) {
        memcpy(side->hash, hash, COP_HASH_TEXT_BYTES);
    }
    if (tokens->map.bytes % (size_t)tokens->id_bytes != 0) {
        status =
            COP_FAIL(err, COP_ERR_FORMAT, "%s: %zu bytes are no multiple of the %d bytes of a %s",
                     tokens->path, tokens->map.bytes, tokens->id_bytes, dtype);
        goto done;
    }
    tokens->count = (int64_t)(tokens->map.bytes / (size_t)tokens->id_bytes);
    if (promised != tokens->count) {
        status =
            COP_FAIL(err, COP_ERR_FORMAT, "%s: promises %" PRId64 " tokens, but %s holds %" PRId64,
                     path, promised, tokens->path, tokens->count);
    }

done:
    json_decref(json);
    return status;
}

static int64_t id_at(const cop_tokens *tokens, int64_t index)
{
    const unsigned char *at =
        (const unsigned char *)tokens->map.data + (size_t)index * (size_t)tokens->id_bytes;
    uint64_t value = 0;
    for (int i = tokens->id_bytes - 1; i >= 0; i--) {
        value = value << 8 | at[i];
    }
    if (tokens->is_signed && tokens->id_bytes == 2) {
        return (int64_t)value - ((value & 0x8000u) != 0 ? 0x10000 : 0);
    }
    if (tokens->is_signed && tokens->id_bytes == 4) {
        return (int64_t)value - ((value & 0x80000000u) != 0 ? 0x100000000 : 0);
    }
    // Eight bytes: a negative id becomes the largest, which is as wrong.
    return value > (uint64_t)INT64_MAX ? INT64_MAX : (int64_t)value;
}

// Checks every id against the vocabulary (finds the vocabulary when there is none) and hashes them
// as 32-bit numbers. Pages are given back on the way.
static cop_status scan(cop_tokens *tokens, cop_error *err)
{
    unsigned char wide[4 * 1024];
    cop_hasher *hasher = NULL;
    int64_t largest = 0;
    cop_status status = COP_OK;
    const int64_t limit = tokens->vocab > 0 ? tokens->vocab : INT32_MAX;

    COP_TRY(status, cop_hasher_create(&hasher, err));
    for (int64_t first = 0; first < tokens->count; first += 1024) {
        const int64_t count = tokens->count - first < 1024 ? tokens->count - first : 1024;
        for (int64_t i = 0; i < count; i++) {
            const int64_t id = id_at(tokens, first + i);
            if (id < 0 || id >= limit) {
                status = COP_FAIL(err, COP_ERR_FORMAT,
                                  "%s: token %" PRId64 " is %" PRId64 " (allowed: 0..%" PRId64 ")",
                                  tokens->path, first + i, id, limit - 1);
                goto done;
            }
            largest = id > largest ? id : largest;
            for (int b = 0; b < 4; b++) {
                wide[4 * i + b] = (unsigned char)((uint64_t)id >> (8 * b));
            }
        }
        cop_hasher_add_bytes(hasher, wide, (size_t)count * 4);
        const size_t at = (size_t)first * (size_t)tokens->id_bytes;
        if ((at & ((16u << 20) - 1)) == 0 && at > 0) {
            cop_file_map_forget(&tokens->map, at - (16u << 20), 16u << 20);
        }
    }
    tokens->hash = cop_hasher_value(hasher);
    tokens->vocab = tokens->vocab > 0 ? tokens->vocab : largest + 1;

done:
    cop_hasher_destroy(hasher);
    return status;
}

static cop_status open_ids(cop_tokens *tokens, side_file *side, int64_t vocab, cop_error *err)
{
    char *side_path = cop_tokens_side_path(tokens->path);
    char *index_path = cop_tokens_sibling(tokens->path, ".idx");
    cop_status status = COP_OK;

    if (side_path == NULL || index_path == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to open it", tokens->path);
        goto done;
    }
    COP_TRY(status, cop_file_map_open(&tokens->map, tokens->path, err));
    side->exists = cop_file_exists(side_path);
    if (side->exists) {
        COP_TRY(status, read_side(tokens, side, side_path, err));
    } else if (cop_file_exists(index_path)) {
        COP_TRY(status, cop_tokens_read_index(tokens, index_path, err));
    } else {
        status = COP_FAIL(err, COP_ERR_FORMAT,
                          "%s: neither %s nor %s lies beside it (allowed: token files written by "
                          "'coppice tokenize' or Megatron)",
                          tokens->path, side_path, index_path);
        goto done;
    }
    if (tokens->count == 0) {
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s: holds no tokens", tokens->path);
        goto done;
    }
    if (side->exists && vocab > 0 && tokens->vocab != vocab) {
        status = COP_FAIL(err, COP_ERR_FORMAT,
                          "%s: tokenized with a vocabulary of %" PRId64 ", the model has %" PRId64,
                          tokens->path, tokens->vocab, vocab);
        goto done;
    }
    tokens->vocab = side->exists ? tokens->vocab : vocab;

done:
    cop_free(side_path);
    cop_free(index_path);
    return status;
}

cop_status cop_tokens_open(cop_tokens **out, const char *path, int64_t vocab, cop_error *err)
{
    side_file side = {0};
    char hash[COP_HASH_TEXT_BYTES];
    cop_status status = COP_OK;
    cop_tokens *tokens = cop_alloc(1, sizeof *tokens);

    *out = NULL;
    if (tokens == NULL || (tokens->path = cop_alloc_string(path)) == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to open it", path);
        goto done;
    }
    COP_TRY(status, open_ids(tokens, &side, vocab, err));
    COP_TRY(status, scan(tokens, err));
    if (side.has_hash && strcmp(side.hash, cop_hash_text(hash, tokens->hash)) != 0) {
        status = COP_FAIL(err, COP_ERR_FORMAT,
                          "%s: its ids have the hash %s, its side file promises %s: the two do not "
                          "belong together",
                          path, hash, side.hash);
        goto done;
    }
    *out = tokens;
    tokens = NULL;

done:
    cop_tokens_destroy(tokens);
    return status;
}

void cop_tokens_destroy(cop_tokens *tokens)
{
    if (tokens != NULL) {
        cop_file_map_release(&tokens->map);
        cop_free(tokens->path);
        cop_free(tokens);
    }
}

int64_t cop_tokens_count(const cop_tokens *tokens)
{
    return tokens->count;
}

int64_t cop_tokens_vocab(const cop_tokens *tokens)
{
    return tokens->vocab;
}

const char *cop_tokens_path(const cop_tokens *tokens)
{
    return tokens->path;
}

cop_hash cop_tokens_hash(const cop_tokens *tokens)
{
    return tokens->hash;
}

void cop_tokens_read(const cop_tokens *tokens, int64_t first, int64_t count, int32_t *out)
{
    for (int64_t i = 0; i < count; i++) {
        out[i] = (int32_t)id_at(tokens, first + i);
    }
}
