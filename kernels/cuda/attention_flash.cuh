// What the forward and the backward kernels on tensor cores share.
//
// FlashAttention-2 (Dao, "FlashAttention-2: Faster Attention with Better Parallelism and Work
// Partitioning", 2023): tiles of the score matrix live in registers, softmax is carried along row by
// row, nothing of size T x T is written. D is 64 or 128, the smaller one that holds head_dim; columns
// beyond head_dim are zeros in shared memory. Causal: tiles above the diagonal are skipped, those on
// it are masked.

#ifndef COP_KERNELS_CUDA_ATTENTION_FLASH_CUH
#define COP_KERNELS_CUDA_ATTENTION_FLASH_CUH

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_tile.cuh"

#define COP_LOG2_E 1.4426950408889634f
#define COP_LN_2   0.6931471805599453f

struct cop_flash_matrix {
    __nv_bfloat16 *data;
    int64_t stride;
};

struct cop_flash {
    cop_flash_matrix q;
    cop_flash_matrix k;
    cop_flash_matrix v;
    cop_flash_matrix o;
    cop_flash_matrix d_o;
    cop_flash_matrix d_q;
    cop_flash_matrix d_k;
    cop_flash_matrix d_v;
    float *lse; // [B*H, T]; NULL: not wanted
    int64_t lse_stride;
    const float *delta; // [B*H, T] dense
    int64_t sequence;
    int heads;
    int kv_heads;
    int head_dim;
    float scale;
    float scale_log2; // scale * log2(e): exponentials are powers of two
};

static inline cop_flash_matrix cop_flash_matrix_of(cop_matrix m)
{
    return cop_flash_matrix{static_cast<__nv_bfloat16 *>(m.data), m.stride};
}

// What the arguments of both passes have.
template <class Args> static inline cop_flash cop_flash_of(const Args *args)
{
    cop_flash p = {};
    p.q = cop_flash_matrix_of(args->q);
    p.k = cop_flash_matrix_of(args->k);
    p.v = cop_flash_matrix_of(args->v);
    p.o = cop_flash_matrix_of(args->o);
    p.lse = static_cast<float *>(args->lse.data);
    p.lse_stride = args->lse.stride;
    p.sequence = args->sequence;
    p.heads = static_cast<int>(args->heads);
    p.kv_heads = static_cast<int>(args->kv_heads);
    p.head_dim = static_cast<int>(args->head_dim);
    p.scale = args->scale;
    p.scale_log2 = args->scale * COP_LOG2_E;
    return p;
}

// Rows `row` and following of head `head` of sequence `batch`.
__device__ inline cop_tile_source cop_flash_rows(const cop_flash &p, cop_flash_matrix m,
                                                 int64_t batch, int head, int64_t row)
{
    return cop_tile_source{m.data + (batch * p.sequence + row) * m.stride +
                               static_cast<int64_t>(head) * p.head_dim,
                           m.stride, p.sequence - row, p.head_dim / COP_CHUNK};
}

__device__ inline cop_tile_target cop_flash_target(const cop_flash &p, cop_flash_matrix m,
                                                   int64_t batch, int head, int64_t row)
{
    return cop_tile_target{m.data + (batch * p.sequence + row) * m.stride +
                               static_cast<int64_t>(head) * p.head_dim,
                           m.stride, p.sequence - row, p.head_dim / COP_CHUNK};
}

// Launches a kernel with more dynamic shared memory than a block has by default.
static inline cop_status cop_flash_launch(void (*kernel)(cop_flash), dim3 grid, int threads,
                                          size_t shared_bytes, cudaStream_t stream,
                                          const cop_flash &p, const char *op, cop_error *err)
{
    const cudaError_t error = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes));
    if (error != cudaSuccess) {
        return cop_cuda_fail(err, op, error);
    }
    COP_LAUNCH(kernel, grid, static_cast<unsigned>(threads), shared_bytes, stream, p);
    return cop_cuda_launched(err, op, static_cast<int64_t>(grid.x) * p.sequence, p.head_dim);
}

#endif
