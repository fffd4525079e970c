#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "model/arch_json.h"
#include "model/checkpoint.h"
#include "model/checkpoint_files.h"
#include "model/safetensors.h"

enum { PIECE_BYTES = 1 << 20 };

#define SHARD_BYTES_DEFAULT 5000000000u

typedef struct out_shard {
    char *name; // owned, "model-00001-of-00003.safetensors"
    cop_safetensors_writer *file;
} out_shard;

// Where a tensor goes.
typedef struct out_place {
    int64_t shard;
    int64_t entry;
    int64_t rows_written;
} out_place;

struct cop_checkpoint_writer {
    char *path;      // owned, without trailing slashes
    char *temp_path; // owned; exists while not NULL
    cop_arch arch;
    cop_dtype dtype;
    bool force;
    out_shard *shards; // owned, [shard_count]
    int64_t shard_count;
    out_place *places; // owned, [tensor_count]
    int64_t tensor_count;
    void *buffer; // owned, PIECE_BYTES
};

static cop_status fail_memory(const char *path, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to write it", path);
}

static uint64_t tensor_bytes(const cop_checkpoint_writer *writer, const cop_tensor_spec *spec)
{
    return (uint64_t)spec->shape[0] * (uint64_t)spec->shape[1] * cop_dtype_bytes(writer->dtype);
}

// --- Index --------------------------------------------------------------------------------------

static cop_status write_index(const cop_checkpoint_writer *writer, cop_error *err)
{
    char *path = cop_file_join(writer->temp_path, "model.safetensors.index.json");
    json_t *map = json_object();
    json_t *index = NULL;
    uint64_t total = 0;
    bool is_broken = path == NULL || map == NULL;
    cop_status status = COP_OK;

    for (int64_t i = 0; i < writer->tensor_count && !is_broken; i++) {
        const cop_tensor_spec spec = cop_arch_tensor(&writer->arch, i);
        total += tensor_bytes(writer, &spec);
        is_broken =
            json_object_set_new(map, spec.name,
                                json_string(writer->shards[writer->places[i].shard].name)) != 0;
    }
    // json_pack's "O" leaves us our own reference, whether it fails or not.
    index = is_broken ? NULL
                      : json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)total,
                                  "weight_map", map);
    if (index == NULL) {
        status = fail_memory(writer->path, err);
        goto done;
    }
    COP_TRY(status, cop_json_write(index, path, err));

done:
    json_decref(index);
    json_decref(map);
    cop_free(path);
    return status;
}

// --- Shards -------------------------------------------------------------------------------------

// Gives every tensor its shard, in canonical order, each shard at most `shard_bytes` long unless one
// tensor alone is longer.
static void assign_shards(cop_checkpoint_writer *writer, uint64_t shard_bytes)
{
    uint64_t used = 0;
    int64_t entry = 0;

    writer->shard_count = 1;
    for (int64_t i = 0; i < writer->tensor_count; i++) {
        const cop_tensor_spec spec = cop_arch_tensor(&writer->arch, i);
        const uint64_t bytes = tensor_bytes(writer, &spec);
        if (entry > 0 && (bytes > shard_bytes || used > shard_bytes - bytes)) {
            writer->shard_count++;
            used = 0;
            entry = 0;
        }
        writer->places[i] = (out_place){.shard = writer->shard_count - 1, .entry = entry++};
        used += bytes;
    }
}

static char *shard_name(int64_t index, int64_t count)
{
    char name[96];
    if (count == 1) {
        return cop_alloc_string("model.safetensors");
    }
    (void)snprintf(name, sizeof name, "model-%05" PRId64 "-of-%05" PRId64 ".safetensors", index + 1,
                   count);
    return cop_alloc_string(name);
}

static cop_status create_shard(cop_checkpoint_writer *writer, int64_t index, int64_t first,
                               int64_t count, const char *provenance, cop_error *err)
{
    out_shard *shard = &writer->shards[index];
    const char *const metadata[] = {"format", "pt", provenance == NULL ? NULL : "coppice",
                                    provenance, NULL};
    cop_tensor_spec *specs = cop_alloc((size_t)count, sizeof *specs);
    cop_safetensors_entry *entries = cop_alloc((size_t)count, sizeof *entries);
    char *path = NULL;
    cop_status status = COP_OK;

    shard->name = shard_name(index, writer->shard_count);
    if (shard->name != NULL) {
        path = cop_file_join(writer->temp_path, shard->name);
    }
    if (specs == NULL || entries == NULL || path == NULL) {
        status = fail_memory(writer->path, err);
        goto done;
    }
    for (int64_t i = 0; i < count; i++) {
        specs[i] = cop_arch_tensor(&writer->arch, first + i);
        entries[i] = (cop_safetensors_entry){.name = specs[i].name,
                                             .dtype = writer->dtype,
                                             .rank = specs[i].rank,
                                             .shape = {specs[i].shape[0], specs[i].shape[1]}};
    }
    COP_TRY(status,
            cop_safetensors_writer_create(&shard->file, path, entries, count, metadata, err));

done:
    cop_free(specs);
    cop_free(entries);
    cop_free(path);
    return status;
}

static cop_status create_shards(cop_checkpoint_writer *writer, const char *provenance,
                                cop_error *err)
{
    cop_status status = COP_OK;
    int64_t first = 0;

    writer->shards = cop_alloc((size_t)writer->shard_count, sizeof *writer->shards);
    if (writer->shards == NULL) {
        return fail_memory(writer->path, err);
    }
    for (int64_t shard = 0; shard < writer->shard_count; shard++) {
        int64_t end = first;
        while (end < writer->tensor_count && writer->places[end].shard == shard) {
            end++;
        }
        COP_TRY(status, create_shard(writer, shard, first, end - first, provenance, err));
        first = end;
    }

done:
    return status;
}

// --- Life cycle ---------------------------------------------------------------------------------

static cop_status check_options(const char *directory, const cop_checkpoint_options *options,
                                cop_error *err)
{
    if (options->dtype != COP_F32 && options->dtype != COP_BF16 && options->dtype != COP_F16) {
        return COP_FAIL(err, COP_ERR_CONFIG, "%s: element type is %s (allowed: f32, bf16, f16)",
                        directory, cop_dtype_name(options->dtype));
    }
    return cop_file_check_absent(directory, options->force, err);
}

// The temporary directory lies beside the target: "out/" must not put it inside.
static cop_status set_paths(cop_checkpoint_writer *writer, const char *directory, cop_error *err)
{
    cop_text temp_path = {0};
    size_t length = strlen(directory);
    cop_status status = COP_OK;

    writer->path = cop_alloc_string(directory);
    if (writer->path == NULL) {
        return fail_memory(directory, err);
    }
    while (length > 1 && writer->path[length - 1] == '/') {
        writer->path[--length] = '\0';
    }
    cop_text_appendf(&temp_path, "%s.tmp.%ld", writer->path, (long)getpid());
    char *path = temp_path.is_broken ? NULL : cop_alloc_string(cop_text_view(&temp_path));
    cop_text_release(&temp_path);
    if (path == NULL) {
        return fail_memory(directory, err);
    }
    // What a killed process with the same number left behind.
    status = cop_file_remove_tree(path, err);
    if (status == COP_OK) {
        status = cop_file_make_directory(path, err);
    }
    if (status != COP_OK) {
        cop_free(path);
        return status;
    }
    writer->temp_path = path;
    return COP_OK;
}

cop_status cop_checkpoint_writer_create(cop_checkpoint_writer **out, const char *directory,
                                        const cop_arch *arch, const cop_checkpoint_options *options,
                                        cop_error *err)
{
    cop_status status = COP_OK;
    cop_checkpoint_writer *writer = NULL;

    *out = NULL;
    COP_TRY(status, check_options(directory, options, err));
    COP_TRY(status, cop_arch_check(arch, directory, err));
    if (!cop_arch_is_portable(arch)) {
        cop_log(COP_LOG_WARNING,
                "%s: hidden %" PRId64 " is no multiple of %" PRId64 " heads: transformers 4 loads "
                "this shape, transformers 5 refuses it",
                directory, arch->hidden, arch->layer[0].heads);
    }
    writer = cop_alloc(1, sizeof *writer);
    if (writer == NULL) {
        status = fail_memory(directory, err);
        goto done;
    }
    writer->arch = *arch;
    writer->dtype = options->dtype;
    writer->force = options->force;
    writer->tensor_count = cop_arch_tensor_count(arch);
    writer->places = cop_alloc((size_t)writer->tensor_count, sizeof *writer->places);
    writer->buffer = cop_alloc(PIECE_BYTES, 1);
    if (writer->places == NULL || writer->buffer == NULL) {
        status = fail_memory(directory, err);
        goto done;
    }
    COP_TRY(status, set_paths(writer, directory, err));
    COP_TRY(status, cop_checkpoint_write_config(writer->temp_path, arch, options->dtype,
                                                options->base, err));
    COP_TRY(status, cop_checkpoint_carry_over(writer->temp_path, options->base, err));
    assign_shards(writer, options->shard_bytes > 0 ? options->shard_bytes : SHARD_BYTES_DEFAULT);
    COP_TRY(status, create_shards(writer, options->provenance, err));
    *out = writer;
    writer = NULL;

done:
    cop_checkpoint_writer_destroy(writer);
    return status;
}

void cop_checkpoint_writer_destroy(cop_checkpoint_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    for (int64_t i = 0; writer->shards != NULL && i < writer->shard_count; i++) {
        cop_safetensors_writer_destroy(writer->shards[i].file);
        cop_free(writer->shards[i].name);
    }
    if (writer->temp_path != NULL) {
        // The caller has an error of its own to report, or asked for the removal.
        if (cop_file_remove_tree(writer->temp_path, NULL) != COP_OK) {
            cop_log(COP_LOG_WARNING, "%s: could not be removed", writer->temp_path);
        }
    }
    cop_free(writer->shards);
    cop_free(writer->places);
    cop_free(writer->buffer);
    cop_free(writer->temp_path);
    cop_free(writer->path);
    cop_free(writer);
}

// --- Data ---------------------------------------------------------------------------------------

static cop_status put_converted(cop_checkpoint_writer *writer, int64_t index, cop_dtype dtype,
                                uint64_t begin, const void *data, uint64_t elements, cop_error *err)
{
    const out_place *to = &writer->places[index];
    const size_t from_bytes = cop_dtype_bytes(dtype);
    const size_t to_bytes = cop_dtype_bytes(writer->dtype);
    const uint64_t step = PIECE_BYTES / to_bytes;
    cop_status status = COP_OK;

    for (uint64_t first = 0; first < elements; first += step) {
        const size_t piece = (size_t)(elements - first < step ? elements - first : step);
        cop_dtype_convert(writer->buffer, writer->dtype,
                          (const unsigned char *)data + first * from_bytes, dtype, piece);
        COP_TRY(status, cop_safetensors_writer_put_at(writer->shards[to->shard].file, to->entry,
                                                      (begin + first) * to_bytes, writer->buffer,
                                                      piece * to_bytes, err));
    }

done:
    return status;
}

static cop_status put_rows(cop_checkpoint_writer *writer, int64_t index, cop_dtype dtype,
                           int64_t first_row, int64_t rows, const void *data, cop_error *err)
{
    cop_status status = COP_OK;
    const cop_tensor_spec spec = cop_arch_tensor(&writer->arch, index);
    out_place *to = &writer->places[index];

    if (to->rows_written >= spec.shape[0]) {
        return COP_FAIL(err, COP_ERR_SHAPE, "%s: %s: was written already", writer->path, spec.name);
    }
    if (first_row != to->rows_written || rows < 1 || rows > spec.shape[0] - first_row) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "%s: %s: %" PRId64 " rows from row %" PRId64 " (allowed: from row %" PRId64
                        ", up to row %" PRId64 ")",
                        writer->path, spec.name, rows, first_row, to->rows_written, spec.shape[0]);
    }
    if (dtype != COP_F32 && dtype != COP_BF16 && dtype != COP_F64 && dtype != COP_F16) {
        return COP_FAIL(err, COP_ERR_SHAPE,
                        "%s: %s: element type is %s (allowed: f64, f32, bf16, "
                        "f16)",
                        writer->path, spec.name, cop_dtype_name(dtype));
    }
    const uint64_t begin = (uint64_t)first_row * (uint64_t)spec.shape[1];
    const uint64_t elements = (uint64_t)rows * (uint64_t)spec.shape[1];
    const size_t element_bytes = cop_dtype_bytes(dtype);
    if (dtype == writer->dtype) {
        status = cop_safetensors_writer_put_at(writer->shards[to->shard].file, to->entry,
                                               begin * element_bytes, data,
                                               elements * element_bytes, err);
    } else {
        status = put_converted(writer, index, dtype, begin, data, elements, err);
    }
    if (status == COP_OK) {
        to->rows_written += rows;
    }
    return status;
}

static cop_status check_index(const cop_checkpoint_writer *writer, int64_t index, cop_error *err)
{
    if (index < 0 || index >= writer->tensor_count) {
        return COP_FAIL(err, COP_ERR_SHAPE, "%s: tensor %" PRId64 " (allowed: 0..%" PRId64 ")",
                        writer->path, index, writer->tensor_count - 1);
    }
    return COP_OK;
}

cop_status cop_checkpoint_writer_put(cop_checkpoint_writer *writer, int64_t index, cop_dtype dtype,
                                     const void *data, cop_error *err)
{
    cop_status status = check_index(writer, index, err);
    if (status == COP_OK) {
        const int64_t rows = cop_arch_tensor(&writer->arch, index).shape[0];
        status = put_rows(writer, index, dtype, 0, rows, data, err);
    }
    return status;
}

static cop_status sink_put(void *context, int64_t index, cop_dtype dtype, const void *data,
                           cop_error *err)
{
    return cop_checkpoint_writer_put(context, index, dtype, data, err);
}

static cop_status sink_put_rows(void *context, int64_t index, cop_dtype dtype, int64_t first_row,
                                int64_t rows, const void *data, cop_error *err)
{
    const cop_status status = check_index(context, index, err);
    return status != COP_OK ? status : put_rows(context, index, dtype, first_row, rows, data, err);
}

cop_tensor_sink cop_checkpoint_writer_sink(cop_checkpoint_writer *writer)
{
    return (cop_tensor_sink){.context = writer, .put = sink_put, .put_rows = sink_put_rows};
}

cop_status cop_checkpoint_writer_file(cop_checkpoint_writer *writer, const char *name,
                                      const void *data, size_t bytes, cop_error *err)
{
    if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "%s: file '%.64s' (allowed: a plain name without a folder)", writer->path,
                        name);
    }
    char *path = cop_file_join(writer->temp_path, name);
    if (path == NULL) {
        return fail_memory(writer->path, err);
    }
    const cop_status status = cop_file_write(path, data, bytes, err);
    cop_free(path);
    return status;
}

const char *cop_checkpoint_writer_path(const cop_checkpoint_writer *writer)
{
    return writer->temp_path;
}

cop_status cop_checkpoint_writer_commit(cop_checkpoint_writer *writer, cop_error *err)
{
    cop_status status = COP_OK;

    for (int64_t i = 0; i < writer->tensor_count; i++) {
        const cop_tensor_spec spec = cop_arch_tensor(&writer->arch, i);
        if (writer->places[i].rows_written < spec.shape[0]) {
            return COP_FAIL(err, COP_ERR_SHAPE, "%s: %s: was never written", writer->path,
                            spec.name);
        }
    }
    for (int64_t i = 0; i < writer->shard_count; i++) {
        COP_TRY(status, cop_safetensors_writer_commit(writer->shards[i].file, err));
    }
    if (writer->shard_count > 1) {
        COP_TRY(status, write_index(writer, err));
    }
    COP_TRY(status, cop_file_sync(writer->temp_path, err));
    // Somebody may have made the target in the meantime.
    COP_TRY(status, cop_file_check_absent(writer->path, writer->force, err));
    COP_TRY(status, cop_file_replace_directory(writer->path, writer->temp_path, err));
    cop_free(writer->temp_path);
    writer->temp_path = NULL;

done:
    return status;
}
