// State of an optimizer on disk.

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/processes.h"
#include "base/text.h"
#include "model/optimizer_internal.h"
#include "model/safetensors.h"

// What is stored per tensor, in file order; frozen tensors have no moments.
typedef enum part { PART_PARAMETER = 0, PART_M, PART_V } part;

enum { PART_COUNT = 3, CHUNK_BYTES = 1 << 20, FORM_BYTES = 64 };

static const char *const PART_PREFIX[PART_COUNT] = {"parameter.", "m.", "v."};
static const char FORMAT_NAME[] = "coppice-optimizer-1";
static const char FROZEN[] = ", frozen vocabulary";

// "f32 masters, bf16 moments, frozen vocabulary": what two runs must share.
static const char *form_text(char out[FORM_BYTES], const cop_optimizer *optimizer)
{
    const cop_network *network = optimizer->network;
    (void)snprintf(out, FORM_BYTES, "%s masters, %s moments%s",
                   network->options.without_masters ? "no" : cop_dtype_name(network->wide),
                   cop_dtype_name(optimizer->moment),
                   network->options.freeze_vocabulary ? FROZEN : "");
    return out;
}

// Names of all entries and their declarations, for reading and writing.
typedef struct listing {
    int64_t count;
    int64_t *tensor;
    part *kind;
    char (*name)[COP_TENSOR_NAME_BYTES + 16];
    cop_safetensors_entry *entry;
} listing;

static void release_listing(listing *list)
{
    cop_free(list->tensor);
    cop_free(list->kind);
    cop_free(list->name);
    cop_free(list->entry);
    *list = (listing){0};
}

static bool is_frozen(const cop_network *network, int64_t tensor)
{
    return network->places[tensor].offset < network->frozen_elements;
}

static cop_share entry_share(const cop_optimizer *optimizer, const listing *list, int64_t index)
{
    const cop_place place = optimizer->network->places[list->tensor[index]];
    switch (list->kind[index]) {
    case PART_M: return cop_optimizer_share(optimizer, optimizer->m, place);
    case PART_V: return cop_optimizer_share(optimizer, optimizer->v, place);
    case PART_PARAMETER:
    default: return cop_network_best(optimizer->network, place);
    }
}

static void add_entry(listing *list, const cop_optimizer *optimizer, int64_t tensor, part kind)
{
    const int64_t i = list->count++;
    const cop_tensor_spec spec = cop_arch_tensor(&optimizer->network->arch, tensor);
    list->tensor[i] = tensor;
    list->kind[i] = kind;
    const cop_dtype dtype = entry_share(optimizer, list, i).dtype;
    (void)snprintf(list->name[i], sizeof list->name[i], "%s%s", PART_PREFIX[kind], spec.name);
    list->entry[i] = (cop_safetensors_entry){.name = list->name[i],
                                             .dtype = dtype,
                                             .rank = spec.rank,
                                             .shape = {spec.shape[0], spec.shape[1]},
                                             .bytes = (uint64_t)(spec.shape[0] * spec.shape[1]) *
                                                      cop_dtype_bytes(dtype)};
}

static cop_status list_entries(listing *list, const cop_optimizer *optimizer, cop_error *err)
{
    const cop_network *network = optimizer->network;
    const int64_t tensors = cop_arch_tensor_count(&network->arch);
    const size_t most = PART_COUNT * (size_t)tensors;
    list->tensor = cop_alloc(most, sizeof *list->tensor);
    list->kind = cop_alloc(most, sizeof *list->kind);
    list->name = cop_alloc(most, sizeof *list->name);
    list->entry = cop_alloc(most, sizeof *list->entry);
    if (list->tensor == NULL || list->kind == NULL || list->name == NULL || list->entry == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "optimizer: no memory to list its state");
    }
    for (int kind = 0; kind < PART_COUNT; kind++) {
        for (int64_t i = 0; i < tensors; i++) {
            if (kind == PART_PARAMETER || !is_frozen(network, i)) {
                add_entry(list, optimizer, i, (part)kind);
            }
        }
    }
    return COP_OK;
}

// `writer` NULL: another member of the group writes, this one brings its share.
static cop_status write_entry(cop_optimizer *optimizer, cop_safetensors_writer *writer,
                              const listing *list, int64_t index, void *chunk, cop_error *err)
{
    cop_status status = COP_OK;
    cop_status put = COP_OK;
    const cop_share share = entry_share(optimizer, list, index);
    const int64_t offset = optimizer->network->places[list->tensor[index]].offset;
    const int64_t width = (int64_t)cop_dtype_bytes(share.dtype);
    const int64_t count = (int64_t)list->entry[index].bytes / width;
    const int64_t most = CHUNK_BYTES / width;

    if (writer == NULL && !share.is_split) {
        return COP_OK;
    }
    for (int64_t done = 0; done < count; done += most) {
        const int64_t now = count - done < most ? count - done : most;
        COP_TRY(status, cop_share_read(optimizer->network, &share, offset + done, now, chunk, err));
        if (writer != NULL && put == COP_OK) { // the others are served after a failure, too
            put = cop_safetensors_writer_put(writer, chunk, (uint64_t)(now * width), err);
        }
    }
    status = put;

done:
    return status;
}

// Every member goes through all entries, whatever happens to the file.
static cop_status write_entries(cop_optimizer *optimizer, cop_safetensors_writer *writer,
                                const listing *list, void *chunk, cop_error *err)
{
    cop_status first = COP_OK;
    for (int64_t i = 0; i < list->count; i++) {
        const cop_status status =
            write_entry(optimizer, first == COP_OK ? writer : NULL, list, i, chunk, err);
        first = first == COP_OK ? status : first;
    }
    return first;
}

// The writer of the first member; the others have none.
static cop_status open_writer(cop_safetensors_writer **out, const cop_optimizer *optimizer,
                              const char *path, const listing *list, cop_error *err)
{
    char steps[COP_TEXT_NUMBER_BYTES];
    char form[FORM_BYTES];
    (void)snprintf(steps, sizeof steps, "%lld", (long long)optimizer->steps);
    const char *const metadata[] = {
        "format", FORMAT_NAME, "step", steps, "form", form_text(form, optimizer), NULL};
    return cop_group_rank(optimizer->network->options.group) > 0
               ? COP_OK
               : cop_safetensors_writer_create(out, path, list->entry, list->count, metadata, err);
}

static cop_status agree(const cop_optimizer *optimizer, cop_status status, cop_error *err)
{
    return cop_group_size(optimizer->network->options.group) > 1 ? cop_processes_agree(status, err)
                                                                 : status;
}

cop_status cop_optimizer_save(cop_optimizer *optimizer, const char *path, cop_error *err)
{
    cop_status status = COP_OK;
    cop_safetensors_writer *writer = NULL;
    listing list = {0};
    void *chunk = cop_alloc(CHUNK_BYTES, 1);

    if (chunk == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to write it", path);
    }
    if (status == COP_OK) {
        status = list_entries(&list, optimizer, err);
    }
    if (status == COP_OK) {
        status = open_writer(&writer, optimizer, path, &list, err);
    }
    COP_TRY(status, agree(optimizer, status, err));
    status = write_entries(optimizer, writer, &list, chunk, err);
    if (status == COP_OK && writer != NULL) {
        status = cop_safetensors_writer_commit(writer, err);
    }
    COP_TRY(status, agree(optimizer, status, err));

done:
    cop_safetensors_writer_destroy(writer);
    release_listing(&list);
    cop_free(chunk);
    return status;
}

static cop_status check_metadata(const cop_safetensors *file, const char *path, int64_t *steps,
                                 cop_error *err)
{
    const char *format = cop_safetensors_metadata(file, "format");
    const char *text = cop_safetensors_metadata(file, "step");
    if (format == NULL || strcmp(format, FORMAT_NAME) != 0) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: format is %.64s (allowed: %s)", path,
                        format == NULL ? "missing" : format, FORMAT_NAME);
    }
    if (text == NULL || !cop_text_to_i64(text, steps) || *steps < 0) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: step is %.64s (allowed: 0 or more)", path,
                        text == NULL ? "missing" : text);
    }
    return COP_OK;
}

// The form of a saved state. *thaws: it has a frozen vocabulary, which is trained here.
static cop_status check_form(const cop_optimizer *optimizer, const cop_safetensors *file,
                             const char *path, bool *thaws, cop_error *err)
{
    char wanted[FORM_BYTES];
    char frozen[FORM_BYTES + sizeof FROZEN];
    const char *found = cop_safetensors_metadata(file, "form");
    (void)form_text(wanted, optimizer);
    (void)snprintf(frozen, sizeof frozen, "%s%s", wanted, FROZEN);
    *thaws = found != NULL && !optimizer->network->options.freeze_vocabulary &&
             strcmp(found, frozen) == 0;
    if (found != NULL && !*thaws && strcmp(found, wanted) != 0) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: the state has %.64s (allowed: %s)", path, found,
                        wanted);
    }
    return COP_OK;
}

static bool is_vocabulary(const cop_network *network, int64_t tensor)
{
    const cop_role role = cop_arch_tensor(&network->arch, tensor).role;
    return role == COP_ROLE_EMBEDDING || role == COP_ROLE_HEAD;
}

// Makes of the listing what a state with a frozen vocabulary has.
static void list_frozen(listing *list, const cop_network *network)
{
    int64_t kept = 0;
    for (int64_t i = 0; i < list->count; i++) {
        const bool is_out = is_vocabulary(network, list->tensor[i]);
        if (is_out && list->kind[i] != PART_PARAMETER) {
            continue;
        }
        list->tensor[kept] = list->tensor[i];
        list->kind[kept] = list->kind[i];
        if (kept != i) {
            memcpy(list->name[kept], list->name[i], sizeof list->name[kept]);
            list->entry[kept] = list->entry[i];
            list->entry[kept].name = list->name[kept];
        }
        if (is_out) {
            const uint64_t elements =
                list->entry[kept].bytes / cop_dtype_bytes(list->entry[kept].dtype);
            list->entry[kept].dtype = network->compute;
            list->entry[kept].bytes = elements * cop_dtype_bytes(network->compute);
        }
        kept++;
    }
    list->count = kept;
}

// Finds what the listing wants and leaves the mapped data in its entries.
static cop_status match_entries(listing *list, const cop_safetensors *file, const char *path,
                                cop_error *err)
{
    if (cop_safetensors_count(file) != list->count) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: tensors: %lld (allowed: %lld)", path,
                        (long long)cop_safetensors_count(file), (long long)list->count);
    }
    for (int64_t i = 0; i < list->count; i++) {
        cop_safetensors_entry *want = &list->entry[i];
        const int64_t at = cop_safetensors_find(file, want->name);
        if (at < 0) {
            return COP_FAIL(err, COP_ERR_FORMAT, "%s: %s is missing", path, want->name);
        }
        const cop_safetensors_entry found = cop_safetensors_at(file, at);
        if (found.dtype != want->dtype || found.rank != want->rank ||
            found.shape[0] != want->shape[0] ||
            (want->rank == 2 && found.shape[1] != want->shape[1])) {
            return COP_FAIL(err, COP_ERR_FORMAT,
                            "%s: %s is %s [%lld, %lld] (allowed: %s [%lld, %lld])", path,
                            want->name, cop_dtype_name(found.dtype), (long long)found.shape[0],
                            (long long)found.shape[1], cop_dtype_name(want->dtype),
                            (long long)want->shape[0], (long long)want->shape[1]);
        }
        want->data = found.data;
        want->bytes = found.bytes;
    }
    return COP_OK;
}

// Brings one entry of the file where it belongs. A parameter goes the way of all parameters, which makes
// the working copy of its master, or the master of a working copy that was frozen.
static cop_status read_entry(cop_optimizer *optimizer, const listing *list, int64_t index,
                             cop_error *err)
{
    cop_network *network = optimizer->network;
    const cop_safetensors_entry *entry = &list->entry[index];
    const cop_share share = entry_share(optimizer, list, index);
    const cop_place place = network->places[list->tensor[index]];
    if (list->kind[index] == PART_PARAMETER) {
        const cop_tensor_sink sink = cop_network_sink(network);
        return sink.put(sink.context, list->tensor[index], entry->dtype, entry->data, err);
    }
    return cop_share_write(network, &share, place.offset, place.rows * place.cols, entry->data,
                           err);
}

// Moments of embedding and LM head begin at zero; they are the first of the matrices.
static cop_status zero_vocabulary(cop_optimizer *optimizer, cop_error *err)
{
    cop_status status = COP_OK;
    cop_network *network = optimizer->network;
    const uint64_t bytes =
        (uint64_t)(network->shard_end - network->shard_first) * cop_dtype_bytes(optimizer->moment);
    COP_TRY(status, cop_backend_zero(network->backend, NULL, optimizer->m, bytes, err));
    COP_TRY(status, cop_backend_zero(network->backend, NULL, optimizer->v, bytes, err));

done:
    return status;
}

cop_status cop_optimizer_load(cop_optimizer *optimizer, const char *path, cop_error *err)
{
    cop_status status = COP_OK;
    cop_network *network = optimizer->network;
    cop_safetensors *file = NULL;
    listing list = {0};
    int64_t steps = 0;
    bool thaws = false;

    COP_TRY(status, cop_safetensors_open(&file, path, err));
    COP_TRY(status, check_metadata(file, path, &steps, err));
    COP_TRY(status, check_form(optimizer, file, path, &thaws, err));
    COP_TRY(status, list_entries(&list, optimizer, err));
    if (thaws) {
        list_frozen(&list, network);
    }
    COP_TRY(status, match_entries(&list, file, path, err));
    if (thaws) {
        COP_TRY(status, zero_vocabulary(optimizer, err));
    }
    for (int64_t i = 0; i < list.count; i++) {
        COP_TRY(status, read_entry(optimizer, &list, i, err));
        cop_safetensors_forget(file, cop_safetensors_find(file, list.entry[i].name));
    }
    optimizer->steps = steps;

done:
    release_listing(&list);
    cop_safetensors_destroy(file);
    return status;
}
