// Attention without tensor cores, for all types and sizes: tiles of 32 queries by 32 keys, f32
// throughout, every sum in a fixed order. Slow and obvious.
//
// A block computes a slice of at most 256 of the D columns of its output; scores always go over all
// of D, so larger heads cost scores once per slice. The backward pass is the usual one:
//     p = exp(scale q k - lse),  dp = d_o v,  ds = p (dp - delta),  delta = Σ_d d_o o
//     d_v = pᵀ d_o,  d_k = scale dsᵀ q  per tile of keys,  d_q = scale ds k  per tile of queries

#include "kernels/cuda/attention.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/mma.cuh"

namespace {

constexpr int TILE = 32;
constexpr int LINES = 8; // a block has 32 x 8 threads: a warp has one line of a tile
constexpr int ROWS = TILE / LINES;
constexpr int SLICE = 256;
constexpr int PARTS = SLICE / TILE;

struct problem {
    cop_any q;
    cop_any k;
    cop_any v;
    cop_any o;
    cop_any d_o;
    cop_any d_q;
    cop_any d_k;
    cop_any d_v;
    float *lse; // [B*H, T] or NULL
    int64_t lse_stride;
    const float *delta; // [B*H, T]
    int64_t sequence;
    int64_t depth; // D
    int heads;
    int kv_heads;
    float scale;
};

// Part of a matrix that one head of one sequence owns: rows from `row`, columns from `col`.
struct head {
    cop_any m;
    int64_t row;
    int64_t col;
    int64_t rows;
    int64_t cols;
};

typedef float tile[TILE][TILE + 1];

// Where a thread is in the tiles.
struct place {
    int x;
    int y;
};

__device__ head head_of(const problem &p, cop_any m, int64_t batch, int64_t index)
{
    return head{m, batch * p.sequence, index * p.depth, p.sequence, p.depth};
}

__device__ float head_at(const head &h, int64_t row, int64_t col)
{
    return row < h.rows && col < h.cols ? cop_any_at(h.m, h.row + row, h.col + col) : 0.0f;
}

__device__ place place_of_thread(void)
{
    return place{static_cast<int>(threadIdx.x), static_cast<int>(threadIdx.y)};
}

// sum[i] = a[first_a + line i] · b[first_b + x] over all of D. The tiles are work space, free again.
__device__ void dot_rows(float (&sum)[ROWS], const head &a, int64_t first_a, const head &b,
                         int64_t first_b, tile &a_tile, tile &b_tile, place at)
{
    for (int i = 0; i < ROWS; i++) {
        sum[i] = 0.0f;
    }
    for (int64_t depth = 0; depth < a.cols; depth += TILE) {
        for (int i = at.y; i < TILE; i += LINES) {
            a_tile[i][at.x] = head_at(a, first_a + i, depth + at.x);
            b_tile[i][at.x] = head_at(b, first_b + i, depth + at.x);
        }
        __syncthreads();
        for (int d = 0; d < TILE; d++) {
            for (int i = 0; i < ROWS; i++) {
                sum[i] += a_tile[at.y + i * LINES][d] * b_tile[at.x][d];
            }
        }
        __syncthreads();
    }
}

// sum[i][part] += Σ_j weight[line i][j] b[first + j][first_col + 32 part + x], or with the transpose
// of the weights. `b_tile` is work space.
__device__ void add_rows(float (&sum)[ROWS][PARTS], const tile &weight, bool transposed,
                         const head &b, int64_t first, int64_t first_col, tile &b_tile, place at)
{
    COP_UNROLL
    for (int part = 0; part < PARTS; part++) {
        const int64_t col = first_col + part * TILE;
        if (col >= b.cols) {
            continue; // the same for the whole block
        }
        for (int j = at.y; j < TILE; j += LINES) {
            b_tile[j][at.x] = head_at(b, first + j, col + at.x);
        }
        __syncthreads();
        for (int j = 0; j < TILE; j++) {
            COP_UNROLL
            for (int i = 0; i < ROWS; i++) {
                const int line = at.y + i * LINES;
                sum[i][part] += (transposed ? weight[j][line] : weight[line][j]) * b_tile[j][at.x];
            }
        }
        __syncthreads();
    }
}

__device__ void put_rows(const head &out, const float (&sum)[ROWS][PARTS],
                         const float (&factor)[ROWS], int64_t first, int64_t first_col, place at)
{
    COP_UNROLL
    for (int part = 0; part < PARTS; part++) {
        const int64_t col = first_col + part * TILE + at.x;
        for (int i = 0; i < ROWS; i++) {
            const int64_t row = first + at.y + i * LINES;
            if (row < out.rows && col < out.cols) {
                cop_any_put(out.m, out.row + row, out.col + col, sum[i][part] * factor[i]);
            }
        }
    }
}

// grid: (tiles of queries, B * H, slices)
__global__ void forward_kernel(problem p, int64_t first_head)
{
    __shared__ tile a_tile;
    __shared__ tile b_tile;
    __shared__ tile weight;
    const place at = place_of_thread();
    const int64_t index = first_head + blockIdx.y; // b * H + h
    const int64_t batch = index / p.heads;
    const int64_t h = index % p.heads;
    const int64_t kv = h / (p.heads / p.kv_heads);
    const head q = head_of(p, p.q, batch, h);
    const head k = head_of(p, p.k, batch, kv);
    const head v = head_of(p, p.v, batch, kv);
    const int64_t first = static_cast<int64_t>(blockIdx.x) * TILE;
    const int64_t first_col = static_cast<int64_t>(blockIdx.z) * SLICE;
    float out[ROWS][PARTS] = {};
    float largest[ROWS]; // of a row's scores so far, and the sum of their exponentials
    float total[ROWS];
    for (int i = 0; i < ROWS; i++) {
        largest[i] = -INFINITY;
        total[i] = 0.0f;
    }
    for (int64_t key = 0; key < first + TILE && key < p.sequence; key += TILE) {
        float score[ROWS];
        dot_rows(score, q, first, k, key, a_tile, b_tile, at);
        for (int i = 0; i < ROWS; i++) {
            const int64_t row = first + at.y + i * LINES;
            const bool is_seen = key + at.x <= row && key + at.x < p.sequence;
            const float s = is_seen ? score[i] * p.scale : -INFINITY;
            // Key 0 is seen by every row, so the maximum is finite from the first tile on.
            const float most = fmaxf(largest[i], cop_warp_max(s));
            const float shrink = expf(largest[i] - most);
            const float e = expf(s - most);
            total[i] = total[i] * shrink + cop_warp_sum(e);
            largest[i] = most;
            weight[at.y + i * LINES][at.x] = e;
            COP_UNROLL
            for (int part = 0; part < PARTS; part++) {
                out[i][part] *= shrink;
            }
        }
        add_rows(out, weight, false, v, key, first_col, b_tile, at); // its barriers order `weight`
    }
    float factor[ROWS];
    for (int i = 0; i < ROWS; i++) {
        const int64_t row = first + at.y + i * LINES;
        factor[i] = 1.0f / total[i];
        if (p.lse != NULL && blockIdx.z == 0 && at.x == 0 && row < p.sequence) {
            p.lse[index * p.lse_stride + row] = largest[i] + logf(total[i]);
        }
    }
    put_rows(head_of(p, p.o, batch, h), out, factor, first, first_col, at);
}

// One warp per row and head.
__global__ void delta_kernel(problem p, float *delta, int64_t tasks)
{
    const int64_t task = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
    if (task >= tasks) {
        return; // whole warps
    }
    const int64_t index = task / p.sequence;
    const int64_t row = task % p.sequence;
    const head o = head_of(p, p.o, index / p.heads, index % p.heads);
    const head d_o = head_of(p, p.d_o, index / p.heads, index % p.heads);
    float sum = 0.0f;
    for (int64_t d = threadIdx.x; d < p.depth; d += COP_WARP) {
        sum += head_at(o, row, d) * head_at(d_o, row, d);
    }
    sum = cop_warp_sum(sum);
    if (threadIdx.x == 0) {
        delta[task] = sum;
    }
}

// p and ds of one tile, from the products of its rows.
__device__ void weights_of(const problem &p, int64_t index, int64_t query, int64_t key,
                           const float (&score)[ROWS], const float (&d_weight)[ROWS], tile &weight,
                           tile &d_score, place at)
{
    for (int i = 0; i < ROWS; i++) {
        const int line = at.y + i * LINES;
        const int64_t row = query + line;
        float e = 0.0f;
        float ds = 0.0f;
        if (row < p.sequence && key + at.x <= row) {
            e = expf(score[i] * p.scale - p.lse[index * p.lse_stride + row]);
            ds = e * (d_weight[i] - p.delta[index * p.sequence + row]);
        }
        weight[line][at.x] = e;
        d_score[line][at.x] = ds;
    }
}

// grid: (tiles of keys, B * K, slices)
__global__ void backward_key_kernel(problem p, int64_t first_head)
{
    __shared__ tile a_tile;
    __shared__ tile b_tile;
    __shared__ tile weight;
    __shared__ tile d_score;
    const place at = place_of_thread();
    const int64_t index = first_head + blockIdx.y; // b * K + kv
    const int64_t batch = index / p.kv_heads;
    const int64_t kv = index % p.kv_heads;
    const int64_t group = p.heads / p.kv_heads;
    const head k = head_of(p, p.k, batch, kv);
    const head v = head_of(p, p.v, batch, kv);
    const int64_t key = static_cast<int64_t>(blockIdx.x) * TILE;
    const int64_t first_col = static_cast<int64_t>(blockIdx.z) * SLICE;
    float d_k[ROWS][PARTS] = {};
    float d_v[ROWS][PARTS] = {};
    for (int64_t h = kv * group; h < (kv + 1) * group; h++) {
        const head q = head_of(p, p.q, batch, h);
        const head d_o = head_of(p, p.d_o, batch, h);
        for (int64_t query = key; query < p.sequence; query += TILE) {
            float score[ROWS];
            float d_weight[ROWS];
            dot_rows(score, q, query, k, key, a_tile, b_tile, at);
            dot_rows(d_weight, d_o, query, v, key, a_tile, b_tile, at);
            weights_of(p, batch * p.heads + h, query, key, score, d_weight, weight, d_score, at);
            add_rows(d_v, weight, true, d_o, query, first_col, b_tile, at);
            add_rows(d_k, d_score, true, q, query, first_col, b_tile, at);
        }
    }
    float scale[ROWS];
    float one[ROWS];
    for (int i = 0; i < ROWS; i++) {
        scale[i] = p.scale;
        one[i] = 1.0f;
    }
    put_rows(head_of(p, p.d_k, batch, kv), d_k, scale, key, first_col, at);
    put_rows(head_of(p, p.d_v, batch, kv), d_v, one, key, first_col, at);
}

// grid: (tiles of queries, B * H, slices)
__global__ void backward_query_kernel(problem p, int64_t first_head)
{
    __shared__ tile a_tile;
    __shared__ tile b_tile;
    __shared__ tile weight;
    __shared__ tile d_score;
    const place at = place_of_thread();
    const int64_t index = first_head + blockIdx.y; // b * H + h
    const int64_t batch = index / p.heads;
    const int64_t h = index % p.heads;
    const int64_t kv = h / (p.heads / p.kv_heads);
    const head q = head_of(p, p.q, batch, h);
    const head d_o = head_of(p, p.d_o, batch, h);
    const head k = head_of(p, p.k, batch, kv);
    const head v = head_of(p, p.v, batch, kv);
    const int64_t query = static_cast<int64_t>(blockIdx.x) * TILE;
    const int64_t first_col = static_cast<int64_t>(blockIdx.z) * SLICE;
    float d_q[ROWS][PARTS] = {};
    float scale[ROWS];
    for (int64_t key = 0; key < query + TILE && key < p.sequence; key += TILE) {
        float score[ROWS];
        float d_weight[ROWS];
        dot_rows(score, q, query, k, key, a_tile, b_tile, at);
        dot_rows(d_weight, d_o, query, v, key, a_tile, b_tile, at);
        weights_of(p, index, query, key, score, d_weight, weight, d_score, at);
        add_rows(d_q, d_score, false, k, key, first_col, b_tile, at);
    }
    for (int i = 0; i < ROWS; i++) {
        scale[i] = p.scale;
    }
    put_rows(head_of(p, p.d_q, batch, h), d_q, scale, query, first_col, at);
}

typedef void (*kernel_of_tiles)(problem p, int64_t first_head);

// One block per tile of rows, head and slice; heads beyond what a grid holds go in further launches.
cop_status launch(kernel_of_tiles kernel, cudaStream_t stream, const problem &p, int64_t heads,
                  const char *op, cop_error *err)
{
    constexpr int64_t HEADS_MAX = 65535;
    for (int64_t first = 0; first < heads; first += HEADS_MAX) {
        const int64_t count = heads - first < HEADS_MAX ? heads - first : HEADS_MAX;
        const dim3 grid(static_cast<unsigned>(cop_ceil_div(p.sequence, TILE)),
                        static_cast<unsigned>(count),
                        static_cast<unsigned>(cop_ceil_div(p.depth, SLICE)));
        COP_LAUNCH(kernel, grid, dim3(TILE, LINES), 0, stream, p, first);
        const cop_status status = cop_cuda_launched(err, op, heads * p.sequence, p.depth);
        if (status != COP_OK) {
            return status;
        }
    }
    return COP_OK;
}

// What the arguments of both passes have.
template <class Args> problem problem_of(const Args *args)
{
    problem p = {};
    p.q = cop_any_of(args->q);
    p.k = cop_any_of(args->k);
    p.v = cop_any_of(args->v);
    p.o = cop_any_of(args->o);
    p.lse = static_cast<float *>(args->lse.data);
    p.lse_stride = args->lse.stride;
    p.sequence = args->sequence;
    p.depth = args->head_dim;
    p.heads = static_cast<int>(args->heads);
    p.kv_heads = static_cast<int>(args->kv_heads);
    p.scale = args->scale;
    return p;
}

problem backward_of(const cop_attention_backward_args *args, const float *delta)
{
    problem p = problem_of(args);
    p.d_o = cop_any_of(args->d_o);
    p.d_q = cop_any_of(args->d_q);
    p.d_k = cop_any_of(args->d_k);
    p.d_v = cop_any_of(args->d_v);
    p.delta = delta;
    return p;
}

} // namespace

cop_status cop_cuda_plain_forward(cudaStream_t stream, const cop_attention_forward_args *args,
                                  cop_error *err)
{
    const problem p = problem_of(args);
    return launch(forward_kernel, stream, p, args->batch * args->heads, "attention_forward", err);
}

cop_status cop_cuda_attention_delta(cudaStream_t stream, const cop_attention_backward_args *args,
                                    float *delta, cop_error *err)
{
    const problem p = backward_of(args, NULL);
    const int64_t tasks = args->batch * args->heads * args->sequence;
    if (tasks == 0) {
        return COP_OK;
    }
    COP_LAUNCH(delta_kernel, static_cast<unsigned>(cop_ceil_div(tasks, LINES)),
               dim3(COP_WARP, LINES), 0, stream, p, delta, tasks);
    return cop_cuda_launched(err, "attention_backward", tasks, p.depth);
}

cop_status cop_cuda_plain_backward(cudaStream_t stream, const cop_attention_backward_args *args,
                                   const float *delta, cop_error *err)
{
    const problem p = backward_of(args, delta);
    const cop_status status = launch(backward_key_kernel, stream, p, args->batch * args->kv_heads,
                                     "attention_backward", err);
    return status != COP_OK ? status
                            : launch(backward_query_kernel, stream, p, args->batch * args->heads,
                                     "attention_backward", err);
}
