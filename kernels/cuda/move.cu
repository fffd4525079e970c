// Copies, conversions, sums of two matrices, selections of rows and columns: memory alone limits
// them.

#include "kernels/cuda/ops.h"
#include "kernels/cuda/pack.cuh"

namespace {

constexpr int GATHER_COLS = 4; // columns of a thread that picks columns

struct mix {
    float alpha;
    float beta;
};

// y = alpha * x + beta * y; y may be x, so a run is read before it is written.
template <typename M, unsigned N> __global__ void add_kernel(M x, M y, cop_span span, mix by)
{
    for (int64_t i = cop_thread(); i < span.count; i += cop_threads()) {
        const cop_place at = cop_place_of(span, i);
        float a[N];
        float b[N] = {};
        cop_read_row(x, at.row, at.col, span.cols, a);
        if (by.beta != 0.0f) {
            cop_read_row(y, at.row, at.col, span.cols, b);
        }
        for (unsigned j = 0; j < N; j++) {
            a[j] = by.beta != 0.0f ? by.alpha * a[j] + by.beta * b[j] : by.alpha * a[j];
        }
        cop_write_row(y, at.row, at.col, span.cols, a);
    }
}

// y[r] = x[row_index[r]], or x[r].
template <typename X, typename Y, unsigned N>
__global__ void copy_kernel(X x, Y y, const int32_t *row_index, cop_span span)
{
    for (int64_t i = cop_thread(); i < span.count; i += cop_threads()) {
        const cop_place at = cop_place_of(span, i);
        const int64_t row = row_index != NULL ? row_index[at.row] : at.row;
        float v[N];
        cop_read_row(x, row, at.col, span.cols, v);
        cop_write_row(y, at.row, at.col, span.cols, v);
    }
}

// Neighbouring threads take neighbouring columns, so that a row's reads, mostly ascending, share
// their lines; the indices of a thread stay in registers for all of its rows.
__global__ void gather_kernel(cop_any x, cop_any y, const int32_t *row_index,
                              const int32_t *col_index, int64_t rows, int64_t cols)
{
    const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.x * GATHER_COLS + threadIdx.x;
    int32_t from[GATHER_COLS];
    for (int j = 0; j < GATHER_COLS; j++) {
        const int64_t c = first + static_cast<int64_t>(j) * blockDim.x;
        from[j] = c < cols ? col_index[c] : 0;
    }
    for (int64_t r = blockIdx.y; r < rows; r += gridDim.y) {
        const int64_t row = row_index != NULL ? row_index[r] : r;
        float v[GATHER_COLS];
        for (int j = 0; j < GATHER_COLS; j++) {
            v[j] = first + static_cast<int64_t>(j) * blockDim.x < cols ? cop_any_at(x, row, from[j])
                                                                       : 0.0f;
        }
        for (int j = 0; j < GATHER_COLS; j++) {
            const int64_t c = first + static_cast<int64_t>(j) * blockDim.x;
            if (c < cols) {
                cop_any_put(y, r, c, v[j]);
            }
        }
    }
}

template <typename M, unsigned N>
__global__ void bias_kernel(M x, const float *__restrict__ bias, cop_span span)
{
    const cop_f32_view row = {const_cast<float *>(bias), 0};
    for (int64_t i = cop_thread(); i < span.count; i += cop_threads()) {
        const cop_place at = cop_place_of(span, i);
        float v[N];
        float b[N];
        cop_read_row(x, at.row, at.col, span.cols, v);
        cop_read_row(row, 0, at.col, span.cols, b);
        for (unsigned j = 0; j < N; j++) {
            v[j] += b[j];
        }
        cop_write_row(x, at.row, at.col, span.cols, v);
    }
}

template <typename M, unsigned N>
void launch_add(const cop_cuda *cuda, cudaStream_t stream, const cop_add_args &args)
{
    const cop_span span = cop_span_of(args.x.rows, args.x.cols, N);
    COP_LAUNCH((add_kernel<M, N>), cop_span_grid(span, cuda->multiprocessors), COP_PACK_THREADS, 0,
               stream, cop_as<M>(args.x), cop_as<M>(args.y), span, mix{args.alpha, args.beta});
}

template <typename X, typename Y, unsigned N>
void launch_copy(const cop_cuda *cuda, cudaStream_t stream, cop_matrix x, cop_matrix y,
                 const int32_t *row_index)
{
    const cop_span span = cop_span_of(y.rows, y.cols, N);
    COP_LAUNCH((copy_kernel<X, Y, N>), cop_span_grid(span, cuda->multiprocessors), COP_PACK_THREADS,
               0, stream, cop_as<X>(x), cop_as<Y>(y), row_index, span);
}

// Rows of x, in the type of y.
void copy_rows(const cop_cuda *cuda, cudaStream_t stream, cop_matrix x, cop_matrix y,
               const int32_t *row_index)
{
    if (row_index == NULL && x.cols == y.cols && x.rows == y.rows && cop_is_dense(x) &&
        cop_is_dense(y)) {
        x = cop_flat(x);
        y = cop_flat(y);
    }
    // Any row of x may be asked for, also when y has but one.
    if (!cop_takes_packs(x) || !cop_takes_packs(y)) {
        launch_copy<cop_any, cop_any, 1>(cuda, stream, x, y, row_index);
    } else if (cop_is(x, COP_BF16) && cop_is(y, COP_BF16)) {
        launch_copy<cop_bf16_view, cop_bf16_view, COP_PACK>(cuda, stream, x, y, row_index);
    } else if (cop_is(x, COP_F32) && cop_is(y, COP_BF16)) {
        launch_copy<cop_f32_view, cop_bf16_view, COP_PACK>(cuda, stream, x, y, row_index);
    } else {
        launch_copy<cop_any, cop_any, COP_PACK>(cuda, stream, x, y, row_index);
    }
}

} // namespace

cop_status cop_cuda_bias_add(cop_cuda *cuda, cudaStream_t stream, const cop_bias_add_args *args,
                             cop_error *err)
{
    const cop_matrix x = args->x;
    if (x.rows == 0 || x.cols == 0) {
        return COP_OK;
    }
    const float *bias = static_cast<const float *>(args->bias.data);
    const bool is_packed = cop_takes_packs(x) && cop_takes_packs(args->bias);
    const cop_span span = cop_span_of(x.rows, x.cols, is_packed ? COP_PACK : 1);
    const unsigned grid = cop_span_grid(span, cuda->multiprocessors);
    if (!is_packed) {
        COP_LAUNCH((bias_kernel<cop_any, 1>), grid, COP_PACK_THREADS, 0, stream, cop_any_of(x),
                   bias, span);
    } else if (x.dtype == COP_BF16) {
        COP_LAUNCH((bias_kernel<cop_bf16_view, COP_PACK>), grid, COP_PACK_THREADS, 0, stream,
                   cop_as<cop_bf16_view>(x), bias, span);
    } else {
        COP_LAUNCH((bias_kernel<cop_f32_view, COP_PACK>), grid, COP_PACK_THREADS, 0, stream,
                   cop_as<cop_f32_view>(x), bias, span);
    }
    return cop_cuda_launched(err, "bias_add", x.rows, x.cols);
}

cop_status cop_cuda_add(cop_cuda *cuda, cudaStream_t stream, const cop_add_args *args,
                        cop_error *err)
{
    cop_add_args a = *args;
    if (a.x.rows == 0 || a.x.cols == 0) {
        return COP_OK;
    }
    if (cop_is_dense(a.x) && cop_is_dense(a.y)) {
        a.x = cop_flat(a.x);
        a.y = cop_flat(a.y);
    }
    if (!cop_takes_packs(a.x) || !cop_takes_packs(a.y)) {
        launch_add<cop_any, 1>(cuda, stream, a);
    } else if (cop_is(a.x, COP_BF16) && cop_is(a.y, COP_BF16)) {
        launch_add<cop_bf16_view, COP_PACK>(cuda, stream, a);
    } else {
        launch_add<cop_any, COP_PACK>(cuda, stream, a);
    }
    return cop_cuda_launched(err, "add", args->x.rows, args->x.cols);
}

cop_status cop_cuda_convert(cop_cuda *cuda, cudaStream_t stream, const cop_convert_args *args,
                            cop_error *err)
{
    if (args->x.rows == 0 || args->x.cols == 0) {
        return COP_OK;
    }
    copy_rows(cuda, stream, args->x, args->y, NULL);
    return cop_cuda_launched(err, "convert", args->x.rows, args->x.cols);
}

cop_status cop_cuda_gather(cop_cuda *cuda, cudaStream_t stream, const cop_gather_args *args,
                           cop_error *err)
{
    const cop_matrix y = args->y;
    if (y.rows == 0 || y.cols == 0) {
        return COP_OK;
    }
    if (args->col_index == NULL) {
        copy_rows(cuda, stream, args->x, y, args->row_index);
    } else {
        const int64_t tiles = cop_ceil_div(y.cols, COP_PACK_THREADS * GATHER_COLS);
        const int64_t groups =
            cop_ceil_div(static_cast<int64_t>(cuda->multiprocessors) * 32, tiles);
        const int64_t row_blocks = groups < 65535 ? groups : 65535;
        const dim3 grid(static_cast<unsigned>(tiles), cop_grid(y.rows, row_blocks));
        COP_LAUNCH(gather_kernel, grid, COP_PACK_THREADS, 0, stream, cop_any_of(args->x),
                   cop_any_of(y), args->row_index, args->col_index, y.rows, y.cols);
    }
    return cop_cuda_launched(err, "gather", y.rows, y.cols);
}
