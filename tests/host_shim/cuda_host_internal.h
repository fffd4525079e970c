// Between the source files of the shim; kernels and tests do not include this.

#ifndef COP_TESTS_HOST_SHIM_CUDA_HOST_INTERNAL_H
#define COP_TESTS_HOST_SHIM_CUDA_HOST_INTERNAL_H

#include "tests/host_shim/cuda_host_types.h"
#include "tests/host_shim/fiber.h"

enum { COP_WARP = 32, COP_THREADS_MAX = 1024, COP_WARPS_MAX = COP_THREADS_MAX / COP_WARP };

typedef enum cop_thread_state {
    COP_THREAD_READY,
    COP_THREAD_AT_BARRIER,
    COP_THREAD_AT_COLLECTIVE,
    COP_THREAD_DONE
} cop_thread_state;

// One CUDA thread of the running block. Its fiber is kept for later blocks and launches.
typedef struct cop_thread {
    cop_fiber fiber;
    uint3 index; // threadIdx
    cop_thread_state state;
    const char *operation; // where a waiting thread waits
    const char *file;
    int line;
    uint32_t mask;     // of the collective it waits in
    uint32_t present;  // lanes that took part in its last collective
    uint64_t deposit;  // what it offers to the collective it waits in
    uint64_t *results; // [COP_WARP], what its warp's last collective delivers
} cop_thread;

typedef enum cop_order { COP_ORDER_FORWARD, COP_ORDER_REVERSE, COP_ORDER_RANDOM } cop_order;

// The launch in progress; its owner holds the turn (see cop_cuda_host_run).
typedef struct cop_launch {
    const char *kernel; // NULL between launches
    void (*body)(void *context);
    void *context;
    void *dynamic_shared; // owned
    size_t dynamic_bytes;
    int thread_count;
    int warp_count;
    cop_order order;
    uint64_t random_state;
    cop_thread *running; // NULL while the scheduler itself runs
} cop_launch;

extern cop_launch cop_cuda_host_now;

// --- cuda_host_warp.cpp

// Suspends the running thread until the scheduler makes it ready again.
void cop_cuda_host_wait(cop_thread_state state, const char *operation, const char *file, int line);

// Completes those collectives of a warp whose lanes are all there; false when there is none.
bool cop_cuda_host_warp_resolve(cop_thread *warp, int lane_count);

// Reports a lane of the warp that waits in a collective which can no longer complete.
void cop_cuda_host_warp_check(const cop_thread *warp, int lane_count);

// --- cuda_host_report.cpp

// Prints one line with kernel, block and, unless NULL, thread, and aborts.
__attribute__((noreturn, format(printf, 2, 3))) void cop_cuda_host_fail(const cop_thread *at,
                                                                        const char *format, ...);

// Writes what `other` is doing into the caller's buffer and returns that.
const char *cop_cuda_host_describe(char *text, size_t text_bytes, const cop_thread *other);

// Makes reports of the sanitizers come with kernel, block and thread.
void cop_cuda_host_explain_reports(void);

// --- cuda_host_shared.cpp

// Fills every `__shared__` variable of the program with 0xff bytes. The first call reads the
// program's symbol table; when there is none it says so once on standard error and does nothing.
void cop_cuda_host_poison_static(void);

// --- cuda_host_runtime.cpp

// Notes the error and returns it.
cudaError_t cop_cuda_host_failed(cudaError_t error);

// `failure` when cop_cuda_host_fail_after() says that this call fails.
cudaError_t cop_cuda_host_gate(cudaError_t failure);

// One object (stream, event, graph) more or less.
void cop_cuda_host_count(int change);

// Whether memory is neither the device's nor pinned.
bool cop_cuda_host_is_pageable(const void *memory);

// --- cuda_host_stream.cpp

// cudaErrorStreamCaptureUnsupported, spoiling the capture, when this thread captures a stream.
cudaError_t cop_cuda_host_check_capture(void);

// Runs what is left on a stream, or on all (NULL).
void cop_cuda_host_drain(cudaStream_t stream);

// --- cuda_host_runtime.cpp

// Sets the error that the next cudaGetLastError() of this thread returns and clears.
void cop_cuda_host_error_set(cudaError_t error);

// The limit cudaFuncSetAttribute() gave the kernel at this address, 48 KiB by default.
size_t cop_cuda_host_dynamic_limit(const void *function);

#endif
