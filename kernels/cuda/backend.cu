// Memory, streams and copies of the CUDA backend.
//
// All streams are non-blocking: nothing is ordered with the runtime's default stream. Host memory
// passes through pinned buffers (upload.cu), so that copies neither wait nor hold on to what
// callers own.

#include <stdio.h>

#include "base/alloc.h"
#include "kernels/cuda/graph.h"
#include "kernels/cuda/group.h"
#include "kernels/cuda/ops.h"

static cop_cuda *context_of(cop_backend *backend)
{
    return static_cast<cop_cuda *>(backend->context);
}

// What must not be called between graph_begin() and graph_end(). Refused here: the driver would
// answer with a code that does not say which call it was.
static cop_status check_idle(const cop_cuda *cuda, const char *what, cop_error *err)
{
    return !cuda->is_recording
               ? COP_OK
               : COP_FAIL(
                     err, COP_ERR_DEVICE,
                     "cuda: %s: while work is recorded (allowed: before graph_begin() or after "
                     "graph_end())",
                     what);
}

static cop_status device_info(cop_backend *backend, cop_device_info *out, cop_error *err)
{
    const cop_cuda *cuda = context_of(backend);
    cop_status status = COP_OK;
    size_t free_bytes = 0;
    size_t total_bytes = 0;
    cop_device_info info = {};
    COP_TRY(status, cop_cuda_enter(cuda, err));
    COP_CUDA_TRY(status, err, "memory of the device", cudaMemGetInfo(&free_bytes, &total_bytes));
    info.memory_bytes = total_bytes;
    info.memory_free_bytes = free_bytes;
    info.has_bf16_matmul = true;
    info.has_graphs = true;
    (void)snprintf(info.name, sizeof info.name, "cuda: %.80s", cuda->name);
    *out = info;

done:
    return status;
}

static cop_status fail_memory(cop_error *err, uint64_t bytes)
{
    size_t free_bytes = 0;
    size_t total_bytes = 0;
    (void)cudaGetLastError();
    (void)cudaMemGetInfo(&free_bytes, &total_bytes);
    return COP_FAIL(err, COP_ERR_NOMEM, "cuda: device memory: %llu bytes (allowed: %llu free)",
                    static_cast<unsigned long long>(bytes),
                    static_cast<unsigned long long>(free_bytes));
}

static cop_status device_alloc(cop_backend *backend, void **out, uint64_t bytes, cop_error *err)
{
    cop_cuda *cuda = context_of(backend);
    cop_status status = COP_OK;
    cudaError_t error = cudaSuccess;
    void *memory = NULL;
    COP_TRY(status, check_idle(cuda, "allocation", err));
    COP_TRY(status, cop_cuda_enter(cuda, err));
    error = cudaMalloc(&memory, bytes > 0 ? static_cast<size_t>(bytes) : 1);
    if (error == cudaErrorMemoryAllocation) {
        status = fail_memory(err, bytes);
        goto done;
    }
    COP_CUDA_TRY(status, err, "device memory", error);
    // Zeros are there before the call returns, whichever stream uses them first, without waiting
    // for what the backend's streams do.
    COP_CUDA_TRY(status, err, "device memory",
                 cudaMemsetAsync(memory, 0, static_cast<size_t>(bytes), cuda->zeroing));
    COP_CUDA_TRY(status, err, "device memory", cudaStreamSynchronize(cuda->zeroing));
    *out = memory;
    memory = NULL;

done:
    (void)cudaFree(memory);
    return cop_cuda_note(cuda, status);
}

static void device_free(cop_backend *backend, void *memory)
{
    if (cop_cuda_enter(context_of(backend), NULL) == COP_OK) {
        (void)cudaFree(memory); // waits for what uses it
    }
    (void)cudaGetLastError();
}

static cop_status copy_to_device(cop_backend *backend, cop_stream *stream, void *to,
                                 const void *from, uint64_t bytes, cop_error *err)
{
    cop_cuda *cuda = context_of(backend);
    cop_status status = COP_OK;
    COP_TRY(status, check_idle(cuda, "copy to the device", err));
    COP_TRY(status, cop_cuda_enter(cuda, err));
    COP_TRY(status,
            cop_cuda_upload(cuda->uploads, cop_cuda_stream(cuda, stream), to, from, bytes, err));

done:
    return cop_cuda_note(cuda, status);
}

static cop_status copy_to_host(cop_backend *backend, cop_stream *stream, void *to, const void *from,
                               uint64_t bytes, cop_error *err)
{
    cop_cuda *cuda = context_of(backend);
    cop_status status = COP_OK;
    COP_TRY(status, check_idle(cuda, "copy to the host", err));
    COP_TRY(status, cop_cuda_enter(cuda, err));
    COP_TRY(status,
            cop_cuda_download(cuda->uploads, cop_cuda_stream(cuda, stream), to, from, bytes, err));

done:
    return cop_cuda_note(cuda, status);
}

static cop_status copy_on_device(cop_backend *backend, cop_stream *stream, void *to,
                                 const void *from, uint64_t bytes, cop_error *err)
{
    cop_cuda *cuda = context_of(backend);
    cop_status status = COP_OK;
    COP_TRY(status, cop_cuda_enter(cuda, err));
    if (bytes > 0) {
        COP_CUDA_TRY(status, err, "copy on the device",
                     cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice,
                                     cop_cuda_stream(cuda, stream)));
    }

done:
    return cop_cuda_note(cuda, status);
}

static cop_status read_file(cop_backend *backend, cop_stream *stream, void *to, int file,
                            uint64_t offset, uint64_t bytes, const char *path, cop_error *err)
{
    cop_cuda *cuda = context_of(backend);
    cop_status status = COP_OK;
    COP_TRY(status, check_idle(cuda, "reading a file", err));
    COP_TRY(status, cop_cuda_enter(cuda, err));
    COP_TRY(status, cop_cuda_read_file(cuda->uploads, cop_cuda_stream(cuda, stream), to, file,
                                       offset, bytes, path, err));

done:
    return cop_cuda_note(cuda, status);
}

static cop_status zero(cop_backend *backend, cop_stream *stream, void *memory, uint64_t bytes,
                       cop_error *err)
{
    cop_cuda *cuda = context_of(backend);
    cop_status status = COP_OK;
    COP_TRY(status, cop_cuda_enter(cuda, err));
    if (bytes > 0) {
        COP_CUDA_TRY(
            status, err, "zeros",
            cudaMemsetAsync(memory, 0, static_cast<size_t>(bytes), cop_cuda_stream(cuda, stream)));
    }

done:
    return cop_cuda_note(cuda, status);
}

static cop_status stream_create(cop_backend *backend, cop_stream **out, cop_error *err)
{
    cop_cuda *cuda = context_of(backend);
    cop_status status = COP_OK;
    cop_stream *stream = static_cast<cop_stream *>(cop_alloc(1, sizeof *stream));
    *out = NULL;
    if (stream == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM,
                          "cuda: stream: %zu bytes (allowed: memory is exhausted)", sizeof *stream);
        goto done;
    }
    COP_TRY(status, cop_cuda_enter(cuda, err));
    COP_CUDA_TRY(status, err, "stream",
                 cudaStreamCreateWithFlags(&stream->stream, cudaStreamNonBlocking));
    *out = stream;
    stream = NULL;

done:
    cop_free(stream);
    return cop_cuda_note(cuda, status);
}

static void stream_destroy(cop_backend *backend, cop_stream *stream)
{
    cop_cuda *cuda = context_of(backend);
    if (stream != NULL) {
        if (cop_cuda_enter(cuda, NULL) == COP_OK) {
            cop_cuda_downloads_drop(cuda->uploads, stream->stream);
            (void)cudaStreamDestroy(stream->stream); // once its work is done
        }
        (void)cudaGetLastError();
        cop_free(stream);
    }
}

static cop_status stream_wait(cop_backend *backend, cop_stream *stream, cop_stream *other,
                              cop_error *err)
{
    cop_cuda *cuda = context_of(backend);
    cop_status status = COP_OK;
    cudaEvent_t reached = NULL;
    COP_TRY(status, cop_cuda_enter(cuda, err));
    COP_CUDA_TRY(status, err, "event", cudaEventCreateWithFlags(&reached, cudaEventDisableTiming));
    COP_CUDA_TRY(status, err, "event", cudaEventRecord(reached, cop_cuda_stream(cuda, other)));
    COP_CUDA_TRY(status, err, "wait for a stream",
                 cudaStreamWaitEvent(cop_cuda_stream(cuda, stream), reached, 0));

done:
    if (reached != NULL) {
        (void)cudaEventDestroy(reached); // lives until nobody waits for it
    }
    return cop_cuda_note(cuda, status);
}

static cop_status synchronize(cop_backend *backend, cop_stream *stream, cop_error *err)
{
    cop_cuda *cuda = context_of(backend);
    cop_status status = COP_OK;
    COP_TRY(status, check_idle(cuda, "synchronize", err));
    COP_TRY(status, cop_cuda_enter(cuda, err));
    COP_CUDA_TRY(status, err, "synchronize", cudaStreamSynchronize(cop_cuda_stream(cuda, stream)));
    COP_TRY(status, cop_cuda_downloads_deliver(cuda->uploads, err));

done:
    if (status != COP_OK && !cuda->is_recording) {
        cop_cuda_downloads_drop(cuda->uploads, NULL); // nobody may wait for them any more
    }
    return cop_cuda_note(cuda, status);
}

static void destroy(cop_backend *backend)
{
    cop_cuda *cuda = context_of(backend);
    if (cop_cuda_enter(cuda, NULL) == COP_OK) {
        cudaGraph_t recorded = NULL;
        if (cuda->is_recording && cudaStreamEndCapture(cuda->recording, &recorded) == cudaSuccess) {
            (void)cudaGraphDestroy(recorded);
        }
        (void)cudaDeviceSynchronize();
    }
    cop_cuda_lt_destroy(cuda->lt);
    cop_cuda_flash_destroy(cuda->flash);
    cop_cuda_uploads_destroy(cuda->uploads);
    if (cuda->stream != NULL) {
        (void)cudaStreamDestroy(cuda->stream);
    }
    if (cuda->zeroing != NULL) {
        (void)cudaStreamDestroy(cuda->zeroing);
    }
    (void)cudaGetLastError();
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
    read_file,
    zero,
    stream_create,
    stream_destroy,
    stream_wait,
    synchronize,
    cop_cuda_graph_begin,
    cop_cuda_graph_end,
    cop_cuda_graph_run,
    cop_cuda_graph_destroy,
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
        cop_free(backend);
        cop_free(cuda);
        return COP_FAIL(err, COP_ERR_NOMEM,
                        "cuda: backend: %zu bytes (allowed: memory is exhausted)",
                        sizeof *backend + sizeof *cuda);
    }
    backend->type = &device_type;
    backend->ops = cop_cuda_ops();
    backend->context = cuda;
    COP_TRY(status, cop_cuda_device_use(cuda, device, err));
    COP_CUDA_TRY(status, err, "stream",
                 cudaStreamCreateWithFlags(&cuda->stream, cudaStreamNonBlocking));
    COP_CUDA_TRY(status, err, "stream",
                 cudaStreamCreateWithFlags(&cuda->zeroing, cudaStreamNonBlocking));
    COP_TRY(status, cop_cuda_uploads_create(&cuda->uploads, device, err));
    COP_TRY(status, cop_cuda_lt_create(&cuda->lt, cuda, err));
    COP_TRY(status, cop_cuda_flash_create(&cuda->flash, cuda, err));
    *out = backend;
    backend = NULL;

done:
    if (backend != NULL) {
        destroy(backend);
    }
    return status;
}
