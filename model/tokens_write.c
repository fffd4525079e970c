#include <inttypes.h>
#include <jansson.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "model/tokens.h"
#include "model/tokens_internal.h"

struct cop_tokens_writer {
    cop_file_writer file;
    char *side_path; // owned
    json_t *side;    // owned
    json_t *sources; // in side
    cop_hasher *hasher;
    int64_t vocab;
    int64_t count;
    int id_bytes;
};

static cop_status fail_memory(const char *path, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to write it", path);
}

cop_status cop_tokens_writer_create(cop_tokens_writer **out, const char *path, int64_t vocab,
                                    const char *tokenizer, cop_error *err)
{
    cop_status status = COP_OK;
    cop_tokens_writer *writer = cop_alloc(1, sizeof *writer);

    *out = NULL;
    if (writer == NULL) {
        return fail_memory(path, err);
    }
    writer->file = COP_FILE_WRITER_CLOSED;
    if (vocab < 1 || vocab > INT32_MAX) {
        status = COP_FAIL(err, COP_ERR_CONFIG, "%s: vocabulary is %" PRId64 " (allowed: 1..%d)",
                          path, vocab, INT32_MAX);
        goto done;
    }
    writer->vocab = vocab;
    writer->id_bytes = vocab <= 65536 ? 2 : 4;
    writer->side_path = cop_tokens_side_path(path);
    writer->side =
        json_pack("{s:s, s:s, s:I, s:I, s:s, s:[]}", "format", "coppice-tokens-1", "dtype",
                  writer->id_bytes == 2 ? "uint16" : "uint32", "tokens", (json_int_t)0, "vocab",
                  (json_int_t)vocab, "tokenizer", tokenizer, "source");
    writer->sources = json_object_get(writer->side, "source");
    if (writer->side_path == NULL || writer->sources == NULL) {
        status = fail_memory(path, err);
        goto done;
    }
    COP_TRY(status, cop_hasher_create(&writer->hasher, err));
    COP_TRY(status, cop_file_writer_open(&writer->file, path, err));
    *out = writer;
    writer = NULL;

done:
    cop_tokens_writer_destroy(writer);
    return status;
}

cop_status cop_tokens_writer_put(cop_tokens_writer *writer, const int32_t *ids, int64_t count,
                                 cop_error *err)
{
    unsigned char narrow[4 * 1024];
    unsigned char wide[4 * 1024];
    cop_status status = COP_OK;

    for (int64_t first = 0; first < count; first += 1024) {
        const int64_t piece = count - first < 1024 ? count - first : 1024;
        for (int64_t i = 0; i < piece; i++) {
            const int32_t id = ids[first + i];
            if (id < 0 || id >= writer->vocab) {
                status = COP_FAIL(err, COP_ERR_FORMAT,
                                  "%s: token %" PRId64 " is %" PRId32 " (allowed: 0..%" PRId64 ")",
                                  writer->file.path, writer->count + i, id, writer->vocab - 1);
                goto done;
            }
            for (int b = 0; b < 4; b++) {
                const unsigned char byte = (unsigned char)((uint32_t)id >> (8 * b));
                wide[4 * i + b] = byte;
                if (b < writer->id_bytes) {
                    narrow[writer->id_bytes * i + b] = byte;
                }
            }
        }
        cop_hasher_add_bytes(writer->hasher, wide, (size_t)piece * 4);
        COP_TRY(status, cop_file_writer_write(&writer->file, narrow,
                                              (size_t)piece * (size_t)writer->id_bytes, err));
        writer->count += piece;
    }

done:
    return status;
}

cop_status cop_tokens_writer_source(cop_tokens_writer *writer, const char *name, cop_error *err)
{
    json_t *text = json_string(name);
    if (text == NULL) {
        // A file name that is no UTF-8 cannot be named in JSON.
        text = json_string("(a name that is no UTF-8)");
    }
    if (json_array_append_new(writer->sources, text) != 0) {
        return fail_memory(writer->side_path, err);
    }
    return COP_OK;
}

cop_status cop_tokens_writer_commit(cop_tokens_writer *writer, cop_error *err)
{
    char hash[COP_HASH_TEXT_BYTES];
    cop_status status = COP_OK;

    cop_hash_text(hash, cop_hasher_value(writer->hasher));
    if (json_object_set_new(writer->side, "tokens", json_integer(writer->count)) != 0 ||
        json_object_set_new(writer->side, "hash", json_string(hash)) != 0) {
        return fail_memory(writer->side_path, err);
    }
    COP_TRY(status, cop_file_writer_commit(&writer->file, err));
    COP_TRY(status, cop_json_write(writer->side, writer->side_path, err));

done:
    return status;
}

void cop_tokens_writer_destroy(cop_tokens_writer *writer)
{
    if (writer != NULL) {
        cop_file_writer_release(&writer->file);
        cop_hasher_destroy(writer->hasher);
        json_decref(writer->side);
        cop_free(writer->side_path);
        cop_free(writer);
    }
}
