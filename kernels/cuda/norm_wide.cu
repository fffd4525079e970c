// Norms of rows of any width and alignment: a block for a row, which is read again for each sum.

#include "kernels/cuda/norm.cuh"

namespace {

constexpr int THREADS = 256; // at most

unsigned threads_for(int64_t cols)
{
    const int64_t wanted = cop_ceil_div(cols, COP_WARP) * COP_WARP;
    return static_cast<unsigned>(wanted < THREADS ? wanted : THREADS);
}

using forward_args = norm_forward<cop_any, cop_any, cop_any>;
using backward_args = norm_backward<cop_any, cop_any>;

__device__ float sum_at(const forward_args &of, int64_t r, int64_t c)
{
    return of.residual.data != NULL ? cop_any_at(of.sum, r, c) : cop_any_at(of.x, r, c);
}

__global__ void forward_kernel(forward_args of)
{
    __shared__ float area[COP_WARP];
    const float count = static_cast<float>(of.cols);
    for (int64_t r = blockIdx.x; r < of.rows; r += gridDim.x) {
        // A thread meets only columns it wrote itself.
        float total = 0.0f;
        for (int64_t c = threadIdx.x; c < of.cols; c += blockDim.x) {
            if (of.residual.data != NULL) {
                cop_any_put(of.sum, r, c, cop_any_at(of.x, r, c) + cop_any_at(of.residual, r, c));
            }
            total += sum_at(of, r, c);
        }
        const float mean = of.is_rms ? 0.0f : cop_block_sum(total, area) / count;
        float squares = 0.0f;
        for (int64_t c = threadIdx.x; c < of.cols; c += blockDim.x) {
            const float centred = sum_at(of, r, c) - mean;
            squares += centred * centred;
        }
        const float scale = 1.0f / sqrtf(cop_block_sum(squares, area) / count + of.eps);
        for (int64_t c = threadIdx.x; c < of.cols; c += blockDim.x) {
            float v[1] = {sum_at(of, r, c)};
            norm_apply(of, r, c, mean, scale, v);
        }
        if (threadIdx.x == 0) {
            norm_put_stats(of, r, mean, scale);
        }
    }
}

// Partial sums of d_gain and d_bias over a slice of rows. Before d_x, which may overwrite d_y.
__global__ void columns_kernel(backward_args of, int64_t rows_per_slice)
{
    const int64_t c = cop_thread();
    const int64_t first = blockIdx.y * rows_per_slice;
    const int64_t end = min(first + rows_per_slice, of.rows);
    if (c >= of.cols) {
        return;
    }
    float gain_sum = 0.0f;
    float bias_sum = 0.0f;
    for (int64_t r = first; r < end; r++) {
        const float *stats = of.stats.data + r * of.stats.stride;
        const float d_y = cop_any_at(of.d_y, r, c);
        gain_sum += d_y * (cop_any_at(of.x, r, c) - stats[0]) * stats[1];
        bias_sum += d_y;
    }
    if (of.gain_partial != NULL) {
        of.gain_partial[blockIdx.y * of.cols + c] = gain_sum;
    }
    if (of.bias_partial != NULL) {
        of.bias_partial[blockIdx.y * of.cols + c] = bias_sum;
    }
}

__global__ void backward_kernel(backward_args of)
{
    __shared__ float area[COP_WARP];
    const float count = static_cast<float>(of.cols);
    for (int64_t r = blockIdx.x; r < of.rows; r += gridDim.x) {
        const float mean = of.stats.data[r * of.stats.stride];
        const float scale = of.stats.data[r * of.stats.stride + 1];
        float total_g = 0.0f;
        float total_gh = 0.0f;
        for (int64_t c = threadIdx.x; c < of.cols; c += blockDim.x) {
            const float g = cop_any_at(of.d_y, r, c) * (of.gain.data[c] + of.shift);
            total_g += g;
            total_gh += g * (cop_any_at(of.x, r, c) - mean) * scale;
        }
        const float mean_g = of.is_rms ? 0.0f : cop_block_sum(total_g, area) / count;
        const float mean_gh = cop_block_sum(total_gh, area) / count;
        for (int64_t c = threadIdx.x; c < of.cols; c += blockDim.x) {
            const float g = cop_any_at(of.d_y, r, c) * (of.gain.data[c] + of.shift);
            const float h = (cop_any_at(of.x, r, c) - mean) * scale;
            const float before = of.accumulate ? cop_any_at(of.d_x, r, c) : 0.0f;
            cop_any_put(of.d_x, r, c, before + scale * (g - mean_g - h * mean_gh));
        }
    }
}

} // namespace

void cop_cuda_norm_forward_wide(const cop_cuda *cuda, cudaStream_t stream,
                                const cop_norm_forward_args *args)
{
    const int64_t limit = static_cast<int64_t>(cuda->multiprocessors) * 64;
    COP_LAUNCH(forward_kernel, cop_grid(args->x.rows, limit), threads_for(args->x.cols), 0, stream,
               norm_forward_of<cop_any, cop_any, cop_any>(*args));
}

void cop_cuda_norm_backward_wide(const cop_cuda *cuda, cudaStream_t stream,
                                 const cop_norm_backward_args *args, int64_t lines)
{
    const backward_args of = norm_backward_of<cop_any, cop_any>(*args, lines);
    if (of.gain_partial != NULL || of.bias_partial != NULL) {
        const dim3 grid(static_cast<unsigned>(cop_ceil_div(of.cols, THREADS)),
                        static_cast<unsigned>(lines));
        COP_LAUNCH(columns_kernel, grid, THREADS, 0, stream, of, cop_ceil_div(of.rows, lines));
    }
    const int64_t limit = static_cast<int64_t>(cuda->multiprocessors) * 64;
    COP_LAUNCH(backward_kernel, cop_grid(of.rows, limit), threads_for(of.cols), 0, stream, of);
}
