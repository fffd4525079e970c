#include "model/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "model/arch_json.h"
#include "model/safetensors.h"

enum { INDEX_BYTES_MAX = 64 << 20, SHARDS_MAX = 10000, PIECE_BYTES = 16 << 20 };

// Where a tensor of the architecture lies.
typedef struct place {
    int64_t shard; // -1: not found yet
    int64_t entry;
} place;

typedef struct shard {
    char *path; // owned
    cop_safetensors *file;
} shard;

typedef struct hash_cache {
    bool is_known;
    cop_hash value;
} hash_cache;

// The shard that is open for pread().
typedef struct open_shard {
    int64_t shard; // -1: none
    int file;
} open_shard;

struct cop_checkpoint {
    char *path; // owned
    cop_arch arch;
    shard *shards; // owned, [shard_count]
    int64_t shard_count;
    place *places; // owned, [tensor_count]
    int64_t tensor_count;
    hash_cache *hash; // owned; written through a const checkpoint
    open_shard *open; // owned; likewise
};

// --- Opening ------------------------------------------------------------------------------------

// Tensors that some exporters add and that carry nothing: they follow from config.json.
static bool is_redundant(const cop_arch *arch, const char *name)
{
    static const char suffix[] = ".rotary_emb.inv_freq";
    const size_t length = strlen(name);
    const size_t suffix_length = sizeof suffix - 1;

    if (length > suffix_length && strcmp(name + length - suffix_length, suffix) == 0) {
        return true;
    }
    return arch->is_tied && strcmp(name, "lm_head.weight") == 0;
}

static bool is_float(cop_dtype dtype)
{
    return dtype == COP_F32 || dtype == COP_BF16 || dtype == COP_F16 || dtype == COP_F64;
}

static cop_status check_tensor(const cop_arch *arch, int64_t index,
                               const cop_safetensors_entry *entry, const char *path, cop_error *err)
{
    const cop_tensor_spec spec = cop_arch_tensor(arch, index);

    if (!is_float(entry->dtype)) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: %s: dtype is %s (allowed: f32, bf16, f16, f64)",
                        path, entry->name, cop_dtype_name(entry->dtype));
    }
    if (entry->rank == spec.rank && entry->shape[0] == spec.shape[0] &&
        (spec.rank == 1 || entry->shape[1] == spec.shape[1])) {
        return COP_OK;
    }
    char found[64] = "a scalar";
    char wanted[64];
    if (entry->rank == 1) {
        (void)snprintf(found, sizeof found, "[%" PRId64 "]", entry->shape[0]);
    } else if (entry->rank >= 2) {
        (void)snprintf(found, sizeof found, "[%" PRId64 ", %" PRId64 "%s]", entry->shape[0],
                       entry->shape[1], entry->rank > 2 ? ", ..." : "");
    }
    if (spec.rank == 1) {
        (void)snprintf(wanted, sizeof wanted, "[%" PRId64 "]", spec.shape[0]);
    } else {
        (void)snprintf(wanted, sizeof wanted, "[%" PRId64 ", %" PRId64 "]", spec.shape[0],
                       spec.shape[1]);
    }
    return COP_FAIL(err, COP_ERR_FORMAT,
                    "%s: %s: shape is %s (allowed: %s, which follows from config.json)", path,
                    entry->name, found, wanted);
}

static cop_status place_tensors(cop_checkpoint *checkpoint, int64_t shard_index, cop_error *err)
{
    const shard *from = &checkpoint->shards[shard_index];
    cop_status status = COP_OK;

    for (int64_t i = 0; i < cop_safetensors_count(from->file); i++) {
        const cop_safetensors_entry entry = cop_safetensors_at(from->file, i);
        const int64_t index = cop_arch_find_name(&checkpoint->arch, entry.name);
        if (index < 0 && is_redundant(&checkpoint->arch, entry.name)) {
            continue;
        }
        if (index < 0) {
            status = COP_FAIL(err, COP_ERR_FORMAT,
                              "%s: %s: the architecture in config.json has no such tensor",
                              from->path, entry.name);
            goto done;
        }
        if (checkpoint->places[index].shard >= 0) {
            status = COP_FAIL(err, COP_ERR_FORMAT, "%s: %s: lies in %s as well", from->path,
                              entry.name, checkpoint->shards[checkpoint->places[index].shard].path);
            goto done;
        }
        COP_TRY(status, check_tensor(&checkpoint->arch, index, &entry, from->path, err));
        checkpoint->places[index] = (place){.shard = shard_index, .entry = i};
    }

done:
    return status;
}

static cop_status add_shard(cop_checkpoint *checkpoint, const char *name, cop_error *err)
{
    shard *added = &checkpoint->shards[checkpoint->shard_count];
    cop_status status = COP_OK;

    added->path = cop_file_join(checkpoint->path, name);
    if (added->path == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to open %s", checkpoint->path, name);
    }
    checkpoint->shard_count++;
    COP_TRY(status, cop_safetensors_open(&added->file, added->path, err));
    COP_TRY(status, place_tensors(checkpoint, checkpoint->shard_count - 1, err));

done:
    return status;
}

static cop_status make_shards(cop_checkpoint *checkpoint, size_t count, cop_error *err)
{
    checkpoint->shards = cop_alloc(count, sizeof *checkpoint->shards);
    if (checkpoint->shards == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory for %zu shards", checkpoint->path,
                        count);
    }
    return COP_OK;
}

static int64_t find_shard(const cop_checkpoint *checkpoint, const char *name)
{
    for (int64_t i = 0; i < checkpoint->shard_count; i++) {
        if (strcmp(cop_file_name(checkpoint->shards[i].path), name) == 0) {
            return i;
        }
    }
    return -1;
}

// The index may name files beside it only, and must agree with what lies in them.
static cop_status open_indexed(cop_checkpoint *checkpoint, json_t *map, const char *index_path,
                               cop_error *err)
{
    const size_t names = json_object_size(map);
    cop_status status = COP_OK;

    COP_TRY(status, make_shards(checkpoint, names < SHARDS_MAX ? names + 1 : SHARDS_MAX, err));
    for (void *at = json_object_iter(map); at != NULL; at = json_object_iter_next(map, at)) {
        const char *name = json_object_iter_key(at);
        const char *file = json_string_value(json_object_iter_value(at));
        if (file == NULL || file[0] == '\0' || strchr(file, '/') != NULL || file[0] == '.') {
            status = COP_FAIL(err, COP_ERR_FORMAT,
                              "%s: weight_map: %.96s: file is '%.96s' (allowed: the name of a file "
                              "beside it)",
                              index_path, name, file == NULL ? "" : file);
            goto done;
        }
        int64_t from = find_shard(checkpoint, file);
        if (from < 0 && checkpoint->shard_count == SHARDS_MAX) {
            status = COP_FAIL(err, COP_ERR_FORMAT, "%s: names more than %d files", index_path,
                              (int)SHARDS_MAX);
            goto done;
        }
        if (from < 0) {
            from = checkpoint->shard_count;
            COP_TRY(status, add_shard(checkpoint, file, err));
        }
        if (cop_safetensors_find(checkpoint->shards[from].file, name) < 0) {
            status = COP_FAIL(err, COP_ERR_FORMAT,
                              "%s: weight_map: %.96s: is not in %s, where it should be", index_path,
                              name, file);
            goto done;
        }
    }

done:
    return status;
}

static cop_status open_index(cop_checkpoint *checkpoint, const char *index_path, cop_error *err)
{
    json_t *index = NULL;
    json_t *map = NULL;
    cop_status status = COP_OK;

    COP_TRY(status, cop_json_read(&index, index_path, INDEX_BYTES_MAX, err));
    map = json_object_get(index, "weight_map");
    if (!json_is_object(map)) {
        status = COP_FAIL(
            err, COP_ERR_FORMAT,
            "%s: weight_map is missing (allowed: an object of tensor names and files)", index_path);
        goto done;
    }
    COP_TRY(status, open_indexed(checkpoint, map, index_path, err));

done:
    json_decref(index);
    return status;
}

static cop_status open_weights(cop_checkpoint *checkpoint, cop_error *err)
{
    char *single = cop_file_join(checkpoint->path, "model.safetensors");
    char *index = cop_file_join(checkpoint->path, "model.safetensors.index.json");
    cop_status status = COP_OK;

    if (single == NULL || index == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to open it", checkpoint->path);
        goto done;
    }
    if (cop_file_exists(single)) {
        COP_TRY(status, make_shards(checkpoint, 1, err));
        COP_TRY(status, add_shard(checkpoint, "model.safetensors", err));
    } else if (cop_file_exists(index)) {
        COP_TRY(status, open_index(checkpoint, index, err));
    } else {
        status = COP_FAIL(err, COP_ERR_IO,
                          "%s: holds no weights (allowed: model.safetensors, or "
                          "model.safetensors.index.json with its files)",
                          checkpoint->path);
        goto done;
    }
    for (int64_t i = 0; i < checkpoint->tensor_count; i++) {
        if (checkpoint->places[i].shard < 0) {
            const cop_tensor_spec spec = cop_arch_tensor(&checkpoint->arch, i);
            status =
                COP_FAIL(err, COP_ERR_FORMAT, "%s: %s: is missing", checkpoint->path, spec.name);
            goto done;
        }
    }

done:
    cop_free(single);
    cop_free(index);
    return status;
}

cop_status cop_checkpoint_open(cop_checkpoint **out, const char *directory, cop_error *err)
{
    cop_status status = COP_OK;
    cop_checkpoint *checkpoint = NULL;

    *out = NULL;
    if (!cop_file_is_directory(directory)) {
        return COP_FAIL(err, COP_ERR_IO, "%s: is no directory (allowed: a model directory)",
                        directory);
    }
    checkpoint = cop_alloc(1, sizeof *checkpoint);
    if (checkpoint == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to open it", directory);
    }
    COP_TRY(status, cop_arch_read(&checkpoint->arch, directory, err));
    checkpoint->tensor_count = cop_arch_tensor_count(&checkpoint->arch);
    checkpoint->path = cop_alloc_string(directory);
    checkpoint->hash = cop_alloc(1, sizeof *checkpoint->hash);
    checkpoint->open = cop_alloc(1, sizeof *checkpoint->open);
    checkpoint->places = cop_alloc((size_t)checkpoint->tensor_count, sizeof *checkpoint->places);
    if (checkpoint->path == NULL || checkpoint->hash == NULL || checkpoint->open == NULL ||
        checkpoint->places == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to open it", directory);
        goto done;
    }
    *checkpoint->open = (open_shard){.shard = -1, .file = -1};
    for (int64_t i = 0; i < checkpoint->tensor_count; i++) {
        checkpoint->places[i].shard = -1;
    }
    COP_TRY(status, open_weights(checkpoint, err));
    *out = checkpoint;
    checkpoint = NULL;

done:
    cop_checkpoint_destroy(checkpoint);
    return status;
}

void cop_checkpoint_destroy(cop_checkpoint *checkpoint)
{
    if (checkpoint == NULL) {
        return;
    }
    for (int64_t i = 0; i < checkpoint->shard_count; i++) {
        cop_safetensors_destroy(checkpoint->shards[i].file);
        cop_free(checkpoint->shards[i].path);
    }
    cop_free(checkpoint->shards);
    cop_free(checkpoint->places);
    if (checkpoint->open != NULL && checkpoint->open->shard >= 0) {
        (void)close(checkpoint->open->file);
    }
    cop_free(checkpoint->open);
    cop_free(checkpoint->hash);
    cop_free(checkpoint->path);
    cop_free(checkpoint);
}

const cop_arch *cop_checkpoint_arch(const cop_checkpoint *checkpoint)
{
    return &checkpoint->arch;
}

const char *cop_checkpoint_path(const cop_checkpoint *checkpoint)
{
    return checkpoint->path;
}

// --- Reading ------------------------------------------------------------------------------------

static cop_safetensors_entry entry_of(const cop_checkpoint *checkpoint, int64_t index)
{
    const place at = checkpoint->places[index];
    return cop_safetensors_at(checkpoint->shards[at.shard].file, at.entry);
}

void cop_checkpoint_forget(const cop_checkpoint *checkpoint, int64_t index, uint64_t offset,
                           uint64_t bytes)
{
    const place at = checkpoint->places[index];
    cop_safetensors_forget_range(checkpoint->shards[at.shard].file, at.entry, offset, bytes);
}

cop_dtype cop_checkpoint_dtype(const cop_checkpoint *checkpoint)
{
    return entry_of(checkpoint, 0).dtype;
}

const void *cop_checkpoint_view(const cop_checkpoint *checkpoint, int64_t index, cop_dtype *dtype)
{
    const cop_safetensors_entry entry = entry_of(checkpoint, index);
    *dtype = entry.dtype;
    return entry.data;
}

cop_status cop_checkpoint_locate(const cop_checkpoint *checkpoint, int64_t index,
                                 cop_tensor_location *out, cop_error *err)
{
    cop_status status = COP_OK;
    open_shard *open = checkpoint->open;

    if (index < 0 || index >= checkpoint->tensor_count) {
        return COP_FAIL(err, COP_ERR_SHAPE, "%s: tensor %" PRId64 " (allowed: 0..%" PRId64 ")",
                        checkpoint->path, index, checkpoint->tensor_count - 1);
    }
    const place at = checkpoint->places[index];
    const shard *from = &checkpoint->shards[at.shard];
    const cop_safetensors_entry entry = entry_of(checkpoint, index);
    if (open->shard != at.shard) {
        int file = -1;
        COP_TRY(status, cop_safetensors_reopen(from->file, &file, from->path, err));
        if (open->shard >= 0) {
            (void)close(open->file); // read-only: nothing can be lost
        }
        *open = (open_shard){.shard = at.shard, .file = file};
    }
    *out = (cop_tensor_location){.file = open->file,
                                 .path = from->path,
                                 .offset = cop_safetensors_offset(from->file, at.entry),
                                 .bytes = entry.bytes,
                                 .dtype = entry.dtype};

done:
    return status;
}

// Converts through an aligned buffer: the data of a file may begin at any byte.
static void convert_unaligned(void *to, cop_dtype to_dtype, const unsigned char *from,
                              cop_dtype from_dtype, size_t count)
{
    union {
        double aligned;
        unsigned char bytes[8192];
    } buffer;

    const size_t from_bytes = cop_dtype_bytes(from_dtype);
    const size_t to_bytes = cop_dtype_bytes(to_dtype);
    const size_t step = sizeof buffer.bytes / from_bytes;

    for (size_t first = 0; first < count; first += step) {
        const size_t piece = count - first < step ? count - first : step;
        memcpy(buffer.bytes, from + first * from_bytes, piece * from_bytes);
        cop_dtype_convert((unsigned char *)to + first * to_bytes, to_dtype, buffer.bytes,
                          from_dtype, piece);
    }
}

cop_status cop_checkpoint_read(const cop_checkpoint *checkpoint, int64_t index, cop_dtype dtype,
                               void *data, cop_error *err)
{
    if (index < 0 || index >= checkpoint->tensor_count || !is_float(dtype)) {
        return COP_FAIL(
            err, COP_ERR_SHAPE,
            "%s: tensor %" PRId64 " as %s (allowed: 0..%" PRId64 ", as f32, f64 or bf16)",
            checkpoint->path, index, cop_dtype_name(dtype), checkpoint->tensor_count - 1);
    }
    const cop_safetensors_entry entry = entry_of(checkpoint, index);
    const size_t from_bytes = cop_dtype_bytes(entry.dtype);
    const size_t to_bytes = cop_dtype_bytes(dtype);

    for (uint64_t at = 0; at < entry.bytes; at += PIECE_BYTES) {
        const size_t bytes =
            entry.bytes - at < PIECE_BYTES ? (size_t)(entry.bytes - at) : (size_t)PIECE_BYTES;
        const unsigned char *from = (const unsigned char *)entry.data + at;
        unsigned char *to = (unsigned char *)data + at / from_bytes * to_bytes;
        if (entry.dtype == dtype) {
            memcpy(to, from, bytes);
        } else {
            convert_unaligned(to, dtype, from, entry.dtype, bytes / from_bytes);
        }
        cop_checkpoint_forget(checkpoint, index, at, bytes);
    }
    return COP_OK;
}

static void hash_arch(cop_hasher *hasher, const cop_arch *arch)
{
    const cop_rope_settings *rope = &arch->rope;
    const int64_t integers[] = {arch->vocab,    arch->hidden,          arch->head_dim,
                                arch->layers,   (int64_t)arch->norm,   (int64_t)arch->activation,
                                arch->is_gated, arch->is_tied,         arch->attention_bias,
                                arch->mlp_bias, (int64_t)rope->scaling};
    const double reals[] = {arch->norm_eps, rope->theta, rope->partial};

    cop_hasher_add_text(hasher, cop_family_name(arch->family));
    for (size_t i = 0; i < sizeof integers / sizeof integers[0]; i++) {
        cop_hasher_add_i64(hasher, integers[i]);
    }
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        cop_hasher_add_f64(hasher, reals[i]);
    }
    if (rope->scaling != COP_ROPE_PLAIN) {
        cop_hasher_add_f64(hasher, rope->factor);
    }
    if (rope->scaling == COP_ROPE_LLAMA3) {
        cop_hasher_add_f64(hasher, rope->low_frequency_factor);
        cop_hasher_add_f64(hasher, rope->high_frequency_factor);
        cop_hasher_add_i64(hasher, rope->original_context);
    }
    for (int64_t i = 0; i < arch->layers; i++) {
        cop_hasher_add_i64(hasher, arch->layer[i].heads);
        cop_hasher_add_i64(hasher, arch->layer[i].kv_heads);
        cop_hasher_add_i64(hasher, arch->layer[i].ffn);
    }
}

cop_status cop_checkpoint_hash(const cop_checkpoint *checkpoint, cop_hash *out, cop_error *err)
{
    cop_hasher *hasher = NULL;
    cop_status status = COP_OK;

    if (checkpoint->hash->is_known) {
        *out = checkpoint->hash->value;
        return COP_OK;
    }
    COP_TRY(status, cop_hasher_create(&hasher, err));
    hash_arch(hasher, &checkpoint->arch);
    for (int64_t i = 0; i < checkpoint->tensor_count; i++) {
        const cop_safetensors_entry entry = entry_of(checkpoint, i);
        cop_hasher_add_text(hasher, cop_dtype_name(entry.dtype));
        for (uint64_t at = 0; at < entry.bytes; at += PIECE_BYTES) {
            const size_t bytes =
                entry.bytes - at < PIECE_BYTES ? (size_t)(entry.bytes - at) : (size_t)PIECE_BYTES;
            cop_hasher_add_bytes(hasher, (const unsigned char *)entry.data + at, bytes);
            cop_checkpoint_forget(checkpoint, i, at, bytes);
        }
    }
    checkpoint->hash->value = cop_hasher_value(hasher);
    checkpoint->hash->is_known = true;
    *out = checkpoint->hash->value;

done:
    cop_hasher_destroy(hasher);
    return status;
}
