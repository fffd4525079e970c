// Memory, streams and copies of the CUDA backend.

#include <stdio.h>

#include "base/alloc.h"
#include "kernels/cuda/group.h"
#include "kernels/cuda/ops.h"

static cop_cuda *context_of(cop_backend *backend)
{
    return static_cast<cop_cuda *>(backend->context);
}

static cop_status device_info(cop_backend *backend, cop_device_info *out, cop_error *err)
{
    const cop_cuda *cuda = context_of(backend);
    cop_status status = COP_OK;
    size_t free_bytes = 0;
    size_t total_bytes = 0;
    cop_device_info info = {};
    COP_CUDA_TRY(status, err, "memory of the device", cudaMemGetInfo(&free_bytes, &total_bytes));
    info.memory_bytes = total_bytes;
    info.memory_free_bytes = free_bytes;
    info.has_bf16_matmul = true;
    (void)snprintf(info.name, sizeof info.name, "%s", cuda->name);
    *out = info;

done:
    return status;
}

static cop_status device_alloc(cop_backend *backend, void **out, uint64_t bytes, cop_error *err)
{
    cop_cuda *cuda = context_of(backend);
    cop_status status = COP_OK;
    void *memory = NULL;
    COP_CUDA_TRY(status, err, "device memory", cudaMalloc(&memory, bytes > 0 ? bytes : 1));
    COP_CUDA_TRY(status, err, "device memory", cudaMemsetAsync(memory, 0, bytes, cuda->stream));
    *out = memory;
    memory = NULL;

done:
    (void)cudaFree(memory);
    return status;
}

static void device_free(cop_backend *backend, void *memory)
{
    (void)backend;
    (void)cudaFree(memory);
}

static cop_status copy(cop_backend *backend, cop_stream *stream, void *to, const void *from,
                       uint64_t bytes, cudaMemcpyKind kind, cop_error *err)
{
    cop_cuda *cuda = context_of(backend);
    cop_status status = COP_OK;
    COP_CUDA_TRY(status, err, "copy",
                 cudaMemcpyAsync(to, from, bytes, kind, cop_cuda_stream(cuda, stream)));

done:
    return status;
}

static cop_status copy_to_device(cop_backend *backend, cop_stream *stream, void *to,
                                 const void *from, uint64_t bytes, cop_error *err)
{
    return copy(backend, stream, to, from, bytes, cudaMemcpyHostToDevice, err);
}

static cop_status copy_to_host(cop_backend *backend, cop_stream *stream, void *to, const void *from,
                               uint64_t bytes, cop_error *err)
{
    return copy(backend, stream, to, from, bytes, cudaMemcpyDeviceToHost, err);
}

static cop_status copy_on_device(cop_backend *backend, cop_stream *stream, void *to,
                                 const void *from, uint64_t bytes, cop_error *err)
{
    return copy(backend, stream, to, from, bytes, cudaMemcpyDeviceToDevice, err);
}

static cop_status zero(cop_backend *backend, cop_stream *stream, void *memory, uint64_t bytes,
                       cop_error *err)
{
    cop_cuda *cuda = context_of(backend);
    cop_status status = COP_OK;
    COP_CUDA_TRY(status, err, "zero",
                 cudaMemsetAsync(memory, 0, bytes, cop_cuda_stream(cuda, stream)));

done:
    return status;
}

static cop_status synchronize(cop_backend *backend, cop_stream *stream, cop_error *err)
{
    cop_cuda *cuda = context_of(backend);
    cop_status status = COP_OK;
    COP_CUDA_TRY(status, err, "synchronize", cudaStreamSynchronize(cop_cuda_stream(cuda, stream)));

done:
    return status;
}

static void destroy(cop_backend *backend)
{
    cop_cuda *cuda = context_of(backend);
    cop_cuda_lt_destroy(cuda->lt);
    cop_cuda_flash_destroy(cuda->flash);
    cop_free(cuda);
    cop_free(backend);
}

// In the order of the struct: C++17 has no designated initializers.
static const cop_backend_type device_type = {
    "cuda",
    device_info,
    device_alloc,
    device_free,
    copy_to_device,
    copy_to_host,
    copy_on_device,
    NULL,
    zero,
    NULL,
    NULL,
    NULL,
    synchronize,
    NULL,
    NULL,
    NULL,
    NULL,
    destroy,
    &cop_cuda_group_functions,
};

cop_status cop_cuda_backend_create(cop_backend **out, int device, cop_error *err)
{
    cop_status status = COP_OK;
    cop_backend *backend = static_cast<cop_backend *>(cop_alloc(1, sizeof *backend));
    cop_cuda *cuda = static_cast<cop_cuda *>(cop_alloc(1, sizeof *cuda));
    *out = NULL;
    if (backend == NULL || cuda == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "cuda: no memory for a backend");
        goto done;
    }
    cuda->device = device;
    cuda->multiprocessors = 4;
    cuda->shared_bytes_max = 227 * 1024;
    COP_TRY(status, cop_cuda_lt_create(&cuda->lt, cuda, err));
    COP_TRY(status, cop_cuda_flash_create(&cuda->flash, cuda, err));
    backend->type = &device_type;
    backend->ops = cop_cuda_ops();
    backend->context = cuda;
    *out = backend;
    backend = NULL;
    cuda = NULL;

done:
    cop_free(cuda);
    cop_free(backend);
    return status;
}
