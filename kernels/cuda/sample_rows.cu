// One block per row of logits. The vocabulary is cut into at most 1024 tiles; a warp sums a tile's
// exp(u - its own maximum), so that one pass over the row gives the statistics of the whole and of
// each tile. A draw then finds its tile by bisection in the cumulated tiles and its id by a walk
// through that tile alone. All sums have a fixed order.

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/head.h"
#include "kernels/random.h"

namespace {

constexpr int THREADS = 1024;
constexpr int TILES_MAX = 1024;
constexpr int STEP = 4 * COP_WARP; // logits that a warp takes at a time
constexpr float FLOOR = -1e30f;    // below every logit, and finite

struct call {
    const float *u;
    int64_t stride;
    int vocab;
    int tile; // logits, a multiple of STEP
    int tiles;
    int draws;
    uint64_t seed;
    int64_t first_row;
    int *ids;       // [rows, draws]
    float *weights; // [rows, draws]
    float *entropy; // [rows]
};

struct tile_sums {
    float max;   // largest logit
    float sum;   // Σ exp(u - max)
    float cross; // Σ exp(u - max) (u - max)
};

// Of one lane; later of the whole warp.
__device__ tile_sums sum_tile(const float *u, int from, int end)
{
    const int lane = static_cast<int>(threadIdx.x) % COP_WARP;
    tile_sums s = {FLOOR, 0.0f, 0.0f};
    for (int c = from + lane * 4; c < end; c += STEP) {
        float x[4] = {FLOOR, FLOOR, FLOOR, FLOOR};
        if (c + 4 <= end) {
            const float4 all = *reinterpret_cast<const float4 *>(u + c);
            x[0] = all.x;
            x[1] = all.y;
            x[2] = all.z;
            x[3] = all.w;
        } else {
            for (int i = 0; c + i < end; i++) {
                x[i] = u[c + i];
            }
        }
        const float top = fmaxf(fmaxf(x[0], x[1]), fmaxf(x[2], x[3]));
        if (top > s.max) {
            const float shift = s.max - top;
            const float factor = expf(shift);
            s.cross = factor * (s.cross + s.sum * shift);
            s.sum *= factor;
            s.max = top;
        }
        for (int i = 0; i < 4; i++) {
            const float log_w = x[i] - s.max;
            const float w = expf(log_w);
            s.sum += w;
            s.cross += w * log_w;
        }
    }
    const float max = cop_warp_max(s.max);
    const float shift = s.max - max;
    const float factor = expf(shift);
    const float cross = factor * (s.cross + s.sum * shift);
    return tile_sums{max, cop_warp_sum(s.sum * factor), cop_warp_sum(cross)};
}

// cumulated[t] = Σ of tiles 0 … t, doubling the distance of what is added. `other` is room.
__device__ double *scan(double *cumulated, double *other, int tiles)
{
    const int t = static_cast<int>(threadIdx.x);
    for (int step = 1; step < tiles; step *= 2) {
        __syncthreads();
        if (t < tiles) {
            other[t] = t >= step ? cumulated[t] + cumulated[t - step] : cumulated[t];
        }
        double *swap = cumulated;
        cumulated = other;
        other = swap;
    }
    __syncthreads();
    return cumulated;
}

// The first id whose cumulated weight is above `wanted`.
__device__ int find(const call &p, const float *u, float max, const double *cumulated,
                    double wanted)
{
    int low = 0;
    int high = p.tiles - 1;
    while (low < high) {
        const int middle = (low + high) / 2;
        if (cumulated[middle] > wanted) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    const int from = low * p.tile;
    const int end = min(from + p.tile, p.vocab);
    double sum = low > 0 ? cumulated[low - 1] : 0.0;
    int found = from;
    for (int v = from; v < end; v++) {
        const float w = expf(u[v] - max);
        sum += static_cast<double>(w);
        found = w > 0.0f ? v : found;
        if (sum > wanted) {
            break;
        }
    }
    return found; // rounding may leave the tile's sum at `wanted`: then its last id with a weight
}

// Puts the distinct ids of drawn[0 … draws) in order of their first draw. `is_first` is room.
__device__ void put_distinct(const call &p, int64_t r, const int *drawn, unsigned char *is_first)
{
    int *ids = p.ids + r * p.draws;
    float *weights = p.weights + r * p.draws;
    for (int k = static_cast<int>(threadIdx.x); k < p.draws; k += THREADS) {
        int j = 0;
        while (drawn[j] != drawn[k]) {
            j++;
        }
        is_first[k] = j == k ? 1 : 0;
    }
    __syncthreads();
    for (int k = static_cast<int>(threadIdx.x); k < p.draws; k += THREADS) {
        int place = 0;
        int count = 0;
        for (int j = 0; j < p.draws; j++) {
            place += j < k ? is_first[j] : 0;
            count += drawn[j] == drawn[k] ? 1 : 0;
        }
        if (is_first[k] != 0) {
            ids[place] = drawn[k];
            weights[place] = static_cast<float>(count) / static_cast<float>(p.draws);
        }
    }
    // The places behind the distinct ones: as many as there are repetitions.
    for (int k = static_cast<int>(threadIdx.x); k < p.draws; k += THREADS) {
        int before = 0;
        for (int j = 0; j < k; j++) {
            before += is_first[j] == 0 ? 1 : 0;
        }
        if (is_first[k] == 0) {
            ids[p.draws - 1 - before] = -1;
            weights[p.draws - 1 - before] = 0.0f;
        }
    }
}

__global__ void __launch_bounds__(THREADS) sample_rows_kernel(call p)
{
    __shared__ double cumulated[TILES_MAX];
    __shared__ double room[TILES_MAX];
    __shared__ float tile_max[TILES_MAX];
    __shared__ float tile_sum[TILES_MAX];
    __shared__ float tile_cross[TILES_MAX];
    __shared__ double sums[COP_WARP];
    __shared__ float maxima[COP_WARP];
    __shared__ int drawn[COP_SAMPLE_DRAWS_MAX];
    __shared__ unsigned char is_first[COP_SAMPLE_DRAWS_MAX];
    const int thread = static_cast<int>(threadIdx.x);
    const int64_t r = blockIdx.x;
    const float *u = p.u + r * p.stride;
    for (int t = thread / COP_WARP; t < p.tiles; t += THREADS / COP_WARP) {
        const tile_sums s = sum_tile(u, t * p.tile, min((t + 1) * p.tile, p.vocab));
        if (thread % COP_WARP == 0) {
            tile_max[t] = s.max;
            tile_sum[t] = s.sum;
            tile_cross[t] = s.cross;
        }
    }
    __syncthreads();
    const float mine = thread < p.tiles ? tile_max[thread] : FLOOR;
    const float max = cop_block_max(mine, maxima);
    const double shift = static_cast<double>(mine) - static_cast<double>(max);
    const double factor = exp(shift);
    double cross = 0.0;
    if (thread < p.tiles) {
        const double sum = static_cast<double>(tile_sum[thread]);
        cumulated[thread] = factor * sum;
        cross = factor * (static_cast<double>(tile_cross[thread]) + sum * shift);
    }
    cross = cop_block_sum<double>(cross, sums);
    const double *total = scan(cumulated, room, p.tiles);
    const double all = total[p.tiles - 1];
    if (thread == 0) {
        // -Σ p log p with log p = (u - max) - log Σ exp(u - max)
        const double entropy = log(all) - cross / all;
        p.entropy[r] = entropy < 0.0 ? 0.0f : static_cast<float>(entropy);
    }
    const uint64_t key =
        cop_random_key(p.seed, static_cast<uint64_t>(p.first_row) + static_cast<uint64_t>(r));
    for (int k = thread; k < p.draws; k += THREADS) {
        const float uniform = cop_random_uniform(cop_random_bits(key, static_cast<uint64_t>(k)));
        drawn[k] = find(p, u, max, total, static_cast<double>(uniform) * all);
    }
    __syncthreads();
    put_distinct(p, r, drawn, is_first);
}

} // namespace

cop_status cop_cuda_sample_rows(cudaStream_t stream, const cop_sample_targets_args *args,
                                const float *u, int64_t stride, int64_t first, int64_t rows,
                                cop_error *err)
{
    const int64_t vocab = args->head.rows;
    const int64_t tile = cop_ceil_div(cop_ceil_div(vocab, TILES_MAX), STEP) * STEP;
    const call p = {u,
                    stride,
                    static_cast<int>(vocab),
                    static_cast<int>(tile),
                    static_cast<int>(cop_ceil_div(vocab, tile)),
                    static_cast<int>(args->draws),
                    args->seed,
                    args->first_row + first,
                    args->ids + first * args->draws,
                    static_cast<float *>(args->weights.data) + first * args->draws,
                    static_cast<float *>(args->entropy.data) + first};
    if (rows == 0) {
        return COP_OK;
    }
    COP_LAUNCH(sample_rows_kernel, static_cast<unsigned>(rows), THREADS, 0, stream, p);
    return cop_cuda_launched(err, "sample_targets", rows, vocab);
}
