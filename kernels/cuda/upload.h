// Pinned buffers, each with an event that says when the device has done with it. Between
// kernels/cuda/upload.cu and read_file.cu.

#ifndef COP_KERNELS_CUDA_UPLOAD_H
#define COP_KERNELS_CUDA_UPLOAD_H

#include "kernels/cuda/ops.h"

constexpr uint64_t COP_SMALL_BYTES = 64 << 10;
constexpr uint64_t COP_PIECE_BYTES = 4 << 20;
constexpr int COP_SMALL_COUNT = 64; // small copies under way at once
constexpr int COP_PIECE_COUNT = 16; // two per reading thread

// Zeroed while it was never used.
typedef struct cop_cuda_slot {
    void *buffer; // pinned
    cudaEvent_t done;
    bool is_under_way; // `done` was recorded and nobody has seen it happen
    // A result on its way to the host: it is in `buffer` when `done` has happened.
    void *wanted_at; // NULL: none
    uint64_t wanted_bytes;
    cudaStream_t stream;
} cop_cuda_slot;

struct cop_cuda_uploads {
    int device;
    cop_cuda_slot small[COP_SMALL_COUNT];
    cop_cuda_slot pieces[COP_PIECE_COUNT];
    int small_next;
    int piece_next;
};

// Allocates the buffer at the first use, waits until the device has done with it, and delivers the
// result it may hold. CUDA's error.
cudaError_t cop_cuda_slot_take(cop_cuda_slot *slot, uint64_t bytes);
// What was enqueued before on the stream is what the device still does with the buffer.
cudaError_t cop_cuda_slot_pass(cop_cuda_slot *slot, cudaStream_t stream);

#endif
