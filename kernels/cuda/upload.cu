// Copies between pageable host memory and the device by way of small pinned buffers. Handed
// pageable memory, the runtime would wait for the stream; and pinning what callers have is slow.

#include <string.h>

#include "base/alloc.h"
#include "kernels/cuda/upload.h"

cop_status cop_cuda_uploads_create(cop_cuda_uploads **out, int device, cop_error *err)
{
    cop_cuda_uploads *uploads = static_cast<cop_cuda_uploads *>(cop_alloc(1, sizeof *uploads));
    *out = uploads;
    if (uploads == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM,
                        "cuda: uploads: %zu bytes (allowed: memory is exhausted)", sizeof *uploads);
    }
    uploads->device = device;
    return COP_OK;
}

static void release(cop_cuda_slot *slots, int count)
{
    for (int i = 0; i < count; i++) {
        if (slots[i].done != NULL) {
            (void)cudaEventDestroy(slots[i].done);
        }
        (void)cudaFreeHost(slots[i].buffer);
    }
}

void cop_cuda_uploads_destroy(cop_cuda_uploads *uploads)
{
    if (uploads != NULL) {
        release(uploads->small, COP_SMALL_COUNT);
        release(uploads->pieces, COP_PIECE_COUNT);
        cop_free(uploads);
    }
}

static void deliver(cop_cuda_slot *slot)
{
    slot->is_under_way = false;
    if (slot->wanted_at != NULL) {
        memcpy(slot->wanted_at, slot->buffer, slot->wanted_bytes);
        slot->wanted_at = NULL;
    }
}

cudaError_t cop_cuda_slot_take(cop_cuda_slot *slot, uint64_t bytes)
{
    cudaError_t error = cudaSuccess;
    if (slot->buffer == NULL) {
        error = cudaMallocHost(&slot->buffer, bytes);
    }
    if (error == cudaSuccess && slot->done == NULL) {
        error = cudaEventCreateWithFlags(&slot->done, cudaEventDisableTiming);
    }
    if (error == cudaSuccess && slot->is_under_way) {
        error = cudaEventSynchronize(slot->done);
        if (error == cudaSuccess) {
            deliver(slot);
        }
    }
    return error;
}

cudaError_t cop_cuda_slot_pass(cop_cuda_slot *slot, cudaStream_t stream)
{
    const cudaError_t error = cudaEventRecord(slot->done, stream);
    slot->stream = stream;
    slot->is_under_way = error == cudaSuccess;
    return error;
}

cop_status cop_cuda_upload(cop_cuda_uploads *uploads, cudaStream_t stream, void *to,
                           const void *from, uint64_t bytes, cop_error *err)
{
    cop_status status = COP_OK;
    const bool is_small = bytes <= COP_SMALL_BYTES;
    const uint64_t most = is_small ? COP_SMALL_BYTES : COP_PIECE_BYTES;
    for (uint64_t done = 0; done < bytes;) {
        const uint64_t part = bytes - done < most ? bytes - done : most;
        int *next = is_small ? &uploads->small_next : &uploads->piece_next;
        cop_cuda_slot *slot = (is_small ? uploads->small : uploads->pieces) + *next;
        COP_CUDA_TRY(status, err, "pinned buffer", cop_cuda_slot_take(slot, most));
        memcpy(slot->buffer, static_cast<const char *>(from) + done, part);
        COP_CUDA_TRY(status, err, "copy to the device",
                     cudaMemcpyAsync(static_cast<char *>(to) + done, slot->buffer, part,
                                     cudaMemcpyHostToDevice, stream));
        COP_CUDA_TRY(status, err, "copy to the device", cop_cuda_slot_pass(slot, stream));
        *next = (*next + 1) % (is_small ? COP_SMALL_COUNT : COP_PIECE_COUNT);
        done += part;
    }

done:
    return status;
}

cop_status cop_cuda_download(cop_cuda_uploads *uploads, cudaStream_t stream, void *to,
                             const void *from, uint64_t bytes, cop_error *err)
{
    cop_status status = COP_OK;
    cop_cuda_slot *slot = &uploads->small[uploads->small_next];
    if (bytes == 0) {
        return COP_OK;
    }
    if (bytes > COP_SMALL_BYTES) {
        COP_CUDA_TRY(status, err, "copy to the host",
                     cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream));
        goto done;
    }
    COP_CUDA_TRY(status, err, "pinned buffer", cop_cuda_slot_take(slot, COP_SMALL_BYTES));
    COP_CUDA_TRY(status, err, "copy to the host",
                 cudaMemcpyAsync(slot->buffer, from, bytes, cudaMemcpyDeviceToHost, stream));
    COP_CUDA_TRY(status, err, "copy to the host", cop_cuda_slot_pass(slot, stream));
    slot->wanted_at = to;
    slot->wanted_bytes = bytes;
    uploads->small_next = (uploads->small_next + 1) % COP_SMALL_COUNT;

done:
    return status;
}

cop_status cop_cuda_downloads_deliver(cop_cuda_uploads *uploads, cop_error *err)
{
    cop_status status = COP_OK;
    // Oldest first: of two results for one place the later one stays.
    for (int i = 0; i < COP_SMALL_COUNT; i++) {
        cop_cuda_slot *slot = &uploads->small[(uploads->small_next + i) % COP_SMALL_COUNT];
        if (slot->wanted_at == NULL) {
            continue;
        }
        const cudaError_t answer = cudaEventQuery(slot->done);
        if (answer == cudaSuccess) {
            deliver(slot);
        } else if (answer == cudaErrorNotReady) {
            (void)cudaGetLastError();
        } else {
            COP_CUDA_TRY(status, err, "copy to the host", answer);
        }
    }

done:
    return status;
}

void cop_cuda_downloads_drop(cop_cuda_uploads *uploads, cudaStream_t stream)
{
    for (int i = 0; i < COP_SMALL_COUNT; i++) {
        if (stream == NULL || uploads->small[i].stream == stream) {
            uploads->small[i].wanted_at = NULL;
        }
    }
}
