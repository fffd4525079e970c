// What the files of the CUDA backend share. Nobody else includes this: the program sees a
// cop_backend, made by the plugin (kernels/cuda/plugin.h).

#ifndef COP_KERNELS_CUDA_CUDA_H
#define COP_KERNELS_CUDA_CUDA_H

#include "kernels/cuda/launch.h"
#include "kernels/ops.h"

typedef struct cop_cuda_uploads cop_cuda_uploads; // pinned buffers: kernels/cuda/upload.cu
typedef struct cop_cuda_lt cop_cuda_lt;           // cuBLASLt: kernels/cuda/matmul_lt.cu
typedef struct cop_cuda_flash cop_cuda_flash;     // cuDNN: kernels/cuda/attention_cudnn.cpp

// The backend's context: one device, one thread at a time.
typedef struct cop_cuda {
    int device;
    int multiprocessors;
    int compute;             // capability: 80, 90, 100; 90 on the host
    size_t shared_bytes_max; // dynamic shared memory that a block may opt into
    cudaStream_t stream;     // the default stream of the backend, non-blocking
    cudaStream_t zeroing;    // clears fresh memory
    cop_cuda_uploads *uploads;
    cop_cuda_lt *lt;       // NULL: products by the plain kernel
    cop_cuda_flash *flash; // NULL: attention by the own kernels
    int64_t head_piece;    // tokens: see kernels/cuda/head.h; 0, but in tests: by memory
    int64_t head_group;
    char name[96];
    bool is_recording;        // between graph_begin() and graph_end()
    bool is_recording_broken; // a call in between failed
    cudaStream_t recording;
} cop_cuda;

struct cop_stream {
    cudaStream_t stream;
};

// The CUDA stream of a backend's stream; NULL is the default one.
static inline cudaStream_t cop_cuda_stream(const cop_cuda *cuda, const cop_stream *stream)
{
    return stream == NULL ? cuda->stream : stream->stream;
}

// A failure while work is recorded spoils the recording.
static inline cop_status cop_cuda_note(cop_cuda *cuda, cop_status status)
{
    if (status != COP_OK && cuda->is_recording) {
        cuda->is_recording_broken = true;
    }
    return status;
}

#ifdef __cplusplus
extern "C" {
#endif

// COP_ERR_DEVICE "<what>: <name of the error>: <its description>", draining the runtime's error.
cop_status cop_cuda_fail(cop_error *err, const char *what, cudaError_t error);

// Makes the backend's device that of the calling thread.
COP_MUST_CHECK cop_status cop_cuda_enter(const cop_cuda *cuda, cop_error *err);

// Result of a launch: COP_OK, or COP_ERR_DEVICE naming the operator and the shape.
COP_MUST_CHECK cop_status cop_cuda_launched(cop_error *err, const char *op, int64_t rows,
                                            int64_t cols);

#ifdef __cplusplus
}
#endif

// As COP_TRY, for a call of the runtime: `what` names the step in the message.
#define COP_CUDA_TRY(status, err, what, call)                        \
    do {                                                             \
        const cudaError_t cop_cuda_error = (call);                   \
        if (cop_cuda_error != cudaSuccess) {                         \
            (status) = cop_cuda_fail((err), (what), cop_cuda_error); \
            goto done;                                               \
        }                                                            \
    } while (0)

#endif
