// What tests tell the shim. Valid in C.

#ifndef COP_TESTS_HOST_SHIM_CUDA_HOST_CONTROL_H
#define COP_TESTS_HOST_SHIM_CUDA_HOST_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// Lets `calls` further calls of the runtime that can fail succeed, and fails all later ones; SIZE_MAX
// lifts the limit. Releasing never fails.
void cop_cuda_host_fail_after(size_t calls);

// Allocations, streams, events and graphs that live.
size_t cop_cuda_host_live(void);

// Whether work waits in its stream until somebody waits for it.
void cop_cuda_host_lazy_streams(bool is_lazy);

#ifdef __cplusplus
}
#endif

#endif
