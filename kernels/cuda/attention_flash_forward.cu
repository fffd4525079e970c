// Attention forward on tensor cores: bf16 operands, f32 softmax and accumulation.
//
// A block has 128 queries of one head, 32 for each of its four warps: the fragments of K and V that
// a warp loads from shared memory then serve two products each, which halves that traffic; it would
// be the limit otherwise. Tiles of 64 keys arrive by cp.async while the ones before are worked on.
// Registers: 128 (D = 128) for the output, 64 for a tile of scores; Q stays in shared memory.
// Shared memory, D = 128: 32 KiB of Q, 2 x (16 + 16) KiB of K and V: two blocks on a multiprocessor
// of compute capability 9.0.

#include "kernels/cuda/attention_flash.cuh"

namespace {

constexpr int WARPS = 4;
constexpr int THREADS = WARPS * COP_WARP;
constexpr int MT = 2;              // fragments of 16 queries that a warp has
constexpr int WARP_ROWS = 16 * MT; // queries of a warp
constexpr int QUERIES = WARPS * WARP_ROWS;
constexpr int KEYS = 64;
constexpr int NT = KEYS / 8;

template <int D> struct forward_shared {
    __nv_bfloat16 q[QUERIES * D];
    __nv_bfloat16 k[2][KEYS * D];
    __nv_bfloat16 v[2][KEYS * D];
};

// The running maximum (of unscaled scores) and the lane's part of the running sum, for rows
// 16 m + 8 side + lane / 4 of the warp.
struct softmax_state {
    float largest[MT][2];
    float total[MT][2];
};

// Keys behind the row's own get -inf. row and key are those of the warp's and the tile's first.
__device__ inline void mask_scores(float (&score)[MT][NT][4], int64_t row, int64_t key)
{
    const int lane = static_cast<int>(threadIdx.x) % COP_WARP;
    const int ahead = static_cast<int>(row - key) + lane / 4 - lane % 4 * 2;
    COP_UNROLL
    for (int m = 0; m < MT; m++) {
        COP_UNROLL
        for (int n = 0; n < NT; n++) {
            COP_UNROLL
            for (int i = 0; i < 4; i++) {
                if (8 * n + i % 2 > ahead + 16 * m + 8 * (i / 2)) {
                    score[m][n][i] = -INFINITY;
                }
            }
        }
    }
}

// Turns scores into exp(scale (score - largest)), and scales what was summed before to the new
// maximum. Key 0 is seen by every row, so the maximum is finite from the first tile on.
template <int D>
__device__ inline void soften(float (&score)[MT][NT][4], float (&out)[MT][D / 8][4],
                              softmax_state &state, float scale_log2)
{
    COP_UNROLL
    for (int m = 0; m < MT; m++) {
        COP_UNROLL
        for (int side = 0; side < 2; side++) {
            float most = state.largest[m][side];
            COP_UNROLL
            for (int n = 0; n < NT; n++) {
                most = fmaxf(most, fmaxf(score[m][n][2 * side], score[m][n][2 * side + 1]));
            }
            most = fmaxf(most, __shfl_xor_sync(COP_WARP_ALL, most, 1));
            most = fmaxf(most, __shfl_xor_sync(COP_WARP_ALL, most, 2));
            const float shrink = cop_exp2((state.largest[m][side] - most) * scale_log2);
            const float offset = most * scale_log2;
            float total = state.total[m][side] * shrink;
            COP_UNROLL
            for (int n = 0; n < NT; n++) {
                COP_UNROLL
                for (int i = 2 * side; i < 2 * side + 2; i++) {
                    score[m][n][i] = cop_exp2(fmaf(score[m][n][i], scale_log2, -offset));
                    total += score[m][n][i];
                }
            }
            COP_UNROLL
            for (int n = 0; n < D / 8; n++) {
                out[m][n][2 * side] *= shrink;
                out[m][n][2 * side + 1] *= shrink;
            }
            state.total[m][side] = total;
            state.largest[m][side] = most;
        }
    }
}

// factor: 1 / sum of the row. Writes lse where it is wanted.
__device__ inline void finish(float (&factor)[MT][2], const softmax_state &state,
                              const cop_flash &p, int64_t head, int64_t row)
{
    const int lane = static_cast<int>(threadIdx.x) % COP_WARP;
    COP_UNROLL
    for (int m = 0; m < MT; m++) {
        COP_UNROLL
        for (int side = 0; side < 2; side++) {
            float total = state.total[m][side];
            total += __shfl_xor_sync(COP_WARP_ALL, total, 1);
            total += __shfl_xor_sync(COP_WARP_ALL, total, 2);
            factor[m][side] = 1.0f / total;
            const int64_t at = row + 16 * m + 8 * side + lane / 4;
            if (p.lse != NULL && lane % 4 == 0 && at < p.sequence) {
                p.lse[head * p.lse_stride + at] = state.largest[m][side] * p.scale + logf(total);
            }
        }
    }
}

// grid: (B * H, blocks of queries), the longest rows first
template <int D> __global__ void __launch_bounds__(THREADS, 2) forward_kernel(cop_flash p)
{
    COP_DYNAMIC_SHARED(forward_shared<D>, shared);
    const int64_t index = blockIdx.x;
    const int64_t batch = index / p.heads;
    const int head = static_cast<int>(index % p.heads);
    const int kv = head / (p.heads / p.kv_heads);
    const int64_t query = static_cast<int64_t>(gridDim.y - 1 - blockIdx.y) * QUERIES;
    const int64_t end = query + QUERIES < p.sequence ? query + QUERIES : p.sequence;
    const int tile_row = static_cast<int>(threadIdx.x) / COP_WARP * WARP_ROWS;
    const int64_t row = query + tile_row; // the warp's first
    float out[MT][D / 8][4];
    softmax_state state;
    cop_tile_zero(out);
    COP_UNROLL
    for (int i = 0; i < 2 * MT; i++) {
        state.largest[i / 2][i % 2] = -INFINITY;
        state.total[i / 2][i % 2] = 0.0f;
    }
    cop_tile_load<D, QUERIES, THREADS>(shared->q, cop_flash_rows(p, p.q, batch, head, query));
    cop_tile_load<D, KEYS, THREADS>(shared->k[0], cop_flash_rows(p, p.k, batch, kv, 0));
    cop_tile_load<D, KEYS, THREADS>(shared->v[0], cop_flash_rows(p, p.v, batch, kv, 0));
    cop_cp_async_commit();
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
        if (key < row + WARP_ROWS && row < p.sequence) {
            float score[MT][NT][4];
            uint32_t weight[MT][NT / 2][4];
            cop_tile_zero(score);
            cop_tile_dot<D>(score, shared->q, tile_row, shared->k[stage]);
            if (key + KEYS - 1 > row) {
                mask_scores(score, row, key);
            }
            soften<D>(score, out, state, p.scale_log2);
            cop_tile_pack(weight, score);
            cop_tile_add<D>(out, weight, shared->v[stage]);
        }
    }
    if (row < p.sequence) {
        float factor[MT][2];
        finish(factor, state, p, index, row);
        cop_tile_store<D>(cop_flash_target(p, p.o, batch, head, row), out, factor, shared->q,
                          tile_row);
    }
}

template <int D>
cop_status launch(cudaStream_t stream, const cop_flash &p, int64_t heads, cop_error *err)
{
    const dim3 grid(static_cast<unsigned>(heads),
                    static_cast<unsigned>(cop_ceil_div(p.sequence, QUERIES)));
    return cop_flash_launch(forward_kernel<D>, grid, THREADS, sizeof(forward_shared<D>), stream, p,
                            "attention_forward", err);
}

} // namespace

cop_status cop_cuda_tensor_forward(cudaStream_t stream, const cop_attention_forward_args *args,
                                   cop_error *err)
{
    const cop_flash p = cop_flash_of(args);
    const int64_t heads = args->batch * args->heads;
    return args->head_dim <= 64 ? launch<64>(stream, p, heads, err)
                                : launch<128>(stream, p, heads, err);
}
