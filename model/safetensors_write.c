#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "model/safetensors.h"
#include "model/safetensors_format.h"

struct cop_safetensors_writer {
    int fd;                // -1 when closed
    char *path;            // owned
    char *temp_path;       // owned
    uint64_t header_bytes; // with the 8 bytes of its length
    uint64_t data_bytes;
    uint64_t written_bytes;
    uint64_t *begins; // owned, [count + 1]: where each tensor's data begins
    int64_t count;
};

static cop_status write_at(const cop_safetensors_writer *writer, const void *data, uint64_t bytes,
                           uint64_t offset, cop_error *err)
{
    const char *from = data;
    while (bytes > 0) {
        const size_t piece = bytes > (1u << 30) ? (size_t)1 << 30 : (size_t)bytes;
        const ssize_t done = pwrite(writer->fd, from, piece, (off_t)offset);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return cop_file_fail(err, writer->temp_path, "write");
        }
        from += done;
        offset += (uint64_t)done;
        bytes -= (uint64_t)done;
    }
    return COP_OK;
}

// --- Header -------------------------------------------------------------------------------------

// Fills begins; the sizes come from a program, but an overflow must not write over anything.
static cop_status lay_out(cop_safetensors_writer *writer, const cop_safetensors_entry *entries,
                          cop_error *err)
{
    uint64_t total = 0;
    for (int64_t i = 0; i < writer->count; i++) {
        uint64_t bytes = cop_dtype_bytes(entries[i].dtype);
        for (int d = 0; d < entries[i].rank; d++) {
            const uint64_t size = (uint64_t)entries[i].shape[d];
            if (entries[i].shape[d] < 0 || (size > 0 && bytes > (uint64_t)INT64_MAX / size)) {
                return COP_FAIL(err, COP_ERR_SHAPE, "%s: %s: shape is too large", writer->path,
                                entries[i].name);
            }
            bytes *= size;
        }
        if (bytes > (uint64_t)INT64_MAX - total) {
            return COP_FAIL(err, COP_ERR_SHAPE, "%s: %s: file is too large", writer->path,
                            entries[i].name);
        }
        writer->begins[i] = total;
        total += bytes;
    }
    writer->begins[writer->count] = total;
    writer->data_bytes = total;
    return COP_OK;
}

static json_t *entry_json(const cop_safetensors_entry *entry, uint64_t begin, uint64_t end)
{
    json_t *shape = json_array();
    for (int d = 0; d < entry->rank; d++) {
        if (json_array_append_new(shape, json_integer(entry->shape[d])) != 0) {
            json_decref(shape);
            return NULL;
        }
    }
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", cop_safetensors_dtype_name(entry->dtype),
                     "shape", shape, "data_offsets", (json_int_t)begin, (json_int_t)end);
}

static cop_status make_header(json_t **out, const cop_safetensors_writer *writer,
                              const cop_safetensors_entry *entries, const char *const *metadata,
                              cop_error *err)
{
    json_t *header = json_object();
    bool is_broken = header == NULL;
    bool is_repeated = false;

    if (metadata != NULL) {
        json_t *texts = json_object();
        for (size_t i = 0; metadata[i] != NULL; i += 2) {
            is_broken |= json_object_set_new(texts, metadata[i], json_string(metadata[i + 1])) != 0;
        }
        is_broken |= json_object_set_new(header, "__metadata__", texts) != 0;
    }
    for (int64_t i = 0; i < writer->count && !is_broken && !is_repeated; i++) {
        is_repeated = json_object_get(header, entries[i].name) != NULL;
        is_broken = json_object_set_new(
                        header, entries[i].name,
                        entry_json(&entries[i], writer->begins[i], writer->begins[i + 1])) != 0;
    }
    if (is_broken || is_repeated) {
        json_decref(header);
        return is_repeated
                   ? COP_FAIL(err, COP_ERR_SHAPE, "%s: two tensors have one name", writer->path)
                   : COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory for its header", writer->path);
    }
    *out = header;
    return COP_OK;
}

// Length, JSON, and spaces up to a multiple of 8, so that the data is aligned in a mapping.
static cop_status write_header(cop_safetensors_writer *writer, const char *json, cop_error *err)
{
    static const char spaces[8] = "       ";
    const uint64_t json_bytes = strlen(json);
    const uint64_t padding = (8 - json_bytes % 8) % 8;
    unsigned char length[8];
    cop_status status = COP_OK;

    for (int i = 0; i < 8; i++) {
        length[i] = (unsigned char)((json_bytes + padding) >> (8 * i));
    }
    writer->header_bytes = 8 + json_bytes + padding;
    COP_TRY(status, write_at(writer, length, 8, 0, err));
    COP_TRY(status, write_at(writer, json, json_bytes, 8, err));
    COP_TRY(status, write_at(writer, spaces, padding, 8 + json_bytes, err));

done:
    return status;
}

// --- Life cycle ---------------------------------------------------------------------------------

cop_status cop_safetensors_writer_create(cop_safetensors_writer **out, const char *path,
                                         const cop_safetensors_entry *entries, int64_t count,
                                         const char *const *metadata, cop_error *err)
{
    json_t *header = NULL;
    char *json = NULL;
    cop_text temp_path = {0};
    cop_status status = COP_OK;
    cop_safetensors_writer *writer = cop_alloc(1, sizeof *writer);

    *out = NULL;
    if (writer == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to write it", path);
    }
    writer->fd = -1;
    writer->count = count;
    cop_text_appendf(&temp_path, "%s.tmp.%ld", path, (long)getpid());
    COP_TRY(status, cop_text_check(&temp_path, path, err));
    writer->path = cop_alloc_string(path);
    writer->begins = cop_alloc((size_t)count + 1, sizeof *writer->begins);
    writer->temp_path = cop_alloc_string(cop_text_view(&temp_path));
    if (writer->path == NULL || writer->begins == NULL || writer->temp_path == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to write it", path);
        goto done;
    }
    COP_TRY(status, lay_out(writer, entries, err));
    COP_TRY(status, make_header(&header, writer, entries, metadata, err));
    COP_TRY(status, cop_json_text(&json, header, 0, err));
    writer->fd = open(writer->temp_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (writer->fd < 0) {
        status = cop_file_fail(err, writer->temp_path, "create");
        goto done;
    }
    // A full disk shows now and not after an hour of work.
    COP_TRY(status, cop_file_reserve(writer->fd, writer->temp_path,
                                     8 + strlen(json) + writer->data_bytes, err));
    COP_TRY(status, write_header(writer, json, err));
    *out = writer;
    writer = NULL;

done:
    cop_safetensors_writer_destroy(writer);
    cop_text_release(&temp_path);
    cop_free(json);
    json_decref(header);
    return status;
}

void cop_safetensors_writer_destroy(cop_safetensors_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    if (writer->fd >= 0) {
        (void)close(writer->fd); // the file is thrown away
        (void)unlink(writer->temp_path);
    }
    cop_free(writer->begins);
    cop_free(writer->temp_path);
    cop_free(writer->path);
    cop_free(writer);
}

// --- Data ---------------------------------------------------------------------------------------

cop_status cop_safetensors_writer_put(cop_safetensors_writer *writer, const void *data,
                                      uint64_t bytes, cop_error *err)
{
    cop_status status = COP_OK;

    if (bytes > writer->data_bytes - writer->written_bytes) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "%s: %" PRIu64 " bytes more than the %" PRIu64 " that were declared",
                        writer->path, bytes - (writer->data_bytes - writer->written_bytes),
                        writer->data_bytes);
    }
    COP_TRY(status,
            write_at(writer, data, bytes, writer->header_bytes + writer->written_bytes, err));
    writer->written_bytes += bytes;

done:
    return status;
}

cop_status cop_safetensors_writer_put_at(cop_safetensors_writer *writer, int64_t index,
                                         uint64_t offset, const void *data, uint64_t bytes,
                                         cop_error *err)
{
    cop_status status = COP_OK;
    const uint64_t tensor_bytes =
        index < 0 || index >= writer->count ? 0 : writer->begins[index + 1] - writer->begins[index];

    if (offset > tensor_bytes || bytes > tensor_bytes - offset) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "%s: bytes %" PRIu64 "..%" PRIu64 " of tensor %" PRId64
                        " (allowed: 0..%" PRIu64 ")",
                        writer->path, offset, offset + bytes, index, tensor_bytes);
    }
    COP_TRY(status, write_at(writer, data, bytes,
                             writer->header_bytes + writer->begins[index] + offset, err));
    writer->written_bytes += bytes;

done:
    return status;
}

cop_status cop_safetensors_writer_commit(cop_safetensors_writer *writer, cop_error *err)
{
    cop_status status = COP_OK;

    if (writer->written_bytes != writer->data_bytes) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "%s: %" PRIu64 " bytes of data were written (allowed: %" PRIu64 ")",
                        writer->path, writer->written_bytes, writer->data_bytes);
    }
    const int fd = writer->fd;
    writer->fd = -1;
    if (close(fd) != 0) {
        status = cop_file_fail(err, writer->temp_path, "write");
    } else {
        status = cop_file_publish(writer->path, writer->temp_path, err);
    }
    if (status != COP_OK) {
        (void)unlink(writer->temp_path); // the first failure is the one to report
    }
    return status;
}
