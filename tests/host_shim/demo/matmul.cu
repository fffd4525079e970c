#include "kernels/cuda/launch.h"
#include "tests/host_shim/demo/demo.h"

namespace {

constexpr int TILE = 16;
constexpr int64_t GRID_Y_MAX = 65535;

// One thread per element of c; tiles of a and b pass through shared memory. Threads outside c stay
// to the end, because every thread must reach every barrier. The odd row length of b_tile keeps
// the threads of a warp on different banks when they walk down a column.
__global__ void matmul_kernel(float *__restrict__ c, const float *__restrict__ a,
                              const float *__restrict__ b, int64_t m, int64_t n, int64_t k)
{
    __shared__ float a_tile[TILE][TILE];
    __shared__ float b_tile[TILE][TILE + 1];
    const int tx = (int)threadIdx.x;
    const int ty = (int)threadIdx.y;
    const int64_t row = (int64_t)blockIdx.y * TILE + ty;
    const int64_t column = (int64_t)blockIdx.x * TILE + tx;

    float sum = 0.0f;
    for (int64_t start = 0; start < k; start += TILE) {
        const bool is_in_a = row < m && start + tx < k;
        const bool is_in_b = start + ty < k && column < n;
        a_tile[ty][tx] = is_in_a ? __ldg(&a[row * k + start + tx]) : 0.0f;
        b_tile[ty][tx] = is_in_b ? __ldg(&b[(start + ty) * n + column]) : 0.0f;
        __syncthreads();
        for (int i = 0; i < TILE; i++) {
            sum = fmaf(a_tile[ty][i], b_tile[i][tx], sum);
        }
        __syncthreads();
    }
    if (row < m && column < n) {
        c[row * n + column] = sum;
    }
}

} // namespace

cop_status cop_demo_matmul_cuda(float *c, const float *a, const float *b, int64_t m, int64_t n,
                                int64_t k, void *stream, cop_error *err)
{
    const int64_t grid_x = (n + TILE - 1) / TILE;
    const int64_t grid_y = (m + TILE - 1) / TILE;
    if (m < 1 || n < 1 || k < 1 || grid_x > INT32_MAX || grid_y > GRID_Y_MAX) {
        return COP_FAIL(err, COP_ERR_SHAPE, "matmul: a is [%lld, %lld], b is [%lld, %lld]",
                        (long long)m, (long long)k, (long long)k, (long long)n);
    }
    COP_LAUNCH(matmul_kernel, dim3((unsigned)grid_x, (unsigned)grid_y), dim3(TILE, TILE), 0,
               (cudaStream_t)stream, c, a, b, m, n, k);
    const cudaError_t launch = cudaGetLastError();
    if (launch != cudaSuccess) {
        return COP_FAIL(err, COP_ERR_DEVICE, "matmul: launch for [%lld, %lld, %lld] failed: %s",
                        (long long)m, (long long)n, (long long)k, cudaGetErrorString(launch));
    }
    return COP_OK;
}
