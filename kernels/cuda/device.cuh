// What kernels share: elements of two types as f32, sums over a warp and a block, sizes of grids.

#ifndef COP_KERNELS_CUDA_DEVICE_CUH
#define COP_KERNELS_CUDA_DEVICE_CUH

#include "kernels/cuda/launch.h"
#include "kernels/ops.h"

enum { COP_WARP = 32 };

#define COP_WARP_ALL 0xffffffffu

// --- Elements -----------------------------------------------------------------------------------

template <typename T> __device__ inline float cop_load(const T *at);

template <> __device__ inline float cop_load<float>(const float *at)
{
    return *at;
}

template <> __device__ inline float cop_load<__nv_bfloat16>(const __nv_bfloat16 *at)
{
    return __bfloat162float(*at);
}

template <typename T> __device__ inline void cop_store(T *at, float value);

template <> __device__ inline void cop_store<float>(float *at, float value)
{
    *at = value;
}

template <> __device__ inline void cop_store<__nv_bfloat16>(__nv_bfloat16 *at, float value)
{
    *at = __float2bfloat16(value);
}

// A matrix of one element type, as a kernel takes it. data = NULL: absent.
template <typename T> struct cop_view {
    T *data;
    int64_t stride; // elements
};

template <typename T> inline cop_view<T> cop_view_of(cop_matrix m)
{
    return cop_view<T>{static_cast<T *>(m.data), m.stride};
}

template <typename T> __device__ inline float cop_at(cop_view<T> m, int64_t r, int64_t c)
{
    return cop_load<T>(m.data + r * m.stride + c);
}

template <typename T> __device__ inline void cop_put(cop_view<T> m, int64_t r, int64_t c, float v)
{
    cop_store<T>(m.data + r * m.stride + c, v);
}

// Where a call may mix element types and speed does not depend on knowing them when compiling.
struct cop_any {
    void *data;
    int64_t stride;
    bool is_half; // bf16, else f32
};

static inline cop_any cop_any_of(cop_matrix m)
{
    return cop_any{m.data, m.stride, m.dtype == COP_BF16};
}

__device__ inline float cop_any_at(cop_any m, int64_t r, int64_t c)
{
    const int64_t at = r * m.stride + c;
    return m.is_half ? cop_load(static_cast<const __nv_bfloat16 *>(m.data) + at)
                     : static_cast<const float *>(m.data)[at];
}

__device__ inline void cop_any_put(cop_any m, int64_t r, int64_t c, float value)
{
    const int64_t at = r * m.stride + c;
    if (m.is_half) {
        cop_store(static_cast<__nv_bfloat16 *>(m.data) + at, value);
    } else {
        static_cast<float *>(m.data)[at] = value;
    }
}

// --- Reductions. Fixed order: the same bits on every run ----------------------------------------

template <typename T> __device__ inline T cop_warp_sum(T value)
{
    for (int step = COP_WARP / 2; step > 0; step /= 2) {
        value += __shfl_xor_sync(COP_WARP_ALL, value, step);
    }
    return value;
}

__device__ inline float cop_warp_max(float value)
{
    for (int step = COP_WARP / 2; step > 0; step /= 2) {
        value = fmaxf(value, __shfl_xor_sync(COP_WARP_ALL, value, step));
    }
    return value;
}

// Sum over a block of a multiple of 32 threads, at most 1024; every thread gets it. `area` is
// shared memory of 32 values. All threads call it.
template <typename T> __device__ inline T cop_block_sum(T value, T *area)
{
    const int lane = static_cast<int>(threadIdx.x) % COP_WARP;
    const int warp = static_cast<int>(threadIdx.x) / COP_WARP;
    const int warps = static_cast<int>(blockDim.x) / COP_WARP;
    value = cop_warp_sum(value);
    __syncthreads(); // the area may still be read from the call before
    if (lane == 0) {
        area[warp] = value;
    }
    __syncthreads();
    return cop_warp_sum(lane < warps ? area[lane] : T(0));
}

__device__ inline float cop_block_max(float value, float *area)
{
    const int lane = static_cast<int>(threadIdx.x) % COP_WARP;
    const int warp = static_cast<int>(threadIdx.x) / COP_WARP;
    const int warps = static_cast<int>(blockDim.x) / COP_WARP;
    value = cop_warp_max(value);
    __syncthreads();
    if (lane == 0) {
        area[warp] = value;
    }
    __syncthreads();
    return cop_warp_max(lane < warps ? area[lane] : -INFINITY);
}

// --- Sizes --------------------------------------------------------------------------------------

static inline int64_t cop_ceil_div(int64_t count, int64_t unit)
{
    return (count + unit - 1) / unit;
}

// Blocks for `tasks` independent tasks in a grid-stride loop: never more than a grid may have.
static inline unsigned cop_grid(int64_t tasks, int64_t limit)
{
    const int64_t blocks = tasks < limit ? tasks : limit;
    return static_cast<unsigned>(blocks < 1 ? 1 : blocks);
}

#endif
