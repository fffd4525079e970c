// Sums over whole matrices, rows and columns. Every sum has a fixed order: partial sums go to
// scratch and are folded, no thread waits for another and nothing is added atomically.

#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/ops.h"
#include "kernels/cuda/products.cuh"

namespace {

constexpr int THREADS = 256;
constexpr int FOLD_LANES = 16; // rows of a block that folds columns
constexpr int TEAMS = THREADS / COP_WARP;

// --- Columns ------------------------------------------------------------------------------------

// A block sums 32 runs of columns over one slice of the rows: 8 lanes take every 8th row.
template <typename M, unsigned N>
__global__ void __launch_bounds__(COP_SLICE_WIDTH *COP_SLICE_LANES)
    slice_kernel(M x, float *partial, int64_t rows, int64_t cols, int64_t rows_per_slice)
{
    __shared__ float lanes[COP_SLICE_LANES][COP_SLICE_WIDTH + 1];
    const int lane = static_cast<int>(threadIdx.y);
    const int64_t c = (static_cast<int64_t>(blockIdx.x) * COP_SLICE_WIDTH + threadIdx.x) * N;
    const int64_t first = blockIdx.y * rows_per_slice;
    const int64_t end = min(first + rows_per_slice, rows);
    float sum[N] = {};
    if (c < cols) {
        COP_UNROLL(4)
        for (int64_t r = first + lane; r < end; r += COP_SLICE_LANES) {
            float v[N];
            cop_read_row(x, r, c, cols, v);
            for (unsigned i = 0; i < N; i++) {
                sum[i] += v[i];
            }
        }
    }
    for (unsigned i = 0; i < N; i++) {
        __syncthreads();
        lanes[lane][threadIdx.x] = sum[i];
        __syncthreads();
        if (lane == 0 && c + i < cols) {
            float total = 0.0f;
            for (int l = 0; l < COP_SLICE_LANES; l++) {
                total += lanes[l][threadIdx.x];
            }
            partial[blockIdx.y * cols + c + i] = total;
        }
    }
}

__global__ void fold_kernel(const float *__restrict__ partial, int64_t slices, int64_t cols,
                            float *__restrict__ out)
{
    __shared__ float lanes[FOLD_LANES][COP_SLICE_WIDTH];
    const int lane = static_cast<int>(threadIdx.y);
    const int64_t c = static_cast<int64_t>(blockIdx.x) * COP_SLICE_WIDTH + threadIdx.x;
    float sum = 0.0f;
    if (c < cols) {
        COP_UNROLL(4)
        for (int64_t s = lane; s < slices; s += FOLD_LANES) {
            sum += partial[s * cols + c];
        }
    }
    lanes[lane][threadIdx.x] = sum;
    __syncthreads();
    if (lane == 0 && c < cols) {
        float total = 0.0f;
        for (int l = 0; l < FOLD_LANES; l++) {
            total += lanes[l][threadIdx.x];
        }
        out[c] += total;
    }
}

template <typename M, unsigned N>
void launch_slices(cudaStream_t stream, cop_matrix x, float *partial, int64_t slices)
{
    const dim3 grid(static_cast<unsigned>(cop_ceil_div(x.cols, COP_SLICE_WIDTH * N)),
                    static_cast<unsigned>(slices));
    COP_LAUNCH((slice_kernel<M, N>), grid, dim3(COP_SLICE_WIDTH, COP_SLICE_LANES), 0, stream,
               cop_as<M>(x), partial, x.rows, x.cols, cop_ceil_div(x.rows, slices));
}

// --- One number ---------------------------------------------------------------------------------

__global__ void squares_kernel(cop_any x, double *partial, cop_span span, bool is_packed)
{
    __shared__ double area[COP_WARP];
    double sum = 0.0;
    for (int64_t i = cop_thread(); i < span.count; i += cop_threads()) {
        const cop_place at = cop_place_of(span, i);
        if (is_packed) {
            float v[COP_PACK];
            cop_read_row(x, at.row, at.col, span.cols, v);
            for (int j = 0; j < COP_PACK; j++) {
                sum += static_cast<double>(v[j]) * static_cast<double>(v[j]);
            }
        } else {
            const double v = static_cast<double>(cop_any_at(x, at.row, at.col));
            sum += v * v;
        }
    }
    sum = cop_block_sum(sum, area);
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = sum;
    }
}

// A warp for a row.
template <unsigned N>
__global__ void cosine_kernel(cop_any x, cop_any y, double *partial, int64_t rows, int64_t cols)
{
    __shared__ double teams[TEAMS];
    const int lane = static_cast<int>(threadIdx.x) % COP_WARP;
    const int team = static_cast<int>(threadIdx.x) / COP_WARP;
    double sum = 0.0;
    for (int64_t r = static_cast<int64_t>(blockIdx.x) * TEAMS + team; r < rows;
         r += static_cast<int64_t>(gridDim.x) * TEAMS) {
        cop_products row = cop_row_products<N>(x, y, r, cols, lane, COP_WARP);
        row.xx = cop_warp_sum(row.xx);
        row.xy = cop_warp_sum(row.xy);
        row.yy = cop_warp_sum(row.yy);
        sum += cop_cosine(row);
    }
    if (lane == 0) {
        teams[team] = sum;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        double total = 0.0;
        for (int t = 0; t < TEAMS; t++) {
            total += teams[t];
        }
        partial[blockIdx.x] = total;
    }
}

// *out += the partial sums, by one block.
__global__ void fold_doubles_kernel(const double *__restrict__ partial, int64_t count, double *out)
{
    __shared__ double area[COP_WARP];
    double sum = 0.0;
    for (int64_t i = threadIdx.x; i < count; i += blockDim.x) {
        sum += partial[i];
    }
    sum = cop_block_sum(sum, area);
    if (threadIdx.x == 0) {
        *out += sum;
    }
}

// Blocks of a sum over the runs, and so doubles of scratch: alignment does not change it.
int64_t squares_blocks(const cop_cuda *cuda, int64_t rows, int64_t cols)
{
    const int64_t wanted = cop_ceil_div(rows * cols, THREADS * COP_PACK * 2);
    const int64_t limit = static_cast<int64_t>(cuda->multiprocessors) * 8;
    return wanted < limit ? wanted : limit;
}

int64_t cosine_blocks(const cop_cuda *cuda, int64_t rows)
{
    const int64_t wanted = cop_ceil_div(rows, TEAMS);
    const int64_t limit = static_cast<int64_t>(cuda->multiprocessors) * 8;
    return wanted < limit ? wanted : limit;
}

} // namespace

int64_t cop_cuda_column_slices(const cop_cuda *cuda, int64_t rows, int64_t cols)
{
    const int64_t tiles = cop_ceil_div(cols, COP_SLICE_WIDTH * COP_PACK);
    const int64_t wanted = cop_ceil_div(static_cast<int64_t>(cuda->multiprocessors) * 8, tiles);
    const int64_t most = cop_ceil_div(rows, COP_SLICE_LANES * 4);
    return wanted < most ? wanted : most;
}

void cop_cuda_fold_columns(cudaStream_t stream, const float *partial, int64_t slices, int64_t cols,
                           float *out)
{
    COP_LAUNCH(fold_kernel, static_cast<unsigned>(cop_ceil_div(cols, COP_SLICE_WIDTH)),
               dim3(COP_SLICE_WIDTH, FOLD_LANES), 0, stream, partial, slices, cols, out);
}

uint64_t cop_cuda_column_sum_scratch(const cop_cuda *cuda, const cop_column_sum_args *args)
{
    const int64_t rows = args->x.rows;
    const int64_t cols = args->x.cols;
    if (rows <= 0 || cols <= 0) {
        return 0;
    }
    return static_cast<uint64_t>(cop_cuda_column_slices(cuda, rows, cols) * cols) * sizeof(float);
}

cop_status cop_cuda_column_sum(cop_cuda *cuda, cudaStream_t stream, const cop_column_sum_args *args,
                               cop_error *err)
{
    const cop_matrix x = args->x;
    if (x.rows == 0 || x.cols == 0) {
        return COP_OK;
    }
    const int64_t slices = cop_cuda_column_slices(cuda, x.rows, x.cols);
    float *partial = static_cast<float *>(args->scratch);
    if (!cop_takes_packs(x)) {
        launch_slices<cop_any, 1>(stream, x, partial, slices);
    } else if (x.dtype == COP_BF16) {
        launch_slices<cop_bf16_view, COP_PACK>(stream, x, partial, slices);
    } else {
        launch_slices<cop_f32_view, COP_PACK>(stream, x, partial, slices);
    }
    cop_cuda_fold_columns(stream, partial, slices, x.cols, static_cast<float *>(args->sum.data));
    return cop_cuda_launched(err, "column_sum", x.rows, x.cols);
}

uint64_t cop_cuda_sum_squares_scratch(const cop_cuda *cuda, const cop_sum_squares_args *args)
{
    if (args->x.rows <= 0 || args->x.cols <= 0) {
        return 0;
    }
    return static_cast<uint64_t>(squares_blocks(cuda, args->x.rows, args->x.cols)) * sizeof(double);
}

cop_status cop_cuda_sum_squares(cop_cuda *cuda, cudaStream_t stream,
                                const cop_sum_squares_args *args, cop_error *err)
{
    if (args->x.rows == 0 || args->x.cols == 0) {
        return COP_OK;
    }
    const cop_matrix x = cop_is_dense(args->x) ? cop_flat(args->x) : args->x;
    const bool is_packed = cop_takes_packs(x);
    const int64_t blocks = squares_blocks(cuda, x.rows, x.cols);
    double *partial = static_cast<double *>(args->scratch);
    COP_LAUNCH(squares_kernel, static_cast<unsigned>(blocks), THREADS, 0, stream, cop_any_of(x),
               partial, cop_span_of(x.rows, x.cols, is_packed ? COP_PACK : 1), is_packed);
    COP_LAUNCH(fold_doubles_kernel, 1, THREADS, 0, stream, partial, blocks, args->sum);
    return cop_cuda_launched(err, "sum_squares", args->x.rows, args->x.cols);
}

uint64_t cop_cuda_row_cosine_scratch(const cop_cuda *cuda, const cop_row_cosine_args *args)
{
    return args->x.rows <= 0
               ? 0
               : static_cast<uint64_t>(cosine_blocks(cuda, args->x.rows)) * sizeof(double);
}

cop_status cop_cuda_row_cosine(cop_cuda *cuda, cudaStream_t stream, const cop_row_cosine_args *args,
                               cop_error *err)
{
    const cop_matrix x = args->x;
    if (x.rows == 0) {
        return COP_OK;
    }
    const int64_t blocks = cosine_blocks(cuda, x.rows);
    double *partial = static_cast<double *>(args->scratch);
    if (cop_takes_packs(x) && cop_takes_packs(args->y)) {
        COP_LAUNCH((cosine_kernel<COP_PACK>), static_cast<unsigned>(blocks), THREADS, 0, stream,
                   cop_any_of(x), cop_any_of(args->y), partial, x.rows, x.cols);
    } else {
        COP_LAUNCH((cosine_kernel<1>), static_cast<unsigned>(blocks), THREADS, 0, stream,
                   cop_any_of(x), cop_any_of(args->y), partial, x.rows, x.cols);
    }
    COP_LAUNCH(fold_doubles_kernel, 1, THREADS, 0, stream, partial, blocks, args->sum);
    return cop_cuda_launched(err, "row_cosine", x.rows, x.cols);
}
