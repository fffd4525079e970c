#include "model/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "model/safetensors_format.h"

enum { HEADER_BYTES_MAX = 100 * 1000 * 1000, TENSORS_MAX = 100000, NAME_BYTES_MAX = 512 };

// An entry of the index by name.
typedef struct named {
    const cop_safetensors_entry *entry;
} named;

struct cop_safetensors {
    cop_file_map map;          // owned; empty when the memory is borrowed
    json_t *header;            // owned; the names and the metadata lie in it
    const json_t *metadata;    // in header, or NULL
    const unsigned char *data; // behind the header
    uint64_t header_bytes;     // before the data, its length included
    uint64_t data_bytes;
    cop_safetensors_entry *entries; // owned, [count], in the order of their data
    named *by_name;                 // owned, [count], sorted by name
    int64_t count;
};

static const struct {
    const char *name;
    cop_dtype dtype;
} dtype_names[] = {
    {"F32", COP_F32}, {"BF16", COP_BF16}, {"F64", COP_F64}, {"F16", COP_F16},
    {"I32", COP_I32}, {"I64", COP_I64},   {"U8", COP_U8},
};

enum { DTYPE_COUNT = sizeof dtype_names / sizeof dtype_names[0] };

const char *cop_safetensors_dtype_name(cop_dtype dtype)
{
    for (size_t i = 0; i < DTYPE_COUNT; i++) {
        if (dtype_names[i].dtype == dtype) {
            return dtype_names[i].name;
        }
    }
    return "?";
}

// --- Header -------------------------------------------------------------------------------------

// A message is one line: a name with control characters is not repeated in it.
static cop_status check_name(const char *name, const char *path, cop_error *err)
{
    const size_t length = strlen(name);
    if (length == 0 || length > NAME_BYTES_MAX) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: a tensor's name has %zu bytes (allowed: 1..%d)",
                        path, length, (int)NAME_BYTES_MAX);
    }
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)name[i] < 0x20 || name[i] == 0x7f) {
            return COP_FAIL(err, COP_ERR_FORMAT,
                            "%s: a tensor's name has the control character %d at %zu (allowed: "
                            "printable text)",
                            path, (int)name[i], i);
        }
    }
    return COP_OK;
}

static cop_status read_dtype(cop_safetensors_entry *entry, const json_t *object, const char *path,
                             cop_error *err)
{
    const char *text = json_string_value(json_object_get(object, "dtype"));
    for (size_t i = 0; text != NULL && i < DTYPE_COUNT; i++) {
        if (strcmp(dtype_names[i].name, text) == 0) {
            entry->dtype = dtype_names[i].dtype;
            return COP_OK;
        }
    }
    return COP_FAIL(err, COP_ERR_FORMAT,
                    "%s: %s: dtype is '%.16s' (allowed: F64, F32, F16, BF16, I64, I32, U8)", path,
                    entry->name, text == NULL ? "" : text);
}

// Shape, and through `elements_max` the promise that the product of the dimensions is small enough
// for the file: it is compared by dividing the trusted size, so that nothing overflows.
static cop_status read_shape(cop_safetensors_entry *entry, uint64_t *elements, const json_t *object,
                             uint64_t elements_max, const char *path, cop_error *err)
{
    const json_t *shape = json_object_get(object, "shape");
    const size_t rank = json_array_size(shape);
    bool has_zero = false;

    if (!json_is_array(shape) || rank > 8) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: %s: shape is no list of sizes (allowed: 0..8 integers)", path,
                        entry->name);
    }
    entry->rank = (int)rank;
    *elements = 1;
    for (size_t i = 0; i < rank; i++) {
        const json_t *item = json_array_get(shape, i);
        const json_int_t size = json_integer_value(item);
        if (!json_is_integer(item) || size < 0) {
            return COP_FAIL(err, COP_ERR_FORMAT,
                            "%s: %s: shape[%zu] is no size (allowed: integers from 0)", path,
                            entry->name, i);
        }
        entry->shape[i] = size;
        has_zero = has_zero || size == 0;
    }
    for (size_t i = 0; i < rank && !has_zero; i++) {
        const uint64_t size = (uint64_t)entry->shape[i];
        if (size > elements_max / *elements) {
            return COP_FAIL(err, COP_ERR_FORMAT,
                            "%s: %s: shape needs more than the %" PRIu64
                            " elements that the file can hold",
                            path, entry->name, elements_max);
        }
        *elements *= size;
    }
    *elements = has_zero ? 0 : *elements;
    return COP_OK;
}

static cop_status read_offsets(uint64_t *begin, uint64_t *end, const json_t *object,
                               uint64_t data_bytes, const cop_safetensors_entry *entry,
                               const char *path, cop_error *err)
{
    const json_t *offsets = json_object_get(object, "data_offsets");
    const json_t *first = json_array_get(offsets, 0);
    const json_t *second = json_array_get(offsets, 1);

    if (json_array_size(offsets) != 2 || !json_is_integer(first) || !json_is_integer(second)) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: %s: data_offsets is no pair of integers (allowed: [begin, end])", path,
                        entry->name);
    }
    const json_int_t from = json_integer_value(first);
    const json_int_t to = json_integer_value(second);
    if (from < 0 || to < from || (uint64_t)to > data_bytes) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: %s: data_offsets are [%" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT
                        "] (allowed: begin <= end <= %" PRIu64 ", the size of the data)",
                        path, entry->name, from, to, data_bytes);
    }
    *begin = (uint64_t)from;
    *end = (uint64_t)to;
    return COP_OK;
}

static cop_status read_entry(cop_safetensors *file, cop_safetensors_entry *entry, const char *name,
                             const json_t *object, const char *path, cop_error *err)
{
    uint64_t elements = 0;
    uint64_t begin = 0;
    uint64_t end = 0;
    cop_status status = COP_OK;

    COP_TRY(status, check_name(name, path, err));
    entry->name = name;
    if (!json_is_object(object)) {
        status =
            COP_FAIL(err, COP_ERR_FORMAT,
                     "%s: %s: is no object (allowed: dtype, shape and data_offsets)", path, name);
        goto done;
    }
    COP_TRY(status, read_dtype(entry, object, path, err));
    COP_TRY(status, read_offsets(&begin, &end, object, file->data_bytes, entry, path, err));
    COP_TRY(status, read_shape(entry, &elements, object,
                               file->data_bytes / cop_dtype_bytes(entry->dtype), path, err));
    entry->bytes = end - begin;
    if (elements * cop_dtype_bytes(entry->dtype) != entry->bytes) {
        status = COP_FAIL(err, COP_ERR_FORMAT,
                          "%s: %s: data_offsets span %" PRIu64 " bytes, but dtype and shape need "
                          "%" PRIu64,
                          path, name, entry->bytes, elements * cop_dtype_bytes(entry->dtype));
        goto done;
    }
    entry->data = file->data + begin;

done:
    return status;
}

static cop_status read_metadata(cop_safetensors *file, json_t *metadata, const char *path,
                                cop_error *err)
{
    if (!json_is_object(metadata)) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: __metadata__ is no object (allowed: keys with text)", path);
    }
    for (void *at = json_object_iter(metadata); at != NULL;
         at = json_object_iter_next(metadata, at)) {
        if (!json_is_string(json_object_iter_value(at))) {
            return COP_FAIL(err, COP_ERR_FORMAT,
                            "%s: __metadata__ has a value that is no text (allowed: text)", path);
        }
    }
    file->metadata = metadata;
    return COP_OK;
}

static int compare_data(const void *a, const void *b)
{
    const cop_safetensors_entry *x = a;
    const cop_safetensors_entry *y = b;
    if (x->data != y->data) {
        return (const unsigned char *)x->data < (const unsigned char *)y->data ? -1 : 1;
    }
    // An empty tensor before the one that starts at the same place.
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

static int compare_names(const void *a, const void *b)
{
    const named *x = a;
    const named *y = b;
    return strcmp(x->entry->name, y->entry->name);
}

// Sorted by position, each tensor must begin where the one before it ended.
static cop_status check_cover(const cop_safetensors *file, const char *path, cop_error *err)
{
    uint64_t end = 0;
    for (int64_t i = 0; i < file->count; i++) {
        const cop_safetensors_entry *entry = &file->entries[i];
        const uint64_t begin = (uint64_t)((const unsigned char *)entry->data - file->data);
        if (begin != end) {
            return COP_FAIL(err, COP_ERR_FORMAT,
                            "%s: %s: data begins at %" PRIu64 ", %s (allowed: %" PRIu64 ")", path,
                            entry->name, begin,
                            begin < end ? "inside another tensor's" : "behind a gap", end);
        }
        end += entry->bytes;
    }
    if (end != file->data_bytes) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: the tensors end at %" PRIu64 ", the data at %" PRIu64
                        " (allowed: no bytes behind the last tensor)",
                        path, end, file->data_bytes);
    }
    return COP_OK;
}

static cop_status read_entries(cop_safetensors *file, const char *path, cop_error *err)
{
    const size_t keys = json_object_size(file->header);
    cop_status status = COP_OK;

    if (keys > TENSORS_MAX) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: holds %zu tensors (allowed: at most %d)", path,
                        keys, (int)TENSORS_MAX);
    }
    file->entries = cop_alloc(keys + 1, sizeof *file->entries);
    file->by_name = cop_alloc(keys + 1, sizeof *file->by_name);
    if (file->entries == NULL || file->by_name == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory for %zu tensors", path, keys);
    }
    for (void *at = json_object_iter(file->header); at != NULL;
         at = json_object_iter_next(file->header, at)) {
        const char *name = json_object_iter_key(at);
        json_t *value = json_object_iter_value(at);
        if (strcmp(name, "__metadata__") == 0) {
            COP_TRY(status, read_metadata(file, value, path, err));
        } else {
            COP_TRY(status, read_entry(file, &file->entries[file->count], name, value, path, err));
            file->count++;
        }
    }
    qsort(file->entries, (size_t)file->count, sizeof *file->entries, compare_data);
    for (int64_t i = 0; i < file->count; i++) {
        file->by_name[i].entry = &file->entries[i];
    }
    qsort(file->by_name, (size_t)file->count, sizeof *file->by_name, compare_names);
    COP_TRY(status, check_cover(file, path, err));

done:
    return status;
}

static cop_status read_header(cop_safetensors *file, const char *path, const void *data,
                              size_t bytes, cop_error *err)
{
    const unsigned char *raw = data;
    uint64_t header_bytes = 0;
    cop_status status = COP_OK;

    if (bytes < 8) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: %zu bytes are too few for a safetensors file",
                        path, bytes);
    }
    for (int i = 7; i >= 0; i--) {
        header_bytes = header_bytes << 8 | raw[i];
    }
    if (header_bytes > HEADER_BYTES_MAX) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: header length is %" PRIu64 " (allowed: at most %d)", path,
                        header_bytes, (int)HEADER_BYTES_MAX);
    }
    if (header_bytes > bytes - 8) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: header length is %" PRIu64 ", but %zu bytes follow", path,
                        header_bytes, bytes - 8);
    }
    if (header_bytes == 0 || raw[8] != '{') {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: not a safetensors file: the header does not begin with '{'", path);
    }
    file->data = raw + 8 + header_bytes;
    file->header_bytes = 8 + header_bytes;
    file->data_bytes = bytes - 8 - header_bytes;
    COP_TRY(status,
            cop_json_parse(&file->header, path, (const char *)raw + 8, (size_t)header_bytes, err));
    COP_TRY(status, read_entries(file, path, err));

done:
    return status;
}

// --- Life cycle ---------------------------------------------------------------------------------

static cop_status open_file(cop_safetensors **out, const char *path, const void *data, size_t bytes,
                            cop_error *err)
{
    cop_status status = COP_OK;
    cop_safetensors *file = cop_alloc(1, sizeof *file);

    *out = NULL;
    if (file == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to open it", path);
    }
    if (data == NULL) {
        COP_TRY(status, cop_file_map_open(&file->map, path, err));
        data = file->map.data;
        bytes = file->map.bytes;
    }
    COP_TRY(status, read_header(file, path, data, bytes, err));
    *out = file;
    file = NULL;

done:
    cop_safetensors_destroy(file);
    return status;
}

cop_status cop_safetensors_open(cop_safetensors **out, const char *path, cop_error *err)
{
    return open_file(out, path, NULL, 0, err);
}

cop_status cop_safetensors_parse(cop_safetensors **out, const char *name, const void *data,
                                 size_t bytes, cop_error *err)
{
    return open_file(out, name, data == NULL ? "" : data, data == NULL ? 0 : bytes, err);
}

void cop_safetensors_destroy(cop_safetensors *file)
{
    if (file != NULL) {
        cop_free(file->by_name);
        cop_free(file->entries);
        json_decref(file->header);
        cop_file_map_release(&file->map);
        cop_free(file);
    }
}

// --- Reading ------------------------------------------------------------------------------------

int64_t cop_safetensors_count(const cop_safetensors *file)
{
    return file->count;
}

cop_safetensors_entry cop_safetensors_at(const cop_safetensors *file, int64_t index)
{
    return file->entries[index];
}

int64_t cop_safetensors_find(const cop_safetensors *file, const char *name)
{
    int64_t low = 0;
    int64_t high = file->count;
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        const int order = strcmp(file->by_name[middle].entry->name, name);
        if (order == 0) {
            return file->by_name[middle].entry - file->entries;
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return -1;
}

const char *cop_safetensors_metadata(const cop_safetensors *file, const char *key)
{
    return json_string_value(json_object_get(file->metadata, key));
}

void cop_safetensors_forget_range(const cop_safetensors *file, int64_t index, uint64_t offset,
                                  uint64_t bytes)
{
    if (file->map.data != NULL) {
        const unsigned char *start = file->entries[index].data;
        const size_t at = (size_t)(start - (const unsigned char *)file->map.data);
        cop_file_map_forget(&file->map, at + (size_t)offset, (size_t)bytes);
    }
}

void cop_safetensors_forget(const cop_safetensors *file, int64_t index)
{
    cop_safetensors_forget_range(file, index, 0, file->entries[index].bytes);
}

cop_status cop_safetensors_reopen(const cop_safetensors *file, int *out, const char *path,
                                  cop_error *err)
{
    return cop_file_map_reopen(&file->map, out, path, err);
}

uint64_t cop_safetensors_offset(const cop_safetensors *file, int64_t index)
{
    const unsigned char *start = file->entries[index].data;
    return file->header_bytes + (uint64_t)(start - file->data);
}
