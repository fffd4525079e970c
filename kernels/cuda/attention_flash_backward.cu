// Attention backward on tensor cores, in two kernels that compute the scores anew: one per block of
// keys for d_k and d_v, one per block of queries for d_q. That is 7 products of tiles instead of the
// 5 of a kernel that adds to d_q from all blocks; in exchange every sum has a fixed order, without
// atomics and without memory for partial sums.
//
//     p = exp(scale q k - lse),  dp = d_o v,  ds = p (dp - delta)
//     d_v = pᵀ d_o,  d_k = scale dsᵀ q,  d_q = scale ds k
//
// The kernel of keys computes the transposes pᵀ = k qᵀ and dpᵀ = v d_oᵀ: a warp has all of a tile for
// its keys, so p and ds go from accumulators to operands in registers. Queries beyond T arrive as
// zeros with lse and delta 0: they add nothing.

#include "kernels/cuda/attention_flash.cuh"

namespace {

// A warp has 32 rows, so that each fragment from shared memory serves two products, where registers
// allow: d_k and d_v of 32 keys by 128 columns would be 256 of them.
template <int D> struct shape;

template <> struct shape<64> {
    enum { KEY_WARPS = 4, KEY_MT = 2, QUERIES = 32, KEY_BLOCKS = 2, QUERY_MT = 2, KEYS = 64 };
};

template <> struct shape<128> {
    enum { KEY_WARPS = 8, KEY_MT = 1, QUERIES = 64, KEY_BLOCKS = 1, QUERY_MT = 2, KEYS = 32 };
};

constexpr int QUERY_WARPS = 4;

// --- d_k and d_v

template <int D> struct key_shared {
    enum { KEYS = 16 * shape<D>::KEY_MT * shape<D>::KEY_WARPS, QUERIES = shape<D>::QUERIES };

    __nv_bfloat16 k[KEYS * D];
    __nv_bfloat16 v[KEYS * D];
    __nv_bfloat16 q[2][QUERIES * D];
    __nv_bfloat16 d_o[2][QUERIES * D];
    float lse[2][QUERIES];
    float delta[2][QUERIES];
};

// Begins to copy one tile of queries of one head.
template <int D, int THREADS>
__device__ inline void load_queries(key_shared<D> *shared, int stage, const cop_flash &p,
                                    int64_t batch, int head, int64_t query)
{
    constexpr int QUERIES = key_shared<D>::QUERIES;
    const int thread = static_cast<int>(threadIdx.x);
    cop_tile_load<D, QUERIES, THREADS>(shared->q[stage],
                                       cop_flash_rows(p, p.q, batch, head, query));
    cop_tile_load<D, QUERIES, THREADS>(shared->d_o[stage],
                                       cop_flash_rows(p, p.d_o, batch, head, query));
    if (thread < QUERIES) {
        const int64_t row = query + thread;
        const int64_t index = batch * p.heads + head;
        const bool is_there = row < p.sequence;
        const int64_t at = is_there ? row : 0;
        cop_cp_async_4(&shared->lse[stage][thread], p.lse + index * p.lse_stride + at, is_there);
        cop_cp_async_4(&shared->delta[stage][thread], p.delta + index * p.sequence + at, is_there);
    }
    cop_cp_async_commit();
}

// From transposed scores and dp to transposed p and ds; rows are keys, columns queries. `ahead`:
// how far the tile's first query is ahead of the warp's first key.
template <int MT, int NT>
__device__ inline void weigh_keys(float (&score)[MT][NT][4], float (&d_weight)[MT][NT][4],
                                  const float *lse, const float *delta, int64_t ahead,
                                  float scale_log2)
{
    const int lane = static_cast<int>(threadIdx.x) % COP_WARP;
    const bool is_masked = ahead < 16 * MT - 1;
    const int before = static_cast<int>(is_masked ? ahead : 0) + lane % 4 * 2 - lane / 4;
    COP_UNROLL
    for (int n = 0; n < NT; n++) {
        COP_UNROLL
        for (int i = 0; i < 2; i++) {
            const int query = 8 * n + lane % 4 * 2 + i;
            const float offset = lse[query] * COP_LOG2_E;
            const float less = delta[query];
            COP_UNROLL
            for (int m = 0; m < MT; m++) {
                COP_UNROLL
                for (int side = 0; side < 2; side++) {
                    float e = cop_exp2(fmaf(score[m][n][2 * side + i], scale_log2, -offset));
                    if (is_masked && before + 8 * n + i < 16 * m + 8 * side) {
                        e = 0.0f; // the key is behind the query
                    }
                    score[m][n][2 * side + i] = e;
                    d_weight[m][n][2 * side + i] = e * (d_weight[m][n][2 * side + i] - less);
                }
            }
        }
    }
}

// grid: (B * K, blocks of keys), those with the most queries first
template <int D>
__global__ void __launch_bounds__(shape<D>::KEY_WARPS *COP_WARP, shape<D>::KEY_BLOCKS)
    key_kernel(cop_flash p)
{
    constexpr int MT = shape<D>::KEY_MT;
    constexpr int NT = shape<D>::QUERIES / 8;
    constexpr int THREADS = shape<D>::KEY_WARPS * COP_WARP;
    constexpr int KEYS = key_shared<D>::KEYS;
    constexpr int QUERIES = key_shared<D>::QUERIES;
    COP_DYNAMIC_SHARED(key_shared<D>, shared);
    const int64_t batch = blockIdx.x / static_cast<unsigned>(p.kv_heads);
    const int kv = static_cast<int>(blockIdx.x % static_cast<unsigned>(p.kv_heads));
    const int group = p.heads / p.kv_heads;
    const int64_t key = static_cast<int64_t>(blockIdx.y) * KEYS;
    const int tile_row = static_cast<int>(threadIdx.x) / COP_WARP * 16 * MT;
    const int64_t row = key + tile_row; // the warp's first key
    float d_k[MT][D / 8][4];
    float d_v[MT][D / 8][4];
    cop_tile_zero(d_k);
    cop_tile_zero(d_v);
    cop_tile_load<D, KEYS, THREADS>(shared->k, cop_flash_rows(p, p.k, batch, kv, key));
    cop_tile_load<D, KEYS, THREADS>(shared->v, cop_flash_rows(p, p.v, batch, kv, key));
    // All tiles of queries of one head of the group, then those of the next.
    int head = kv * group;
    int64_t query = key;
    load_queries<D, THREADS>(shared, 0, p, batch, head, query);
    int stage = 0;
    while (head < (kv + 1) * group) {
        const bool is_last = query + QUERIES >= p.sequence;
        const int next_head = is_last ? head + 1 : head;
        const int64_t next = is_last ? key : query + QUERIES;
        cop_cp_async_wait<0>();
        __syncthreads(); // this tile is there for all; the one before is no longer read by any
        if (next_head < (kv + 1) * group) {
            load_queries<D, THREADS>(shared, stage ^ 1, p, batch, next_head, next);
        }
        if (row < p.sequence && row < query + QUERIES) {
            float score[MT][NT][4];
            float d_weight[MT][NT][4];
            uint32_t weight[MT][NT / 2][4];
            cop_tile_zero(score);
            cop_tile_zero(d_weight);
            cop_tile_dot<D>(score, shared->k, tile_row, shared->q[stage]);
            cop_tile_dot<D>(d_weight, shared->v, tile_row, shared->d_o[stage]);
            weigh_keys(score, d_weight, shared->lse[stage], shared->delta[stage], query - row,
                       p.scale_log2);
            cop_tile_pack(weight, score);
            cop_tile_add<D>(d_v, weight, shared->d_o[stage]);
            cop_tile_pack(weight, d_weight);
            cop_tile_add<D>(d_k, weight, shared->q[stage]);
        }
        head = next_head;
        query = next;
        stage ^= 1;
    }
    if (row < p.sequence) {
        float factor[MT][2];
        COP_UNROLL
        for (int i = 0; i < 2 * MT; i++) {
            factor[i / 2][i % 2] = p.scale;
        }
        cop_tile_store<D>(cop_flash_target(p, p.d_k, batch, kv, row), d_k, factor, shared->k,
                          tile_row);
        COP_UNROLL
        for (int i = 0; i < 2 * MT; i++) {
            factor[i / 2][i % 2] = 1.0f;
        }
        cop_tile_store<D>(cop_flash_target(p, p.d_v, batch, kv, row), d_v, factor, shared->v,
                          tile_row);
    }
}

// --- d_q

template <int D> struct query_shared {
    enum { QUERIES = 16 * shape<D>::QUERY_MT * QUERY_WARPS, KEYS = shape<D>::KEYS };

    __nv_bfloat16 q[QUERIES * D];
    __nv_bfloat16 d_o[QUERIES * D];
    __nv_bfloat16 k[2][KEYS * D];
    __nv_bfloat16 v[2][KEYS * D];
};

// From scores and dp to ds; rows are queries, columns keys. `ahead`: how far the warp's first query
// is ahead of the tile's first key.
template <int MT, int NT>
__device__ inline void weigh_queries(float (&score)[MT][NT][4], const float (&d_weight)[MT][NT][4],
                                     const float (&offset)[MT][2], const float (&delta)[MT][2],
                                     int64_t ahead, float scale_log2)
{
    const int lane = static_cast<int>(threadIdx.x) % COP_WARP;
    const bool is_masked = ahead < 8 * NT - 1;
    const int before = static_cast<int>(is_masked ? ahead : 0) + lane / 4 - lane % 4 * 2;
    COP_UNROLL
    for (int m = 0; m < MT; m++) {
        COP_UNROLL
        for (int n = 0; n < NT; n++) {
            COP_UNROLL
            for (int i = 0; i < 4; i++) {
                const int side = i / 2;
                float e = cop_exp2(fmaf(score[m][n][i], scale_log2, -offset[m][side]));
                if (is_masked && before + 16 * m + 8 * side < 8 * n + i % 2) {
                    e = 0.0f;
                }
                score[m][n][i] = e * (d_weight[m][n][i] - delta[m][side]);
            }
        }
    }
}

// grid: (B * H, blocks of queries), the longest rows first
template <int D>
__global__ void __launch_bounds__(QUERY_WARPS *COP_WARP, 2) query_kernel(cop_flash p)
{
    constexpr int MT = shape<D>::QUERY_MT;
    constexpr int NT = shape<D>::KEYS / 8;
    constexpr int THREADS = QUERY_WARPS * COP_WARP;
    constexpr int QUERIES = query_shared<D>::QUERIES;
    constexpr int KEYS = query_shared<D>::KEYS;
    COP_DYNAMIC_SHARED(query_shared<D>, shared);
    const int lane = static_cast<int>(threadIdx.x) % COP_WARP;
    const int64_t index = blockIdx.x;
    const int64_t batch = index / p.heads;
    const int head = static_cast<int>(index % p.heads);
    const int kv = head / (p.heads / p.kv_heads);
    const int64_t query = static_cast<int64_t>(gridDim.y - 1 - blockIdx.y) * QUERIES;
    const int64_t end = query + QUERIES < p.sequence ? query + QUERIES : p.sequence;
    const int tile_row = static_cast<int>(threadIdx.x) / COP_WARP * 16 * MT;
    const int64_t row = query + tile_row; // the warp's first query
    float d_q[MT][D / 8][4];
    float offset[MT][2];
    float delta[MT][2];
    cop_tile_zero(d_q);
    cop_tile_load<D, QUERIES, THREADS>(shared->q, cop_flash_rows(p, p.q, batch, head, query));
    cop_tile_load<D, QUERIES, THREADS>(shared->d_o, cop_flash_rows(p, p.d_o, batch, head, query));
    cop_tile_load<D, KEYS, THREADS>(shared->k[0], cop_flash_rows(p, p.k, batch, kv, 0));
    cop_tile_load<D, KEYS, THREADS>(shared->v[0], cop_flash_rows(p, p.v, batch, kv, 0));
    cop_cp_async_commit();
    COP_UNROLL
    for (int i = 0; i < 2 * MT; i++) {
        const int64_t at = row + 8 * i + lane / 4;
        const bool is_there = at < p.sequence;
        offset[i / 2][i % 2] = is_there ? p.lse[index * p.lse_stride + at] * COP_LOG2_E : 0.0f;
        delta[i / 2][i % 2] = is_there ? p.delta[index * p.sequence + at] : 0.0f;
    }
    int stage = 0;
    for (int64_t key = 0; key < end; key += KEYS, stage ^= 1) {
        cop_cp_async_wait<0>();
        __syncthreads(); // this tile is there for all; the one before is no longer read by any
        if (key + KEYS < end) {
            const int64_t next = key + KEYS;
            cop_tile_load<D, KEYS, THREADS>(shared->k[stage ^ 1],
                                            cop_flash_rows(p, p.k, batch, kv, next));
            cop_tile_load<D, KEYS, THREADS>(shared->v[stage ^ 1],
                                            cop_flash_rows(p, p.v, batch, kv, next));
            cop_cp_async_commit();
        }
        if (key < row + 16 * MT && row < p.sequence) {
            float score[MT][NT][4];
            float d_weight[MT][NT][4];
            uint32_t weight[MT][NT / 2][4];
            cop_tile_zero(score);
            cop_tile_zero(d_weight);
            cop_tile_dot<D>(score, shared->q, tile_row, shared->k[stage]);
            cop_tile_dot<D>(d_weight, shared->d_o, tile_row, shared->v[stage]);
            weigh_queries(score, d_weight, offset, delta, row - key, p.scale_log2);
            cop_tile_pack(weight, score);
            cop_tile_add<D>(d_q, weight, shared->k[stage]);
        }
    }
    if (row < p.sequence) {
        float factor[MT][2];
        COP_UNROLL
        for (int i = 0; i < 2 * MT; i++) {
            factor[i / 2][i % 2] = p.scale;
        }
        cop_tile_store<D>(cop_flash_target(p, p.d_q, batch, head, row), d_q, factor, shared->q,
                          tile_row);
    }
}

template <int D>
cop_status launch(cudaStream_t stream, const cop_flash &p, int64_t batch, cop_error *err)
{
    constexpr int KEYS = key_shared<D>::KEYS;
    constexpr int QUERIES = query_shared<D>::QUERIES;
    const dim3 key_grid(static_cast<unsigned>(batch * p.kv_heads),
                        static_cast<unsigned>(cop_ceil_div(p.sequence, KEYS)));
    const dim3 query_grid(static_cast<unsigned>(batch * p.heads),
                          static_cast<unsigned>(cop_ceil_div(p.sequence, QUERIES)));
    const cop_status status =
        cop_flash_launch(key_kernel<D>, key_grid, shape<D>::KEY_WARPS * COP_WARP,
                         sizeof(key_shared<D>), stream, p, "attention_backward", err);
    return status != COP_OK
               ? status
               : cop_flash_launch(query_kernel<D>, query_grid, QUERY_WARPS * COP_WARP,
                                  sizeof(query_shared<D>), stream, p, "attention_backward", err);
}

} // namespace

cop_status cop_cuda_tensor_backward(cudaStream_t stream, const cop_attention_backward_args *args,
                                    const float *delta, cop_error *err)
{
    cop_flash p = cop_flash_of(args);
    p.d_o = cop_flash_matrix_of(args->d_o);
    p.d_q = cop_flash_matrix_of(args->d_q);
    p.d_k = cop_flash_matrix_of(args->d_k);
    p.d_v = cop_flash_matrix_of(args->d_v);
    p.delta = delta;
    return args->head_dim <= 64 ? launch<64>(stream, p, args->batch, err)
                                : launch<128>(stream, p, args->batch, err);
}
