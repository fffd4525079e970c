// The product without tensor cores: a tile of 32 x 32 elements per block, f32 accumulation in the
// order of K. Slow, obvious, and for every shape and layout.

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/ops.h"

namespace {

constexpr int TILE = 32;
constexpr int ROWS_PER_THREAD = 4; // a block has 32 x 8 threads

struct product {
    cop_any a;
    cop_any b;
    cop_any c;
    int64_t m;
    int64_t n;
    int64_t k;
    bool transpose_a;
    bool transpose_b;
    float alpha;
    float beta;
};

__device__ float a_at(const product &p, int64_t row, int64_t depth)
{
    if (row >= p.m || depth >= p.k) {
        return 0.0f;
    }
    return p.transpose_a ? cop_any_at(p.a, depth, row) : cop_any_at(p.a, row, depth);
}

__device__ float b_at(const product &p, int64_t depth, int64_t col)
{
    if (col >= p.n || depth >= p.k) {
        return 0.0f;
    }
    return p.transpose_b ? cop_any_at(p.b, col, depth) : cop_any_at(p.b, depth, col);
}

__global__ void matmul_kernel(product p)
{
    __shared__ float a_tile[TILE][TILE + 1];
    __shared__ float b_tile[TILE][TILE + 1];
    const int x = static_cast<int>(threadIdx.x);
    const int y = static_cast<int>(threadIdx.y);
    const int64_t first_row = static_cast<int64_t>(blockIdx.y) * TILE;
    const int64_t first_col = static_cast<int64_t>(blockIdx.x) * TILE;
    float sum[ROWS_PER_THREAD] = {};
    for (int64_t depth = 0; depth < p.k; depth += TILE) {
        for (int i = y; i < TILE; i += TILE / ROWS_PER_THREAD) {
            a_tile[i][x] = a_at(p, first_row + i, depth + x);
            b_tile[i][x] = b_at(p, depth + i, first_col + x);
        }
        __syncthreads();
        for (int d = 0; d < TILE; d++) {
            for (int i = 0; i < ROWS_PER_THREAD; i++) {
                sum[i] += a_tile[y + i * (TILE / ROWS_PER_THREAD)][d] * b_tile[d][x];
            }
        }
        __syncthreads();
    }
    for (int i = 0; i < ROWS_PER_THREAD; i++) {
        const int64_t row = first_row + y + i * (TILE / ROWS_PER_THREAD);
        const int64_t col = first_col + x;
        if (row < p.m && col < p.n) {
            const float before = p.beta != 0.0f ? p.beta * cop_any_at(p.c, row, col) : 0.0f;
            cop_any_put(p.c, row, col, p.alpha * sum[i] + before);
        }
    }
}

} // namespace

cop_status cop_cuda_matmul_plain(cop_cuda *cuda, cudaStream_t stream, const cop_matmul_args *args,
                                 cop_error *err)
{
    (void)cuda;
    const product p = {cop_any_of(args->a), cop_any_of(args->b),
                       cop_any_of(args->c), args->c.rows,
                       args->c.cols,        args->transpose_a ? args->a.rows : args->a.cols,
                       args->transpose_a,   args->transpose_b,
                       args->alpha,         args->beta};
    if (p.m == 0 || p.n == 0) {
        return COP_OK;
    }
    // Rows of tiles beyond what a grid's second dimension holds go in further launches.
    constexpr int64_t ROWS_MAX = int64_t{65535} * TILE;
    for (int64_t first = 0; first < p.m; first += ROWS_MAX) {
        product part = p;
        part.m = p.m - first < ROWS_MAX ? p.m - first : ROWS_MAX;
        const cop_matrix a = args->transpose_a ? cop_matrix_part(args->a, 0, p.k, first, part.m)
                                               : cop_matrix_part(args->a, first, part.m, 0, p.k);
        part.a = cop_any_of(a);
        part.c = cop_any_of(cop_matrix_part(args->c, first, part.m, 0, p.n));
        const dim3 grid(static_cast<unsigned>(cop_ceil_div(p.n, TILE)),
                        static_cast<unsigned>(cop_ceil_div(part.m, TILE)));
        COP_LAUNCH(matmul_kernel, grid, dim3(TILE, TILE / ROWS_PER_THREAD), 0, stream, part);
        const cop_status status = cop_cuda_launched(err, "matmul", p.m, p.n);
        if (status != COP_OK) {
            return status;
        }
    }
    return COP_OK;
}
