// Kernels that are wrong on purpose: the tests of the shim assert that each fault is found.

#include "kernels/cuda/launch.h"
#include "tests/host_shim/demo/demo.h"

namespace {

constexpr int COUNT = 64;

// The fault is a template argument, as dtypes and tile sizes are in real kernels: it also shows
// that shared memory of templates is poisoned.
template <cop_planted FAULT> __global__ void sum_kernel(float *y, const float *x)
{
    __shared__ float values[COUNT];
    const int id = (int)threadIdx.x;
    values[id] = x[id];
    if (FAULT != COP_PLANTED_NO_BARRIER_AFTER_WRITE) {
        __syncthreads();
    }
    float sum = 0.0f;
    for (int i = 0; i < COUNT; i++) {
        sum += values[i];
    }
    y[id] = sum;
}

__global__ void rotate_kernel(float *y, const float *x)
{
    __shared__ float values[COUNT];
    const int id = (int)threadIdx.x;
    values[id] = x[id];
    __syncthreads();
    const float next = values[(id + 1) % COUNT];
    values[id] = next; // its neighbour may not have read it yet
    __syncthreads();
    y[id] = values[(id + 1) % COUNT];
}

__global__ void barrier_kernel(float *y, cop_planted fault)
{
    const int id = (int)threadIdx.x;
    if (fault == COP_PLANTED_EXIT_BEFORE_BARRIER && id == 40) {
        return;
    }
    if (fault == COP_PLANTED_TWO_BARRIERS && id / 32 == 1) {
        __syncthreads();
        y[id] = 1.0f;
    } else {
        __syncthreads();
        y[id] = 0.0f;
    }
}

__global__ void bounds_kernel(float *y, cop_planted fault)
{
    COP_DYNAMIC_SHARED(float, dynamic_values); // [COUNT]
    __shared__ float static_values[COUNT];
    const int id = (int)threadIdx.x;
    float *volatile hidden = static_values; // hides the bound from UBSan, not from ASan
    float *const static_start = hidden;
    const int past = id + 1;
    switch (fault) {
    case COP_PLANTED_GLOBAL_WRITE: y[past] = 1.0f; break;
    case COP_PLANTED_STATIC_SHARED_INDEX: static_values[past] = 1.0f; break;
    case COP_PLANTED_STATIC_SHARED_WRITE: static_start[past] = 1.0f; break;
    case COP_PLANTED_DYNAMIC_SHARED_WRITE: dynamic_values[past] = 1.0f; break;
    case COP_PLANTED_STATIC_SHARED_READ: y[id] = static_start[id]; break;
    case COP_PLANTED_DYNAMIC_SHARED_READ: y[id] = dynamic_values[id]; break;
    default: break;
    }
    __syncthreads();
    if (fault == COP_PLANTED_STATIC_SHARED_WRITE) {
        y[id] = static_start[id];
    }
}

__global__ void lanes_kernel(float *y, cop_planted fault)
{
    const int id = (int)threadIdx.x;
    float value = (float)id;
    if (fault == COP_PLANTED_PARTIAL_WARP) {
        value += __shfl_xor_sync(0xffffffffu, value, 16);
    } else if (id % 32 < 16) {
        const unsigned mask = fault == COP_PLANTED_LANES_ABSENT ? 0xffffffffu : 0x0000ffffu;
        const int source = fault == COP_PLANTED_LANES_ABSENT ? 3 : 16;
        value += __shfl_sync(mask, value, source);
    }
    __syncthreads();
    y[id] = value;
}

} // namespace

cop_status cop_demo_planted_cuda(float *y, const float *x, cop_planted fault, cop_error *err)
{
    switch (fault) {
    case COP_PLANTED_NONE: COP_LAUNCH(sum_kernel<COP_PLANTED_NONE>, 1, COUNT, 0, 0, y, x); break;
    case COP_PLANTED_NO_BARRIER_AFTER_WRITE:
        COP_LAUNCH(sum_kernel<COP_PLANTED_NO_BARRIER_AFTER_WRITE>, 1, COUNT, 0, 0, y, x);
        break;
    case COP_PLANTED_NO_BARRIER_AFTER_READ: COP_LAUNCH(rotate_kernel, 1, COUNT, 0, 0, y, x); break;
    case COP_PLANTED_EXIT_BEFORE_BARRIER:
    case COP_PLANTED_TWO_BARRIERS: COP_LAUNCH(barrier_kernel, 1, COUNT, 0, 0, y, fault); break;
    case COP_PLANTED_GLOBAL_WRITE:
    case COP_PLANTED_STATIC_SHARED_INDEX:
    case COP_PLANTED_STATIC_SHARED_WRITE:
    case COP_PLANTED_DYNAMIC_SHARED_WRITE:
    case COP_PLANTED_STATIC_SHARED_READ:
    case COP_PLANTED_DYNAMIC_SHARED_READ:
        COP_LAUNCH(bounds_kernel, 1, COUNT, COUNT * sizeof(float), 0, y, fault);
        break;
    case COP_PLANTED_LANES_ABSENT:
    case COP_PLANTED_LANE_OUTSIDE_MASK: COP_LAUNCH(lanes_kernel, 1, COUNT, 0, 0, y, fault); break;
    case COP_PLANTED_PARTIAL_WARP: COP_LAUNCH(lanes_kernel, 1, 40, 0, 0, y, fault); break;
    }
    const cudaError_t launch = cudaGetLastError();
    if (launch != cudaSuccess) {
        return COP_FAIL(err, COP_ERR_DEVICE, "planted: launch failed: %s",
                        cudaGetErrorString(launch));
    }
    return COP_OK;
}
