// The CUDA runtime on plain host memory: enough for launchers and tests to compile and link
// unchanged, without libcudart. Every call completes before it returns, streams are names only, and
// fresh memory is filled with 0xff bytes. Memory comes straight from posix_memalign with its exact
// size, so that a sanitizer sees the first byte past the end.

#include <stdlib.h>
#include <string.h>

#include "tests/host_shim/cuda_host_internal.h"

namespace {

enum {
    ALIGNMENT_BYTES = 256, // what cudaMalloc promises
    DYNAMIC_DEFAULT_BYTES = 48 * 1024,
    DYNAMIC_MAX_BYTES = 227 * 1024 // compute capability 9.0
};

struct dynamic_limit {
    const void *function;
    size_t bytes;
};

dynamic_limit limits[256]; // one for each kernel that asked for more than the default
int limit_count;
thread_local cudaError_t last_error = cudaSuccess; // per thread of the host, as CUDA has it

} // namespace

static cudaError_t failed(cudaError_t error)
{
    last_error = error;
    return error;
}

void cop_cuda_host_error_set(cudaError_t error)
{
    last_error = error;
}

size_t cop_cuda_host_dynamic_limit(const void *function)
{
    for (int i = 0; i < limit_count; i++) {
        if (limits[i].function == function) {
            return limits[i].bytes;
        }
    }
    return DYNAMIC_DEFAULT_BYTES;
}

// NOLINTBEGIN(readability-identifier-naming,readability-inconsistent-declaration-parameter-name):
// the functions are CUDA's, their parameters have names in this project's style.

extern "C" {

cudaError_t cudaMalloc(void **memory, size_t bytes)
{
    *memory = NULL;
    if (bytes == 0) {
        return cudaSuccess;
    }
    if (posix_memalign(memory, ALIGNMENT_BYTES, bytes) != 0) {
        *memory = NULL;
        return failed(cudaErrorMemoryAllocation);
    }
    memset(*memory, 0xff, bytes);
    return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    *free_bytes = size_t{8} << 30;
    *total_bytes = size_t{16} << 30;
    return cudaSuccess;
}

cudaError_t cudaMallocAsync(void **memory, size_t bytes, cudaStream_t stream)
{
    (void)stream;
    return cudaMalloc(memory, bytes);
}

cudaError_t cudaFree(void *memory)
{
    free(memory);
    return cudaSuccess;
}

cudaError_t cudaFreeAsync(void *memory, cudaStream_t stream)
{
    (void)stream;
    return cudaFree(memory);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind)
{
    (void)kind;
    if (bytes > 0) {
        memmove(to, from, bytes);
    }
    return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    (void)stream;
    return cudaMemcpy(to, from, bytes, kind);
}

cudaError_t cudaMemset(void *memory, int value, size_t bytes)
{
    if (bytes > 0) {
        memset(memory, value, bytes);
    }
    return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void *memory, int value, size_t bytes, cudaStream_t stream)
{
    (void)stream;
    return cudaMemset(memory, value, bytes);
}

cudaError_t cudaStreamCreate(cudaStream_t *stream)
{
    *stream = NULL; // the default stream: all are in order
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    (void)stream;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream)
{
    (void)stream;
    return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void)
{
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value)
{
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) {
        return cudaSuccess; // hints change no result
    }
    if (value < 0 || value > DYNAMIC_MAX_BYTES) {
        return failed(cudaErrorInvalidValue);
    }
    int i = 0;
    while (i < limit_count && limits[i].function != function) {
        i++;
    }
    if (i == static_cast<int>(sizeof limits / sizeof limits[0])) {
        return failed(cudaErrorMemoryAllocation);
    }
    limits[i] = dynamic_limit{function, static_cast<size_t>(value)};
    limit_count = i == limit_count ? i + 1 : limit_count;
    return cudaSuccess;
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaPeekAtLastError(void)
{
    return last_error;
}

const char *cudaGetErrorName(cudaError_t error)
{
    switch (static_cast<int>(error)) {
    case cudaSuccess: return "cudaSuccess";
    case cudaErrorInvalidValue: return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation: return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration: return "cudaErrorInvalidConfiguration";
    }
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error)
{
    switch (static_cast<int>(error)) {
    case cudaSuccess: return "no error";
    case cudaErrorInvalidValue: return "invalid argument";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorInvalidConfiguration: return "invalid configuration argument";
    }
    return "unrecognized error code";
}
}

// NOLINTEND(readability-identifier-naming,readability-inconsistent-declaration-parameter-name)
