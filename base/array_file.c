#include "base/array_file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/array_file_internal.h"
#include "base/file.h"
#include "base/text.h"

// Room for the file's own tables, and for those of one object.
enum { FILE_SLACK_BYTES = 64 << 10, OBJECT_SLACK_BYTES = 8 << 10 };

struct cop_array_writer {
    char *path;
    char *temp_path;
    hid_t file;
    int fd; // of the same file, to reserve room in it
    uint64_t reserved_bytes;
};

// HDF5 crashes while it cleans up at exit when closing a file has failed before. All files are
// closed here, so there is nothing left to clean up. It must precede every other call of HDF5, those
// in other constructors too: 101 is the first.
__attribute__((constructor(101))) static void keep_exit_quiet(void)
{
    (void)H5dont_atexit();
}

hid_t cop_array_memory_type(cop_dtype dtype)
{
    switch (dtype) {
    case COP_F32: return H5T_NATIVE_FLOAT;
    case COP_F64: return H5T_NATIVE_DOUBLE;
    case COP_I32: return H5T_NATIVE_INT32;
    case COP_I64: return H5T_NATIVE_INT64;
    case COP_BF16: return H5T_NATIVE_UINT16;
    case COP_F16:
    case COP_U8: break;
    }
    return H5I_INVALID_HID;
}

// Little-endian whatever the machine is, so that files can be carried.
static hid_t stored_type(cop_dtype dtype)
{
    switch (dtype) {
    case COP_F32: return H5T_IEEE_F32LE;
    case COP_F64: return H5T_IEEE_F64LE;
    case COP_I32: return H5T_STD_I32LE;
    case COP_I64: return H5T_STD_I64LE;
    case COP_BF16: return H5T_STD_U16LE;
    case COP_F16:
    case COP_U8: break;
    }
    return H5I_INVALID_HID;
}

typedef struct reason_text {
    char *out;
    size_t bytes;
} reason_text;

static herr_t keep_description(unsigned depth, const H5E_error2_t *entry, void *context)
{
    const reason_text *text = context;
    (void)depth; // walked from the interface inwards: the last one kept is the cause
    if (entry->desc != NULL && entry->desc[0] != '\0') {
        (void)snprintf(text->out, text->bytes, "%s", entry->desc);
    }
    return 0;
}

const char *cop_array_reason(char *out, size_t bytes)
{
    reason_text text = {.out = out, .bytes = bytes};
    (void)snprintf(out, bytes, "unknown reason");
    (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_description, &text);
    return out;
}

static cop_status fail(const cop_array_writer *writer, cop_error *err, const char *action,
                       const char *object)
{
    char reason[160];
    return COP_FAIL(err, COP_ERR_IO, "%s: cannot %s %s: %s", writer->path, action, object,
                    cop_array_reason(reason, sizeof reason));
}

// Reserves room for `bytes` more. HDF5 keeps a file open for ever that it could not write in full,
// so a full disk has to show before HDF5 writes.
static cop_status reserve(cop_array_writer *writer, uint64_t bytes, cop_error *err)
{
    const uint64_t total = writer->reserved_bytes + bytes; // far from overflow: check_request()
    const cop_status status = cop_file_reserve(writer->fd, writer->path, total, err);
    if (status == COP_OK) {
        writer->reserved_bytes = total;
    }
    return status;
}

cop_status cop_array_writer_create(cop_array_writer **out, const char *path, cop_error *err)
{
    cop_status status = COP_OK;
    cop_array_writer *writer = cop_alloc(1, sizeof *writer);
    cop_text temp_path = {0};

    *out = NULL;
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    cop_text_appendf(&temp_path, "%s.tmp.%ld", path, (long)getpid());
    if (writer != NULL) {
        writer->fd = -1;
        writer->file = H5I_INVALID_HID;
        writer->temp_path = temp_path.data;
        writer->path = cop_alloc_string(path);
    } else {
        cop_text_release(&temp_path);
    }
    if (writer == NULL || writer->temp_path == NULL || writer->path == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", path);
        goto done;
    }
    // The operating system's own reason is clearer than HDF5's.
    writer->fd = open(writer->temp_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (writer->fd < 0) {
        status = cop_file_fail(err, path, "create");
        goto done;
    }
    COP_TRY(status, reserve(writer, FILE_SLACK_BYTES, err));
    writer->file = H5Fcreate(writer->temp_path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    if (writer->file < 0) {
        status = fail(writer, err, "create", "the file");
        goto done;
    }
    COP_TRY(status, reserve(writer, 0, err)); // creating has truncated the file
    *out = writer;
    writer = NULL;

done:
    cop_array_writer_destroy(writer);
    return status;
}

// `bytes` becomes the size of the array.
static cop_status check_request(const cop_array_writer *writer, const char *name, cop_dtype dtype,
                                int rank, const int64_t *shape, uint64_t *bytes, cop_error *err)
{
    if (stored_type(dtype) < 0) {
        return COP_FAIL(err, COP_ERR_UNSUPPORTED,
                        "%s: %s has elements of type %s (allowed: f32, f64, i32, i64, bf16)",
                        writer->path, name, cop_dtype_name(dtype));
    }
    if (rank < 1 || rank > COP_ARRAY_RANK_MAX) {
        return COP_FAIL(err, COP_ERR_SHAPE, "%s: %s has %d dimensions (allowed: 1..%d)",
                        writer->path, name, rank, COP_ARRAY_RANK_MAX);
    }
    *bytes = cop_dtype_bytes(dtype);
    for (int i = 0; i < rank; i++) {
        const int64_t size_max = INT64_MAX / 2 / (int64_t)(*bytes != 0 ? *bytes : 1);
        if (shape[i] < 0 || shape[i] > size_max) {
            return COP_FAIL(err, COP_ERR_SHAPE, "%s: dimension %d of %s is %lld (allowed: 0..%lld)",
                            writer->path, i, name, (long long)shape[i], (long long)size_max);
        }
        *bytes *= (uint64_t)shape[i];
    }
    return COP_OK;
}

static cop_status mark_bf16(cop_array_writer *writer, const char *name, cop_dtype dtype,
                            cop_error *err)
{
    if (dtype != COP_BF16) {
        return COP_OK;
    }
    return cop_array_writer_text(writer, name, COP_ARRAY_DTYPE_KEY, COP_ARRAY_DTYPE_BF16, err);
}

cop_status cop_array_writer_make(cop_array_writer *writer, const char *name, cop_dtype dtype,
                                 int rank, const int64_t *shape, cop_error *err)
{
    cop_status status = COP_OK;
    hsize_t sizes[COP_ARRAY_RANK_MAX] = {0};
    hid_t space = H5I_INVALID_HID;
    hid_t links = H5I_INVALID_HID;
    hid_t layout = H5I_INVALID_HID;
    hid_t set = H5I_INVALID_HID;
    uint64_t bytes = 0;

    COP_TRY(status, check_request(writer, name, dtype, rank, shape, &bytes, err));
    COP_TRY(status, reserve(writer, bytes + OBJECT_SLACK_BYTES, err));
    for (int i = 0; i < rank; i++) {
        sizes[i] = (hsize_t)shape[i];
    }
    space = H5Screate_simple(rank, sizes, NULL);
    links = H5Pcreate(H5P_LINK_CREATE);
    layout = H5Pcreate(H5P_DATASET_CREATE);
    if (space < 0 || links < 0 || layout < 0 || H5Pset_create_intermediate_group(links, 1) < 0 ||
        H5Pset_layout(layout, H5D_CONTIGUOUS) < 0) {
        status = fail(writer, err, "describe", name);
        goto done;
    }
    set = H5Dcreate2(writer->file, name, stored_type(dtype), space, links, layout, H5P_DEFAULT);
    if (set < 0) {
        status = fail(writer, err, "make", name);
        goto done;
    }
    COP_TRY(status, mark_bf16(writer, name, dtype, err));

done:
    if (set >= 0) {
        (void)H5Dclose(set);
    }
    if (layout >= 0) {
        (void)H5Pclose(layout);
    }
    if (links >= 0) {
        (void)H5Pclose(links);
    }
    if (space >= 0) {
        (void)H5Sclose(space);
    }
    return status;
}

// The dtype that the elements of a stored dataset have in memory.
static hid_t memory_type_of(hid_t set)
{
    const hid_t type = H5Dget_type(set);
    const hid_t native = type < 0 ? H5I_INVALID_HID : H5Tget_native_type(type, H5T_DIR_ASCEND);
    if (type >= 0) {
        (void)H5Tclose(type);
    }
    return native;
}

cop_status cop_array_writer_put_rows(cop_array_writer *writer, const char *name, int64_t first_row,
                                     int64_t rows, const void *data, cop_error *err)
{
    cop_status status = COP_OK;
    hsize_t sizes[COP_ARRAY_RANK_MAX] = {0};
    hsize_t start[COP_ARRAY_RANK_MAX] = {0};
    hid_t set = H5Dopen2(writer->file, name, H5P_DEFAULT);
    hid_t type = H5I_INVALID_HID;
    hid_t space = H5I_INVALID_HID;
    hid_t block = H5I_INVALID_HID;
    int rank = 0;

    if (set < 0 || (space = H5Dget_space(set)) < 0 || (type = memory_type_of(set)) < 0) {
        status = fail(writer, err, "find", name);
        goto done;
    }
    rank = H5Sget_simple_extent_dims(space, sizes, NULL);
    if (rank < 1 || first_row < 0 || rows < 0 || (hsize_t)first_row > sizes[0] ||
        (hsize_t)rows > sizes[0] - (hsize_t)first_row) {
        status = COP_FAIL(err, COP_ERR_SHAPE, "%s: rows %lld..+%lld of %s (allowed: 0..%llu)",
                          writer->path, (long long)first_row, (long long)rows, name,
                          (unsigned long long)sizes[0]);
        goto done;
    }
    start[0] = (hsize_t)first_row;
    sizes[0] = (hsize_t)rows;
    if (rows > 0 && (H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, sizes, NULL) < 0 ||
                     (block = H5Screate_simple(rank, sizes, NULL)) < 0 ||
                     H5Dwrite(set, type, block, space, H5P_DEFAULT, data) < 0)) {
        status = fail(writer, err, "write", name);
    }

done:
    if (block >= 0) {
        (void)H5Sclose(block);
    }
    if (space >= 0) {
        (void)H5Sclose(space);
    }
    if (type >= 0) {
        (void)H5Tclose(type);
    }
    if (set >= 0) {
        (void)H5Dclose(set);
    }
    return status;
}

cop_status cop_array_writer_put(cop_array_writer *writer, const char *name, cop_dtype dtype,
                                int rank, const int64_t *shape, const void *data, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_array_writer_make(writer, name, dtype, rank, shape, err));
    COP_TRY(status, cop_array_writer_put_rows(writer, name, 0, shape[0], data, err));

done:
    return status;
}

// The object that an attribute belongs to, opened; missing groups on the way are made.
static hid_t open_object(const cop_array_writer *writer, const char *object)
{
    if (object[0] == '\0' || strcmp(object, "/") == 0) {
        return H5Oopen(writer->file, "/", H5P_DEFAULT);
    }
    hid_t id = H5Oopen(writer->file, object, H5P_DEFAULT);
    if (id < 0) {
        const hid_t links = H5Pcreate(H5P_LINK_CREATE);
        if (links >= 0 && H5Pset_create_intermediate_group(links, 1) >= 0) {
            id = H5Gcreate2(writer->file, object, links, H5P_DEFAULT, H5P_DEFAULT);
        }
        if (links >= 0) {
            (void)H5Pclose(links);
        }
    }
    return id;
}

static cop_status put_attribute(cop_array_writer *writer, const char *object, const char *key,
                                hid_t stored, hid_t memory, const void *data, cop_error *err)
{
    cop_status status = reserve(writer, OBJECT_SLACK_BYTES + H5Tget_size(stored), err);
    if (status != COP_OK) {
        return status;
    }
    const hid_t id = open_object(writer, object);
    const hid_t space = H5Screate(H5S_SCALAR);
    hid_t attribute = H5I_INVALID_HID;

    if (id >= 0 && H5Aexists(id, key) > 0) {
        (void)H5Adelete(id, key);
    }
    if (id < 0 || space < 0 || stored < 0 ||
        (attribute = H5Acreate2(id, key, stored, space, H5P_DEFAULT, H5P_DEFAULT)) < 0 ||
        H5Awrite(attribute, memory, data) < 0) {
        status = fail(writer, err, "write the attribute", key);
    }
    if (attribute >= 0) {
        (void)H5Aclose(attribute);
    }
    if (space >= 0) {
        (void)H5Sclose(space);
    }
    if (id >= 0) {
        (void)H5Oclose(id);
    }
    return status;
}

cop_status cop_array_writer_text(cop_array_writer *writer, const char *object, const char *key,
                                 const char *value, cop_error *err)
{
    const hid_t type = H5Tcopy(H5T_C_S1);
    cop_status status = COP_OK;
    // Of variable length: h5py then gives a str, not bytes.
    if (type < 0 || H5Tset_size(type, H5T_VARIABLE) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0) {
        status = fail(writer, err, "describe the attribute", key);
        goto done;
    }
    COP_TRY(status, reserve(writer, strlen(value), err));
    COP_TRY(status, put_attribute(writer, object, key, type, type, &value, err));

done:
    if (type >= 0) {
        (void)H5Tclose(type);
    }
    return status;
}

cop_status cop_array_writer_i64(cop_array_writer *writer, const char *object, const char *key,
                                int64_t value, cop_error *err)
{
    return put_attribute(writer, object, key, H5T_STD_I64LE, H5T_NATIVE_INT64, &value, err);
}

cop_status cop_array_writer_f64(cop_array_writer *writer, const char *object, const char *key,
                                double value, cop_error *err)
{
    return put_attribute(writer, object, key, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value, err);
}

cop_status cop_array_writer_commit(cop_array_writer *writer, cop_error *err)
{
    cop_status status = COP_OK;
    if (H5Fflush(writer->file, H5F_SCOPE_GLOBAL) < 0) {
        return fail(writer, err, "flush", "the file");
    }
    const hid_t file = writer->file;
    writer->file = H5I_INVALID_HID;
    if (H5Fclose(file) < 0) {
        return fail(writer, err, "close", "the file");
    }
    COP_TRY(status, cop_file_publish(writer->path, writer->temp_path, err));
    cop_free(writer->temp_path); // it is the file now: nothing is left to remove
    writer->temp_path = NULL;

done:
    return status;
}

void cop_array_writer_destroy(cop_array_writer *writer)
{
    if (writer != NULL) {
        if (writer->file >= 0) {
            (void)H5Fclose(writer->file);
        }
        if (writer->fd >= 0) {
            (void)close(writer->fd); // nothing was written through it
        }
        if (writer->temp_path != NULL) {
            (void)unlink(writer->temp_path);
        }
        cop_free(writer->temp_path);
        cop_free(writer->path);
        cop_free(writer);
    }
}
