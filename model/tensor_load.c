#include "model/tensor_load.h"

#include "base/alloc.h"
#include "base/file.h"

enum { HOST_CHUNK_BYTES = 4 << 20 };

uint64_t cop_staging_bytes(const cop_arch *arch)
{
    const int64_t count = cop_arch_tensor_count(arch);
    uint64_t largest = 64;
    for (int64_t i = 0; i < count; i++) {
        const cop_tensor_spec spec = cop_arch_tensor(arch, i);
        const uint64_t bytes = (uint64_t)(spec.shape[0] * spec.shape[1]) * sizeof(float);
        largest = bytes > largest ? bytes : largest;
    }
    return largest < COP_STAGING_BYTES ? largest : (uint64_t)COP_STAGING_BYTES;
}

// A part of a tensor, in elements from its start.
typedef struct part {
    int64_t first;
    int64_t count;
} part;

static cop_matrix part_of(cop_matrix to, part at)
{
    char *data = (char *)to.data + (uint64_t)at.first * cop_dtype_bytes(to.dtype);
    return cop_matrix_dense(data, to.dtype, 1, at.count);
}

// Through device memory: the device converts.
static cop_status load_converted(cop_backend *backend, const cop_tensor_location *from,
                                 cop_matrix to, cop_staging staging, cop_error *err)
{
    cop_status status = COP_OK;
    const uint64_t element = cop_dtype_bytes(from->dtype);
    const int64_t count = to.rows * to.cols;
    const int64_t step = (int64_t)(staging.bytes / element);

    if (step < 1) {
        return COP_FAIL(err, COP_ERR_SHAPE, "%s: staging memory has %llu bytes (allowed: from 64)",
                        from->path, (unsigned long long)staging.bytes);
    }
    for (int64_t first = 0; first < count; first += step) {
        const part at = {.first = first, .count = count - first < step ? count - first : step};
        const cop_convert_args convert = {
            .x = cop_matrix_dense(staging.memory, from->dtype, 1, at.count),
            .y = part_of(to, at),
        };
        COP_TRY(status, cop_backend_read_file(backend, NULL, staging.memory, from->file,
                                              from->offset + (uint64_t)at.first * element,
                                              (uint64_t)at.count * element, from->path, err));
        COP_TRY(status, backend->ops->convert(backend, NULL, &convert, err));
    }

done:
    return status;
}

// Through host memory, for types that the operators do not take.
static cop_status load_by_host(cop_backend *backend, const cop_tensor_location *from, cop_matrix to,
                               cop_error *err)
{
    cop_status status = COP_OK;
    const uint64_t element = cop_dtype_bytes(from->dtype);
    const int64_t count = to.rows * to.cols;
    const int64_t most = (int64_t)(HOST_CHUNK_BYTES / element);
    const int64_t step = count < most ? count : most;
    void *stored = cop_alloc((size_t)step, element);
    void *wanted = cop_alloc((size_t)step, cop_dtype_bytes(to.dtype));

    if (stored == NULL || wanted == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "%s: no memory to convert a tensor", from->path);
        goto done;
    }
    for (int64_t first = 0; first < count; first += step) {
        const part at = {.first = first, .count = count - first < step ? count - first : step};
        const cop_matrix target = part_of(to, at);
        COP_TRY(status, cop_file_read_parallel(stored, from->file,
                                               from->offset + (uint64_t)at.first * element,
                                               (uint64_t)at.count * element, from->path, err));
        cop_dtype_convert(wanted, to.dtype, stored, from->dtype, (size_t)at.count);
        COP_TRY(status, cop_backend_to_device(backend, NULL, target.data, wanted,
                                              (uint64_t)at.count * cop_dtype_bytes(to.dtype), err));
    }

done:
    cop_free(stored);
    cop_free(wanted);
    return status;
}

cop_status cop_tensor_load(cop_backend *backend, const cop_checkpoint *checkpoint, int64_t index,
                           cop_matrix to, cop_staging staging, cop_error *err)
{
    cop_status status = COP_OK;
    cop_tensor_location from = {0};

    COP_TRY(status, cop_checkpoint_locate(checkpoint, index, &from, err));
    if ((uint64_t)(to.rows * to.cols) * cop_dtype_bytes(from.dtype) != from.bytes) {
        status = COP_FAIL(err, COP_ERR_SHAPE,
                          "%s: tensor %lld has %llu bytes (allowed: %lld x %lld elements)",
                          from.path, (long long)index, (unsigned long long)from.bytes,
                          (long long)to.rows, (long long)to.cols);
    } else if (from.dtype == to.dtype) {
        status = cop_backend_read_file(backend, NULL, to.data, from.file, from.offset, from.bytes,
                                       from.path, err);
    } else if (from.dtype == COP_F16 || from.dtype == COP_F64) {
        status = load_by_host(backend, &from, to, err);
    } else {
        status = load_converted(backend, &from, to, staging, err);
    }

done:
    return status;
}
