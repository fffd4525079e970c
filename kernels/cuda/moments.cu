// Sums over the positions of each sequence for the importance criteria, all three at once: the
// activations are read once. f64 throughout; a block owns its units of one sequence, so that
// nothing is shared between blocks.

#include "kernels/cuda/ops.h"
#include "kernels/cuda/pack.cuh"

namespace {

// Units of one column: 8 threads take 128 bytes of bf16 of a row, 32 lanes every 32nd row.
constexpr int WIDTH = 8;
constexpr int LANES = 32;
constexpr int TEAMS = 16; // warps of a block that take the rows of one unit in turn

struct moments {
    double abs;
    double square;
    double plain;
};

struct sums {
    double *out; // [B, 3, units]
    int64_t units;
    int64_t group;
    int64_t sequence;
};

__device__ void put(const sums &to, int64_t b, int64_t unit, const moments &total)
{
    double *out = to.out + b * 3 * to.units + unit;
    out[0] += total.abs;
    out[to.units] += total.square;
    out[2 * to.units] += total.plain;
}

__device__ void add(moments &to, const moments &from)
{
    to.abs += from.abs;
    to.square += from.square;
    to.plain += from.plain;
}

template <unsigned N>
__global__ void __launch_bounds__(WIDTH *LANES) columns_kernel(cop_any x, sums to)
{
    __shared__ moments lanes[LANES][WIDTH];
    const int column = static_cast<int>(threadIdx.x);
    const int lane = static_cast<int>(threadIdx.y);
    const int64_t b = blockIdx.y;
    const int64_t c = (static_cast<int64_t>(blockIdx.x) * WIDTH + column) * N;
    moments sum[N] = {};
    if (c < to.units) {
        COP_UNROLL(2)
        for (int64_t t = lane; t < to.sequence; t += LANES) {
            float v[N];
            cop_read_row(x, b * to.sequence + t, c, to.units, v);
            for (unsigned i = 0; i < N; i++) {
                const double s = static_cast<double>(v[i]);
                add(sum[i], moments{fabs(s), s * s, s});
            }
        }
    }
    for (unsigned i = 0; i < N; i++) {
        __syncthreads();
        lanes[lane][column] = sum[i];
        __syncthreads();
        if (lane == 0 && c + i < to.units) {
            moments total = {};
            for (int l = 0; l < LANES; l++) {
                add(total, lanes[l][column]);
            }
            put(to, b, c + i, total);
        }
    }
}

// s is the norm of a group of columns, by a warp.
template <unsigned N> __global__ void groups_kernel(cop_any x, sums to)
{
    __shared__ moments teams[TEAMS];
    const int lane = static_cast<int>(threadIdx.x) % COP_WARP;
    const int team = static_cast<int>(threadIdx.x) / COP_WARP;
    const int64_t b = blockIdx.y;
    const int64_t unit = blockIdx.x;
    const int64_t end = (unit + 1) * to.group;
    moments sum = {};
    for (int64_t t = team; t < to.sequence; t += TEAMS) {
        double squares = 0.0;
        for (int64_t c = unit * to.group + static_cast<int64_t>(lane) * N; c < end;
             c += COP_WARP * N) {
            float v[N];
            cop_read_row(x, b * to.sequence + t, c, end, v);
            for (unsigned i = 0; i < N; i++) {
                squares += static_cast<double>(v[i]) * static_cast<double>(v[i]);
            }
        }
        squares = cop_warp_sum(squares);
        const double s = sqrt(squares);
        add(sum, moments{s, squares, s});
    }
    if (lane == 0) {
        teams[team] = sum;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        moments total = {};
        for (int i = 0; i < TEAMS; i++) {
            add(total, teams[i]);
        }
        put(to, b, unit, total);
    }
}

template <unsigned N>
void launch(cudaStream_t stream, cop_matrix x, const sums &to, int64_t first, int64_t batch)
{
    sums part = to;
    part.out += first * 3 * to.units;
    const cop_any rows =
        cop_any_of(cop_matrix_part(x, first * to.sequence, batch * to.sequence, 0, x.cols));
    if (to.group == 1) {
        const dim3 grid(static_cast<unsigned>(cop_ceil_div(to.units, WIDTH * N)),
                        static_cast<unsigned>(batch));
        COP_LAUNCH((columns_kernel<N>), grid, dim3(WIDTH, LANES), 0, stream, rows, part);
    } else {
        const dim3 grid(static_cast<unsigned>(to.units), static_cast<unsigned>(batch));
        COP_LAUNCH((groups_kernel<N>), grid, TEAMS * COP_WARP, 0, stream, rows, part);
    }
}

} // namespace

cop_status cop_cuda_sequence_moments(cop_cuda *cuda, cudaStream_t stream,
                                     const cop_sequence_moments_args *args, cop_error *err)
{
    (void)cuda;
    const cop_matrix x = args->x;
    const sums to = {args->out, x.cols / args->group, args->group, args->sequence};
    const bool is_packed = cop_takes_packs(x) && (args->group == 1 || args->group % COP_PACK == 0);
    constexpr int64_t batch_max = 65535; // of a grid's second dimension
    const int64_t batch = to.units == 0 ? 0 : x.rows / args->sequence;
    for (int64_t b = 0; b < batch; b += batch_max) {
        const int64_t count = batch - b < batch_max ? batch - b : batch_max;
        if (is_packed) {
            launch<COP_PACK>(stream, x, to, b, count);
        } else {
            launch<1>(stream, x, to, b, count);
        }
    }
    return cop_cuda_launched(err, "sequence_moments", x.rows, x.cols);
}
