#include "model/tokens.h"

#include <inttypes.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "model/tokens_internal.h"

enum { SIDE_BYTES_MAX = 64 << 20, PIECE = 4096 };

#define FORGET_BYTES ((size_t)16 << 20)

// Both formats are little-endian, and so are the machines this runs on: ids are copied as they are.
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "ids are stored little-endian");

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

// Ids [first, first + count) as stored; what no id can be, negative or above int32, becomes -1.
static void widen(const cop_tokens *tokens, int64_t first, int64_t count, int32_t *out)
{
    const unsigned char *from =
        (const unsigned char *)tokens->map.data + (size_t)first * (size_t)tokens->id_bytes;
    if (tokens->id_bytes == 4) {
        memcpy(out, from, (size_t)count * 4);
    } else if (tokens->id_bytes == 2 && !tokens->is_signed) {
        for (int64_t i = 0; i < count; i++) {
            uint16_t id;
            memcpy(&id, from + 2 * i, sizeof id);
            out[i] = id;
        }
    } else if (tokens->id_bytes == 2) {
        for (int64_t i = 0; i < count; i++) {
            int16_t id;
            memcpy(&id, from + 2 * i, sizeof id);
            out[i] = id;
        }
    } else if (tokens->id_bytes == 8) {
        for (int64_t i = 0; i < count; i++) {
            int64_t id;
            memcpy(&id, from + 8 * i, sizeof id);
            out[i] = id < 0 || id > INT32_MAX ? -1 : (int32_t)id;
        }
    } else {
        for (int64_t i = 0; i < count; i++) {
            out[i] = from[i];
        }
    }
}

static cop_status fail_id(const cop_tokens *tokens, int64_t first, const int32_t *ids,
                          int64_t limit, cop_error *err)
{
    int64_t i = 0;
    while (ids[i] >= 0 && ids[i] < limit) {
        i++;
    }
    // Only here a stored value that is no int32 matters: for the message.
    int64_t value = ids[i];
    const unsigned char *at = tokens->map.data;
    if (tokens->id_bytes == 8) {
        memcpy(&value, at + 8 * (first + i), sizeof value);
    } else if (tokens->id_bytes == 4 && !tokens->is_signed) {
        value = (int64_t)(uint32_t)ids[i];
    }
    return COP_FAIL(err, COP_ERR_FORMAT,
                    "%s: token %" PRId64 " is %" PRId64 " (allowed: 0..%" PRId64 ")", tokens->path,
                    first + i, value, limit - 1);
}

// Checks every id against the vocabulary (finds the vocabulary when there is none) and hashes them
// as 32-bit numbers. Pages are given back on the way.
static cop_status scan(cop_tokens *tokens, cop_error *err)
{
    int32_t ids[PIECE];
    cop_hasher *hasher = NULL;
    int32_t largest = 0;
    cop_status status = COP_OK;
    const int64_t limit = tokens->vocab > 0 ? tokens->vocab : INT32_MAX;

    COP_TRY(status, cop_hasher_create(&hasher, err));
    for (int64_t first = 0; first < tokens->count; first += PIECE) {
        const int64_t count = tokens->count - first < PIECE ? tokens->count - first : PIECE;
        int32_t low = 0;
        widen(tokens, first, count, ids);
        for (int64_t i = 0; i < count; i++) {
            low = ids[i] < low ? ids[i] : low;
            largest = ids[i] > largest ? ids[i] : largest;
        }
        if (low < 0 || largest >= limit) {
            status = fail_id(tokens, first, ids, limit, err);
            goto done;
        }
        cop_hasher_add_bytes(hasher, ids, (size_t)count * sizeof *ids);
        const size_t at = (size_t)first * (size_t)tokens->id_bytes;
        if ((at & (FORGET_BYTES - 1)) == 0 && at > 0) {
            cop_file_map_forget(&tokens->map, at - FORGET_BYTES, FORGET_BYTES);
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
    widen(tokens, first, count, out);
}
