// Reading arrays and attributes back.

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/array_file_internal.h"
#include "base/file.h"
#include "base/text.h"

enum { TEXT_BYTES_MAX = 1 << 20 };

struct cop_array_reader {
    char *path;
    hid_t file;
};

// A dataset opened for reading.
typedef struct dataset {
    hid_t set;
    hid_t space;
    cop_dtype dtype;
    int rank;
    hsize_t sizes[COP_ARRAY_RANK_MAX];
} dataset;

static cop_status fail(const cop_array_reader *reader, cop_error *err, const char *action,
                       const char *object)
{
    char reason[160];
    return COP_FAIL(err, COP_ERR_FORMAT, "%s: cannot %s %s: %s", reader->path, action, object,
                    cop_array_reason(reason, sizeof reason));
}

cop_status cop_array_reader_open(cop_array_reader **out, const char *path, cop_error *err)
{
    cop_status status = COP_OK;
    cop_file_map map = {0};
    cop_array_reader *reader = NULL;

    *out = NULL;
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    COP_TRY(status, cop_file_map_open(&map, path, err)); // says better than HDF5 why it cannot
    cop_file_map_release(&map);
    reader = cop_alloc(1, sizeof *reader);
    if (reader == NULL || (reader->path = cop_alloc_string(path)) == NULL) {
        cop_free(reader);
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", path);
    }
    reader->file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (reader->file < 0) {
        status = fail(reader, err, "read", "it as an HDF5 file");
        cop_array_reader_destroy(reader);
        goto done;
    }
    *out = reader;

done:
    return status;
}

void cop_array_reader_destroy(cop_array_reader *reader)
{
    if (reader != NULL) {
        if (reader->file >= 0) {
            (void)H5Fclose(reader->file);
        }
        cop_free(reader->path);
        cop_free(reader);
    }
}

enum { NAME_BYTES_MAX = 256 };

// H5Lexists() demands that every group on the way exists, so each is asked for in turn.
static bool link_exists(hid_t file, const char *name)
{
    char partial[NAME_BYTES_MAX]; // on the stack: "no memory" must not read as "not there"
    const size_t bytes = strlen(name);
    bool is_found = bytes > 0 && bytes < sizeof partial;
    for (size_t at = 0; is_found && at < bytes;) {
        const size_t length = strcspn(name + at, "/");
        at += length;
        memcpy(partial, name, at);
        partial[at] = '\0';
        if (length > 0) {
            is_found = H5Lexists(file, partial, H5P_DEFAULT) > 0;
        }
        at += name[at] == '/' ? 1 : 0;
    }
    return is_found;
}

bool cop_array_reader_has(const cop_array_reader *reader, const char *name)
{
    if (!link_exists(reader->file, name)) {
        return false;
    }
    H5O_info_t info;
    return H5Oget_info_by_name2(reader->file, name, &info, H5O_INFO_BASIC, H5P_DEFAULT) >= 0 &&
           info.type == H5O_TYPE_DATASET;
}

static bool has_bf16_mark(hid_t set)
{
    bool is_marked = false;
    if (H5Aexists(set, COP_ARRAY_DTYPE_KEY) <= 0) {
        return false;
    }
    const hid_t attribute = H5Aopen(set, COP_ARRAY_DTYPE_KEY, H5P_DEFAULT);
    const hid_t type = attribute < 0 ? H5I_INVALID_HID : H5Aget_type(attribute);
    char *text = NULL;
    if (type >= 0 && H5Tis_variable_str(type) > 0 && H5Aread(attribute, type, &text) >= 0) {
        is_marked = text != NULL && strcmp(text, COP_ARRAY_DTYPE_BF16) == 0;
        (void)H5free_memory(text);
    }
    if (type >= 0) {
        (void)H5Tclose(type);
    }
    if (attribute >= 0) {
        (void)H5Aclose(attribute);
    }
    return is_marked;
}

static bool find_dtype(hid_t set, cop_dtype *out)
{
    const hid_t type = H5Dget_type(set);
    if (type < 0) {
        return false;
    }
    const H5T_class_t class = H5Tget_class(type);
    const size_t bytes = H5Tget_size(type);
    (void)H5Tclose(type);
    if (class == H5T_FLOAT && (bytes == 4 || bytes == 8)) {
        *out = bytes == 4 ? COP_F32 : COP_F64;
        return true;
    }
    if (class == H5T_INTEGER && bytes == 2 && has_bf16_mark(set)) {
        *out = COP_BF16;
        return true;
    }
    if (class == H5T_INTEGER && (bytes == 4 || bytes == 8)) {
        *out = bytes == 4 ? COP_I32 : COP_I64;
        return true;
    }
    return false;
}

static void close_dataset(dataset *d)
{
    if (d->space >= 0) {
        (void)H5Sclose(d->space);
    }
    if (d->set >= 0) {
        (void)H5Dclose(d->set);
    }
}

// On failure nothing stays open.
static cop_status open_dataset(dataset *d, const cop_array_reader *reader, const char *name,
                               cop_error *err)
{
    cop_status status = COP_OK;
    *d = (dataset){.set = H5I_INVALID_HID, .space = H5I_INVALID_HID};
    if (!cop_array_reader_has(reader, name)) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: has no array %s", reader->path, name);
    }
    d->set = H5Dopen2(reader->file, name, H5P_DEFAULT);
    if (d->set < 0 || (d->space = H5Dget_space(d->set)) < 0) {
        status = fail(reader, err, "open", name);
        goto done;
    }
    d->rank = H5Sget_simple_extent_ndims(d->space);
    if (d->rank < 1 || d->rank > COP_ARRAY_RANK_MAX ||
        H5Sget_simple_extent_dims(d->space, d->sizes, NULL) != d->rank) {
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s: %s has %d dimensions (allowed: 1..%d)",
                          reader->path, name, d->rank, COP_ARRAY_RANK_MAX);
        goto done;
    }
    for (int i = 0; i < d->rank; i++) {
        if (d->sizes[i] > INT64_MAX) {
            status = COP_FAIL(err, COP_ERR_FORMAT, "%s: dimension %d of %s is too large",
                              reader->path, i, name);
            goto done;
        }
    }
    if (!find_dtype(d->set, &d->dtype)) {
        status = COP_FAIL(err, COP_ERR_FORMAT,
                          "%s: %s has elements of a foreign type (allowed: f32, f64, i32, i64, "
                          "bf16)",
                          reader->path, name);
        goto done;
    }
    return COP_OK;

done:
    close_dataset(d);
    return status;
}

cop_status cop_array_reader_shape(const cop_array_reader *reader, const char *name,
                                  cop_dtype *dtype, int *rank, int64_t *shape, cop_error *err)
{
    dataset d;
    const cop_status status = open_dataset(&d, reader, name, err);
    if (status == COP_OK) {
        *dtype = d.dtype;
        *rank = d.rank;
        for (int i = 0; i < d.rank; i++) {
            shape[i] = (int64_t)d.sizes[i];
        }
        close_dataset(&d);
    }
    return status;
}

// Widening is exact, f64 to f32 is asked for knowingly; anything else would lose bits silently.
static bool is_convertible(cop_dtype from, cop_dtype to)
{
    const bool from_float = from == COP_F32 || from == COP_F64;
    const bool to_float = to == COP_F32 || to == COP_F64;
    return from == to || (from_float && to_float) || (from == COP_BF16 && to_float) ||
           (from == COP_I32 && to == COP_I64);
}

// Reads the selected part of a dataset; `block` describes it in memory.
static cop_status read_selection(const cop_array_reader *reader, const dataset *d, const char *name,
                                 hid_t block, size_t count, cop_dtype dtype, void *data,
                                 cop_error *err)
{
    cop_status status = COP_OK;
    uint16_t *narrow = NULL;
    if (!is_convertible(d->dtype, dtype)) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: %s holds %s, which cannot be read as %s",
                        reader->path, name, cop_dtype_name(d->dtype), cop_dtype_name(dtype));
    }
    const bool is_widened = d->dtype == COP_BF16 && dtype != COP_BF16;
    if (is_widened) {
        narrow = cop_alloc(count, sizeof *narrow);
        if (narrow == NULL) {
            return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory while reading %s", reader->path,
                            name);
        }
    }
    void *target = is_widened ? (void *)narrow : data;
    const cop_dtype target_dtype = is_widened ? COP_BF16 : dtype;
    if (count > 0 && H5Dread(d->set, cop_array_memory_type(target_dtype), block, d->space,
                             H5P_DEFAULT, target) < 0) {
        status = fail(reader, err, "read", name);
    } else if (is_widened) {
        cop_dtype_convert(data, dtype, narrow, COP_BF16, count);
    }
    cop_free(narrow);
    return status;
}

static void append_shape(cop_text *text, int rank, const int64_t *shape, const hsize_t *sizes)
{
    for (int i = 0; i < rank; i++) {
        const long long size = shape != NULL ? (long long)shape[i] : (long long)sizes[i];
        cop_text_appendf(text, "%s%lld", i == 0 ? "[" : ", ", size);
    }
    cop_text_append(text, "]");
}

static cop_status check_shape(const cop_array_reader *reader, const dataset *d, const char *name,
                              int rank, const int64_t *shape, cop_error *err)
{
    bool is_equal = d->rank == rank;
    for (int i = 0; i < rank && is_equal; i++) {
        is_equal = shape[i] >= 0 && d->sizes[i] == (hsize_t)shape[i];
    }
    if (is_equal) {
        return COP_OK;
    }
    cop_text found = {0};
    cop_text wanted = {0};
    append_shape(&found, d->rank, NULL, d->sizes);
    append_shape(&wanted, rank, shape, NULL);
    const cop_status status =
        COP_FAIL(err, COP_ERR_SHAPE, "%s: %s has the shape %s (allowed: %s)", reader->path, name,
                 cop_text_view(&found), cop_text_view(&wanted));
    cop_text_release(&found);
    cop_text_release(&wanted);
    return status;
}

cop_status cop_array_reader_get(const cop_array_reader *reader, const char *name, cop_dtype dtype,
                                int rank, const int64_t *shape, void *data, cop_error *err)
{
    dataset d;
    size_t count = 1;
    cop_status status = open_dataset(&d, reader, name, err);
    if (status != COP_OK) {
        return status;
    }
    COP_TRY(status, check_shape(reader, &d, name, rank, shape, err));
    for (int i = 0; i < rank; i++) {
        count *= (size_t)shape[i];
    }
    COP_TRY(status, read_selection(reader, &d, name, H5S_ALL, count, dtype, data, err));

done:
    close_dataset(&d);
    return status;
}

cop_status cop_array_reader_locate(const cop_array_reader *reader, const char *name,
                                   cop_dtype dtype, uint64_t *offset, cop_error *err)
{
    dataset d;
    cop_status status = open_dataset(&d, reader, name, err);
    if (status != COP_OK) {
        return status;
    }
    const hid_t type = H5Dget_type(d.set);
    const haddr_t at = H5Dget_offset(d.set); // undefined unless contiguous and in this file
    if (d.dtype != dtype) {
        status = COP_FAIL(err, COP_ERR_FORMAT, "%s: %s holds %s (allowed: %s)", reader->path, name,
                          cop_dtype_name(d.dtype), cop_dtype_name(dtype));
    } else if (at == HADDR_UNDEF || H5Tequal(type, cop_array_memory_type(dtype)) <= 0) {
        status = COP_FAIL(err, COP_ERR_UNSUPPORTED,
                          "%s: %s is not stored as it is in memory (allowed: a contiguous array, "
                          "unfiltered, little-endian)",
                          reader->path, name);
    } else {
        *offset = (uint64_t)at;
    }
    (void)H5Tclose(type);
    close_dataset(&d);
    return status;
}

cop_status cop_array_reader_get_rows(const cop_array_reader *reader, const char *name,
                                     cop_dtype dtype, int64_t first_row, int64_t rows, void *data,
                                     cop_error *err)
{
    dataset d;
    hsize_t start[COP_ARRAY_RANK_MAX] = {0};
    hid_t block = H5I_INVALID_HID;
    size_t count = 1;
    cop_status status = open_dataset(&d, reader, name, err);
    if (status != COP_OK) {
        return status;
    }
    if (first_row < 0 || rows < 0 || (hsize_t)first_row > d.sizes[0] ||
        (hsize_t)rows > d.sizes[0] - (hsize_t)first_row) {
        status = COP_FAIL(err, COP_ERR_SHAPE, "%s: rows %lld..+%lld of %s (allowed: 0..%llu)",
                          reader->path, (long long)first_row, (long long)rows, name,
                          (unsigned long long)d.sizes[0]);
        goto done;
    }
    start[0] = (hsize_t)first_row;
    d.sizes[0] = (hsize_t)rows;
    for (int i = 0; i < d.rank; i++) {
        count *= (size_t)d.sizes[i];
    }
    if (rows > 0 && (H5Sselect_hyperslab(d.space, H5S_SELECT_SET, start, NULL, d.sizes, NULL) < 0 ||
                     (block = H5Screate_simple(d.rank, d.sizes, NULL)) < 0)) {
        status = fail(reader, err, "select rows of", name);
        goto done;
    }
    COP_TRY(status, read_selection(reader, &d, name, block, count, dtype, data, err));

done:
    if (block >= 0) {
        (void)H5Sclose(block);
    }
    close_dataset(&d);
    return status;
}

// An attribute of an object, opened; the messages name both.
static cop_status open_attribute(hid_t *out, const cop_array_reader *reader, const char *object,
                                 const char *key, H5T_class_t class, cop_error *err)
{
    const char *name = object[0] != '\0' ? object : "/";
    *out = H5I_INVALID_HID;
    if ((strcmp(name, "/") != 0 && !link_exists(reader->file, name)) ||
        H5Aexists_by_name(reader->file, name, key, H5P_DEFAULT) <= 0) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: %s has no attribute %s", reader->path, name, key);
    }
    const hid_t attribute = H5Aopen_by_name(reader->file, name, key, H5P_DEFAULT, H5P_DEFAULT);
    if (attribute < 0) {
        return fail(reader, err, "open the attribute", key);
    }
    const hid_t type = H5Aget_type(attribute);
    const hid_t space = H5Aget_space(attribute);
    const H5T_class_t found = type < 0 ? H5T_NO_CLASS : H5Tget_class(type);
    const bool is_scalar = space >= 0 && H5Sget_simple_extent_npoints(space) == 1;
    if (type >= 0) {
        (void)H5Tclose(type);
    }
    if (space >= 0) {
        (void)H5Sclose(space);
    }
    const bool is_number = found == H5T_INTEGER || (class == H5T_FLOAT && found == H5T_FLOAT);
    if (!is_scalar || (class == H5T_STRING ? found != H5T_STRING : !is_number)) {
        (void)H5Aclose(attribute);
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: attribute %s of %s is no %s", reader->path, key,
                        name,
                        class == H5T_STRING  ? "text"
                        : class == H5T_FLOAT ? "number"
                                             : "integer");
    }
    *out = attribute;
    return COP_OK;
}

// A string of fixed length; `type` is the attribute's.
static cop_status read_fixed_text(char **out, hid_t attribute, hid_t type, const char *path,
                                  const char *key, cop_error *err)
{
    const size_t bytes = H5Tget_size(type);
    if (bytes == 0 || bytes > TEXT_BYTES_MAX) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: attribute %s has %zu bytes (allowed: 1..%d)",
                        path, key, bytes, TEXT_BYTES_MAX);
    }
    char *text = cop_alloc(bytes + 1, 1);
    if (text == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", path);
    }
    if (H5Aread(attribute, type, text) < 0) {
        cop_free(text);
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: cannot read the attribute %s", path, key);
    }
    *out = text;
    return COP_OK;
}

// A string of any length, as h5py writes them.
static cop_status read_variable_text(char **out, hid_t attribute, hid_t type, const char *path,
                                     const char *key, cop_error *err)
{
    char *text = NULL;
    if (H5Aread(attribute, type, &text) < 0) {
        return COP_FAIL(err, COP_ERR_FORMAT, "%s: cannot read the attribute %s", path, key);
    }
    *out = cop_alloc_string(text != NULL ? text : "");
    (void)H5free_memory(text);
    if (*out == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", path);
    }
    return COP_OK;
}

cop_status cop_array_reader_text(const cop_array_reader *reader, const char *object,
                                 const char *key, char **out, cop_error *err)
{
    hid_t attribute;
    *out = NULL;
    cop_status status = open_attribute(&attribute, reader, object, key, H5T_STRING, err);
    if (status != COP_OK) {
        return status;
    }
    const hid_t type = H5Aget_type(attribute);
    if (type < 0) {
        status = fail(reader, err, "read the attribute", key);
    } else if (H5Tis_variable_str(type) > 0) {
        status = read_variable_text(out, attribute, type, reader->path, key, err);
    } else {
        status = read_fixed_text(out, attribute, type, reader->path, key, err);
    }
    if (type >= 0) {
        (void)H5Tclose(type);
    }
    (void)H5Aclose(attribute);
    return status;
}

static cop_status read_number(const cop_array_reader *reader, const char *object, const char *key,
                              H5T_class_t class, hid_t memory, void *out, cop_error *err)
{
    hid_t attribute;
    cop_status status = open_attribute(&attribute, reader, object, key, class, err);
    if (status == COP_OK) {
        if (H5Aread(attribute, memory, out) < 0) {
            status = fail(reader, err, "read the attribute", key);
        }
        (void)H5Aclose(attribute);
    }
    return status;
}

cop_status cop_array_reader_i64(const cop_array_reader *reader, const char *object, const char *key,
                                int64_t *out, cop_error *err)
{
    return read_number(reader, object, key, H5T_INTEGER, H5T_NATIVE_INT64, out, err);
}

cop_status cop_array_reader_f64(const cop_array_reader *reader, const char *object, const char *key,
                                double *out, cop_error *err)
{
    return read_number(reader, object, key, H5T_FLOAT, H5T_NATIVE_DOUBLE, out, err);
}
