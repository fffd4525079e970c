// The CUDA runtime on plain host memory: enough for launchers and tests to compile and link
// unchanged, without libcudart. Fresh memory is filled with 0xff bytes. Memory comes straight from
// posix_memalign with its exact size, so that a sanitizer sees the first byte past the end. Streams,
// events and graphs: cuda_host_stream.cpp.

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/host_shim/cuda_host_control.h"
#include "tests/host_shim/cuda_host_internal.h"

namespace {

enum {
    ALIGNMENT_BYTES = 256, // what cudaMalloc promises
    DYNAMIC_DEFAULT_BYTES = 48 * 1024,
    DYNAMIC_MAX_BYTES = 227 * 1024, // compute capability 9.0
    MULTIPROCESSORS = 4
};

constexpr size_t MEMORY_BYTES = size_t{16} << 30;

struct dynamic_limit {
    const void *function;
    size_t bytes;
};

// What cudaMalloc() and cudaMallocHost() gave out.
struct allocation {
    char *start;
    size_t bytes;
    bool is_pinned;
    allocation *next;
};

dynamic_limit limits[256]; // one for each kernel that asked for more than the default
int limit_count;
pthread_mutex_t memory_turn = PTHREAD_MUTEX_INITIALIZER;
allocation *allocations;
size_t device_bytes;
size_t calls_left = SIZE_MAX;
size_t object_count;
thread_local cudaError_t last_error = cudaSuccess; // per thread of the host, as CUDA has it

} // namespace

cudaError_t cop_cuda_host_failed(cudaError_t error)
{
    last_error = error;
    return error;
}

void cop_cuda_host_error_set(cudaError_t error)
{
    last_error = error;
}

cudaError_t cop_cuda_host_gate(cudaError_t failure)
{
    (void)pthread_mutex_lock(&memory_turn);
    const bool fails = calls_left == 0;
    calls_left -= calls_left > 0 && calls_left != SIZE_MAX ? 1 : 0;
    (void)pthread_mutex_unlock(&memory_turn);
    return fails ? cop_cuda_host_failed(failure) : cudaSuccess;
}

void cop_cuda_host_count(int change)
{
    (void)pthread_mutex_lock(&memory_turn);
    object_count += static_cast<size_t>(change);
    (void)pthread_mutex_unlock(&memory_turn);
}

extern "C" void cop_cuda_host_fail_after(size_t calls)
{
    (void)pthread_mutex_lock(&memory_turn);
    calls_left = calls;
    (void)pthread_mutex_unlock(&memory_turn);
}

extern "C" size_t cop_cuda_host_live(void)
{
    return object_count;
}

bool cop_cuda_host_is_pageable(const void *memory)
{
    const char *at = static_cast<const char *>(memory);
    bool is_known = false;
    (void)pthread_mutex_lock(&memory_turn);
    for (const allocation *each = allocations; each != NULL && !is_known; each = each->next) {
        is_known = at >= each->start && at < each->start + each->bytes;
    }
    (void)pthread_mutex_unlock(&memory_turn);
    return !is_known;
}

static cudaError_t memory_take(void **memory, size_t bytes, bool is_pinned)
{
    *memory = NULL;
    cudaError_t error = cop_cuda_host_check_capture();
    if (error == cudaSuccess) {
        error = cop_cuda_host_gate(cudaErrorMemoryAllocation);
    }
    if (error != cudaSuccess || bytes == 0) {
        return error;
    }
    allocation *entry = static_cast<allocation *>(malloc(sizeof *entry));
    void *start = NULL;
    (void)pthread_mutex_lock(&memory_turn);
    const bool fits = is_pinned || bytes <= MEMORY_BYTES - device_bytes;
    if (entry == NULL || !fits || posix_memalign(&start, ALIGNMENT_BYTES, bytes) != 0) {
        (void)pthread_mutex_unlock(&memory_turn);
        free(entry);
        return cop_cuda_host_failed(cudaErrorMemoryAllocation);
    }
    *entry = allocation{static_cast<char *>(start), bytes, is_pinned, allocations};
    allocations = entry;
    device_bytes += is_pinned ? 0 : bytes;
    object_count++;
    (void)pthread_mutex_unlock(&memory_turn);
    memset(start, 0xff, bytes);
    *memory = start;
    return cudaSuccess;
}

static cudaError_t memory_give(void *memory)
{
    if (memory == NULL) {
        return cudaSuccess;
    }
    const cudaError_t error = cop_cuda_host_check_capture();
    if (error != cudaSuccess) {
        return error;
    }
    cop_cuda_host_drain(NULL); // what uses it comes to its end first
    (void)pthread_mutex_lock(&memory_turn);
    allocation **at = &allocations;
    while (*at != NULL && (*at)->start != memory) {
        at = &(*at)->next;
    }
    allocation *entry = *at;
    if (entry != NULL) {
        *at = entry->next;
        device_bytes -= entry->is_pinned ? 0 : entry->bytes;
        object_count--;
    }
    (void)pthread_mutex_unlock(&memory_turn);
    if (entry == NULL) {
        return cop_cuda_host_failed(cudaErrorInvalidValue);
    }
    free(entry);
    free(memory);
    return cudaSuccess;
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

#define COP_ERRORS                                                                              \
    COP_ERROR(cudaSuccess, "no error")                                                          \
    COP_ERROR(cudaErrorInvalidValue, "invalid argument")                                        \
    COP_ERROR(cudaErrorMemoryAllocation, "out of memory")                                       \
    COP_ERROR(cudaErrorInvalidConfiguration, "invalid configuration argument")                  \
    COP_ERROR(cudaErrorNoDevice, "no CUDA-capable device is detected")                          \
    COP_ERROR(cudaErrorInvalidDevice, "invalid device ordinal")                                 \
    COP_ERROR(cudaErrorNotReady, "device not ready")                                            \
    COP_ERROR(cudaErrorStreamCaptureUnsupported, "operation not permitted when stream is "      \
                                                 "capturing")                                   \
    COP_ERROR(cudaErrorStreamCaptureInvalidated, "operation failed due to a previous error "    \
                                                 "during capture")                              \
    COP_ERROR(cudaErrorCapturedEvent, "operation not permitted on an event last recorded in a " \
                                      "capturing stream")                                       \
    COP_ERROR(cudaErrorUnknown, "unknown error")

extern "C" {

cudaError_t cudaMalloc(void **memory, size_t bytes)
{
    return memory_take(memory, bytes, false);
}

cudaError_t cudaMallocHost(void **memory, size_t bytes)
{
    return memory_take(memory, bytes, true);
}

cudaError_t cudaFree(void *memory)
{
    return memory_give(memory);
}

cudaError_t cudaFreeHost(void *memory)
{
    return memory_give(memory);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    *free_bytes = MEMORY_BYTES - device_bytes;
    *total_bytes = MEMORY_BYTES;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = 1;
    return cop_cuda_host_gate(cudaErrorNoDevice);
}

cudaError_t cudaSetDevice(int device)
{
    return device == 0 ? cudaSuccess : cop_cuda_host_failed(cudaErrorInvalidDevice);
}

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = 13000;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *properties, int device)
{
    const cudaError_t error = cop_cuda_host_gate(cudaErrorInvalidDevice);
    if (error != cudaSuccess || device != 0) {
        return cop_cuda_host_failed(cudaErrorInvalidDevice);
    }
    memset(properties, 0, sizeof *properties);
    (void)snprintf(properties->name, sizeof properties->name, "host, thread by thread");
    properties->major = 9;
    properties->multiProcessorCount = MULTIPROCESSORS;
    properties->totalGlobalMem = MEMORY_BYTES;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, enum cudaDeviceAttr attribute, int device)
{
    const cudaError_t error = cop_cuda_host_gate(cudaErrorInvalidDevice);
    if (error != cudaSuccess) {
        return error;
    }
    if (device != 0) {
        return cop_cuda_host_failed(cudaErrorInvalidDevice);
    }
    if (attribute == cudaDevAttrMaxSharedMemoryPerBlockOptin) {
        *value = DYNAMIC_MAX_BYTES;
    } else if (attribute == cudaDevAttrMultiProcessorCount) {
        *value = MULTIPROCESSORS;
    } else {
        return cop_cuda_host_failed(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void *function, enum cudaFuncAttribute attribute, int value)
{
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) {
        return cudaSuccess; // hints change no result
    }
    if (value < 0 || value > DYNAMIC_MAX_BYTES) {
        return cop_cuda_host_failed(cudaErrorInvalidValue);
    }
    int i = 0;
    while (i < limit_count && limits[i].function != function) {
        i++;
    }
    if (i == static_cast<int>(sizeof limits / sizeof limits[0])) {
        return cop_cuda_host_failed(cudaErrorMemoryAllocation);
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
#define COP_ERROR(name, text) \
    case name: return #name;
        COP_ERRORS
#undef COP_ERROR
    }
    return "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t error)
{
    switch (static_cast<int>(error)) {
#define COP_ERROR(name, text) \
    case name: return text;
        COP_ERRORS
#undef COP_ERROR
    }
    return "unrecognized error code";
}
}

// NOLINTEND(readability-identifier-naming,readability-inconsistent-declaration-parameter-name)
