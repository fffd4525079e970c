#include "kernels/cuda/launch.h"
#include "tests/host_shim/demo/demo.h"

namespace {

constexpr int WARP = 32;
constexpr int WARPS_PER_BLOCK = 4;

// One warp per row: for the widths a search visits (64..8192) a row is too short to be worth a
// block, and a warp needs no shared memory and no __syncthreads().
__global__ void rmsnorm_kernel(float *y, const float *x, const float *gain, int64_t rows,
                               int64_t cols, float eps)
{
    const int64_t row = (int64_t)blockIdx.x * WARPS_PER_BLOCK + threadIdx.x / WARP;
    const int lane = (int)threadIdx.x % WARP;
    if (row >= rows) {
        return;
    }
    const float *x_row = x + row * cols; // [cols]
    float *y_row = y + row * cols;       // [cols]

    float sum = 0.0f;
    for (int64_t c = lane; c < cols; c += WARP) {
        sum += x_row[c] * x_row[c];
    }
    for (int step = WARP / 2; step > 0; step /= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, step);
    }
    const float scale = rsqrtf(sum / (float)cols + eps);
    for (int64_t c = lane; c < cols; c += WARP) {
        y_row[c] = x_row[c] * scale * gain[c];
    }
}

} // namespace

cop_status cop_demo_rmsnorm_cuda(float *y, const float *x, const float *gain, int64_t rows,
                                 int64_t cols, float eps, void *stream, cop_error *err)
{
    const int64_t blocks = (rows + WARPS_PER_BLOCK - 1) / WARPS_PER_BLOCK;
    if (rows < 1 || cols < 1 || blocks > INT32_MAX) {
        return COP_FAIL(err, COP_ERR_SHAPE, "rmsnorm: x is [%lld, %lld]", (long long)rows,
                        (long long)cols);
    }
    COP_LAUNCH(rmsnorm_kernel, (unsigned)blocks, WARPS_PER_BLOCK * WARP, 0, (cudaStream_t)stream, y,
               x, gain, rows, cols, eps);
    const cudaError_t launch = cudaGetLastError();
    if (launch != cudaSuccess) {
        return COP_FAIL(err, COP_ERR_DEVICE, "rmsnorm: launch for x [%lld, %lld] failed: %s",
                        (long long)rows, (long long)cols, cudaGetErrorString(launch));
    }
    return COP_OK;
}
