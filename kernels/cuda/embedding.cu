// Rows of the embedding table, and their gradient: a deterministic sum of the rows of d_y that have
// the same id.
//
// Backward: the rows are sorted by id, stably, by a counting sort of one digit after the other
// (sort.cuh). The sorted rows are cut into slices. A block sums the rows of a slice in order; the sum
// of an id that lies whole within its slice is added to the table at once. Ids that reach over the
// end of a slice leave a partial sum for each slice they touch, which a second kernel adds in order.
// Costs n rows read, a few words for each row, and the rows of the table that occur: never V rows.

#include "kernels/cuda/ops.h"
#include "kernels/cuda/pack.cuh"
#include "kernels/cuda/sort.cuh"

namespace {

constexpr int64_t THREADS = 128;   // at most
constexpr int64_t SLICE_ROWS = 32; // at least
constexpr int64_t SLICES_MAX = 1024;

struct slices {
    const int32_t *ids;  // [n] sorted
    const int32_t *rows; // [n] of d_y, in the order of ids
    float *partial;      // [slices, 2, cols]: of the first id, of the last
    int64_t count;       // n
    int64_t rows_per_slice;
    int64_t cols;
};

int64_t rows_per_slice(int64_t n)
{
    const int64_t wanted = cop_ceil_div(n, SLICES_MAX);
    return wanted < SLICE_ROWS ? SLICE_ROWS : wanted;
}

template <typename T, unsigned N>
__device__ void add_to_table(T table, int64_t id, int64_t c, int64_t cols, const float (&sum)[N])
{
    float v[N];
    cop_read_row(table, id, c, cols, v);
    for (unsigned i = 0; i < N; i++) {
        v[i] += sum[i];
    }
    cop_write_row(table, id, c, cols, v);
}

// The sum of one run of equal ids, positions [first, end) of slice s: to the table, or, where the id
// goes on beyond the slice, to its place among the partial sums.
template <typename T, unsigned N>
__device__ void put_run(const slices &of, T table, int64_t first, int64_t end, int64_t c,
                        const float (&sum)[N])
{
    const int64_t s = first / of.rows_per_slice;
    const int32_t id = of.ids[first];
    const bool began_before =
        first > 0 && first == s * of.rows_per_slice && of.ids[first - 1] == id;
    const bool goes_on = end < of.count && of.ids[end] == id;
    if (!began_before && !goes_on) {
        add_to_table(table, id, c, of.cols, sum);
        return;
    }
    float *line = of.partial + (2 * s + (began_before ? 0 : 1)) * of.cols;
    for (unsigned i = 0; i < N && c + i < of.cols; i++) {
        line[c + i] = sum[i];
    }
}

template <typename D, typename T, unsigned N>
__global__ void __launch_bounds__(THREADS) slices_kernel(slices of, D d_y, T table)
{
    const int64_t c = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * N;
    int64_t first = blockIdx.x * of.rows_per_slice;
    const int64_t end = min(first + of.rows_per_slice, of.count);
    if (c >= of.cols) {
        return;
    }
    float sum[N] = {};
    float next[N];
    cop_read_row(d_y, of.rows[first], c, of.cols, next);
    for (int64_t at = first; at < end; at++) {
        for (unsigned i = 0; i < N; i++) {
            sum[i] += next[i];
        }
        if (at + 1 < end) { // under way while this row is dealt with
            cop_read_row(d_y, of.rows[at + 1], c, of.cols, next);
        }
        if (at + 1 == end || of.ids[at + 1] != of.ids[at]) {
            put_run(of, table, first, at + 1, c, sum);
            first = at + 1;
            for (unsigned i = 0; i < N; i++) {
                sum[i] = 0.0f;
            }
        }
    }
}

// The block of the slice where such an id begins adds up its partial sums.
template <typename T, unsigned N>
__global__ void __launch_bounds__(THREADS) joints_kernel(slices of, T table)
{
    const int64_t s = blockIdx.x;
    const int64_t begin = s * of.rows_per_slice;
    const int64_t end = begin + of.rows_per_slice; // of the slice; the last has no joint behind it
    const int64_t c = (static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x) * N;
    if (end >= of.count || of.ids[end - 1] != of.ids[end] || c >= of.cols) {
        return;
    }
    const int32_t id = of.ids[end];
    if (of.ids[begin] == id && begin > 0 && of.ids[begin - 1] == id) {
        return;
    }
    const cop_f32_view partial = {of.partial, of.cols};
    float sum[N];
    cop_read_row(partial, 2 * s + 1, c, of.cols, sum);
    for (int64_t next = s + 1; next * of.rows_per_slice < of.count; next++) {
        if (of.ids[next * of.rows_per_slice] != id) {
            break;
        }
        float v[N];
        cop_read_row(partial, 2 * next, c, of.cols, v);
        for (unsigned i = 0; i < N; i++) {
            sum[i] += v[i];
        }
    }
    add_to_table(table, id, c, of.cols, sum);
}

// Scratch: what the sort needs, then the partial sums.
struct layout {
    uint64_t partial; // offsets in bytes
    uint64_t bytes;
};

layout layout_of(const cop_embedding_backward_args &args)
{
    const int64_t n = args.d_y.rows;
    const int64_t count = cop_ceil_div(n, rows_per_slice(n));
    layout at = {};
    at.partial = cop_cuda_sort_scratch(n, args.d_table.rows);
    at.bytes = at.partial + static_cast<uint64_t>(2 * count * args.d_table.cols) * sizeof(float);
    return at;
}

template <typename D, typename T, unsigned N>
void launch_sums(cudaStream_t stream, const cop_embedding_backward_args &args, const slices &of)
{
    const int64_t wanted = cop_ceil_div(of.cols, COP_WARP * N) * COP_WARP;
    const int64_t threads = wanted < THREADS ? wanted : THREADS;
    const dim3 grid(static_cast<unsigned>(cop_ceil_div(of.count, of.rows_per_slice)),
                    static_cast<unsigned>(cop_ceil_div(of.cols, threads * N)));
    COP_LAUNCH((slices_kernel<D, T, N>), grid, static_cast<unsigned>(threads), 0, stream, of,
               cop_as<D>(args.d_y), cop_as<T>(args.d_table));
    COP_LAUNCH((joints_kernel<T, N>), grid, static_cast<unsigned>(threads), 0, stream, of,
               cop_as<T>(args.d_table));
}

} // namespace

cop_status cop_cuda_embedding_forward(cop_cuda *cuda, cudaStream_t stream,
                                      const cop_embedding_forward_args *args, cop_error *err)
{
    cop_gather_args gather = {};
    gather.x = args->table;
    gather.y = args->y;
    gather.row_index = args->ids;
    return cop_cuda_gather(cuda, stream, &gather, err);
}

uint64_t cop_cuda_embedding_backward_scratch(const cop_cuda *cuda,
                                             const cop_embedding_backward_args *args)
{
    (void)cuda;
    return args->d_y.rows <= 0 || args->d_y.cols <= 0 ? 0 : layout_of(*args).bytes;
}

cop_status cop_cuda_embedding_backward(cop_cuda *cuda, cudaStream_t stream,
                                       const cop_embedding_backward_args *args, cop_error *err)
{
    (void)cuda;
    const cop_matrix d_y = args->d_y;
    if (d_y.rows == 0 || d_y.cols == 0) {
        return COP_OK;
    }
    char *scratch = static_cast<char *>(args->scratch);
    slices of = {};
    cop_cuda_sort_ids(stream, args->ids, d_y.rows, args->d_table.rows, scratch, &of.ids, &of.rows);
    of.partial = reinterpret_cast<float *>(scratch + layout_of(*args).partial);
    of.count = d_y.rows;
    of.rows_per_slice = rows_per_slice(d_y.rows);
    of.cols = d_y.cols;
    // The lines of partial sums begin at multiples of 16 bytes too.
    const bool is_packed =
        cop_takes_packs(d_y) && cop_takes_packs(args->d_table) && d_y.cols % 4 == 0;
    if (!is_packed) {
        launch_sums<cop_any, cop_any, 1>(stream, *args, of);
    } else if (d_y.dtype == COP_F32 && args->d_table.dtype == COP_F32) {
        launch_sums<cop_f32_view, cop_f32_view, COP_PACK>(stream, *args, of);
    } else {
        launch_sums<cop_any, cop_any, COP_PACK>(stream, *args, of);
    }
    return cop_cuda_launched(err, "embedding_backward", d_y.rows, d_y.cols);
}
