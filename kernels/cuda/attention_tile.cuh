// Tiles of bf16 in shared memory, and the two products that attention on tensor cores is made of.
//
// A tile has rows of D elements, in chunks of 16 bytes. Chunk c of row r lies at place c ^ (r % 8) of
// its row: the eight rows that one access of ldmatrix touches, and the eight that an accumulator is
// written to at once, then lie in eight different groups of four banks, without padding.
//
// Fragments and their layouts: kernels/cuda/mma.cuh. An accumulator of MT x NT fragments belongs to
// one warp and holds 16 MT rows and 8 NT columns.

#ifndef COP_KERNELS_CUDA_ATTENTION_TILE_CUH
#define COP_KERNELS_CUDA_ATTENTION_TILE_CUH

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/mma.cuh"

// gcc takes each array bound that is a template's int for a conversion worth a warning.
#if defined(COP_CUDA_HOST) && defined(__GNUC__)
#    pragma GCC diagnostic ignored "-Wsign-conversion"
#endif

enum { COP_CHUNK = 8 }; // elements in 16 bytes

template <int D> __device__ inline int cop_tile_offset(int row, int chunk)
{
    return row * D + (chunk ^ (row % 8)) * COP_CHUNK;
}

template <int D>
__device__ inline __nv_bfloat16 *cop_tile_at(__nv_bfloat16 *tile, int row, int chunk)
{
    return tile + cop_tile_offset<D>(row, chunk);
}

// Rows of a head in memory, from the tile's first one on.
struct cop_tile_source {
    const __nv_bfloat16 *rows;
    int64_t stride;
    int64_t row_count; // rows beyond these are zeros, columns beyond 8 * chunk_count too
    int chunk_count;
};

// Begins to copy ROWS rows to a tile; all THREADS threads of the block call it.
template <int D, int ROWS, int THREADS>
__device__ inline void cop_tile_load(__nv_bfloat16 *tile, cop_tile_source from)
{
    constexpr int CHUNKS = D / COP_CHUNK;
    static_assert(ROWS * CHUNKS % THREADS == 0, "every thread copies as much");
    const int thread = static_cast<int>(threadIdx.x);
    COP_UNROLL
    for (int i = 0; i < ROWS * CHUNKS / THREADS; i++) {
        const int row = (thread + i * THREADS) / CHUNKS;
        const int chunk = (thread + i * THREADS) % CHUNKS;
        const bool is_there = row < from.row_count && chunk < from.chunk_count;
        const __nv_bfloat16 *at = from.rows + row * from.stride + chunk * COP_CHUNK;
        cop_cp_async_16(cop_tile_at<D>(tile, row, chunk), is_there ? at : from.rows, is_there);
    }
}

template <int MT, int NT> __device__ inline void cop_tile_zero(float (&sum)[MT][NT][4])
{
    COP_UNROLL
    for (int m = 0; m < MT; m++) {
        COP_UNROLL
        for (int n = 0; n < NT; n++) {
            COP_UNROLL
            for (int i = 0; i < 4; i++) {
                sum[m][n][i] = 0.0f;
            }
        }
    }
}

// sum += a bᵀ over D columns: rows `a_row` to a_row + 16 MT - 1 of tile a, rows 0 to 8 NT - 1 of b.
template <int D, int MT, int NT>
__device__ inline void cop_tile_dot(float (&sum)[MT][NT][4], __nv_bfloat16 *a, int a_row,
                                    __nv_bfloat16 *b)
{
    static_assert(NT % 2 == 0, "one ldmatrix loads two fragments of b");
    const int lane = static_cast<int>(threadIdx.x) % COP_WARP;
    // Order of the four matrices: of a, upper left, lower left, upper right, lower right; of b, two
    // depths of eight rows, then of the next eight rows. A step is two chunks: it changes bits of the
    // place within the row that no other part of the address has.
    int a_at = cop_tile_offset<D>(a_row + lane % 16, lane / 16);
    int b_at = cop_tile_offset<D>(lane % 8 + lane / 16 * 8, lane / 8 % 2);
    cop_opaque(a_at);
    cop_opaque(b_at);
    COP_UNROLL
    for (int step = 0; step < D / 16; step++) {
        const __nv_bfloat16 *a_step = a + (a_at ^ (2 * COP_CHUNK * step));
        const __nv_bfloat16 *b_step = b + (b_at ^ (2 * COP_CHUNK * step));
        uint32_t a_words[MT][4];
        COP_UNROLL
        for (int m = 0; m < MT; m++) {
            cop_ldmatrix_x4(a_words[m], a_step + 16 * m * D);
        }
        COP_UNROLL
        for (int n = 0; n < NT; n += 2) {
            uint32_t b_words[4];
            cop_ldmatrix_x4(b_words, b_step + 8 * n * D);
            COP_UNROLL
            for (int m = 0; m < MT; m++) {
                cop_mma_bf16_16816(sum[m][n], a_words[m], b_words[0], b_words[1]);
                cop_mma_bf16_16816(sum[m][n + 1], a_words[m], b_words[2], b_words[3]);
            }
        }
    }
}

// An accumulator rounded to bf16, as the left operand of a product: its columns become the depth.
template <int MT, int NT>
__device__ inline void cop_tile_pack(uint32_t (&words)[MT][NT / 2][4],
                                     const float (&sum)[MT][NT][4])
{
    COP_UNROLL
    for (int m = 0; m < MT; m++) {
        COP_UNROLL
        for (int n = 0; n < NT; n++) {
            words[m][n / 2][n % 2 * 2] = cop_pack_bf16(sum[m][n][0], sum[m][n][1]);
            words[m][n / 2][n % 2 * 2 + 1] = cop_pack_bf16(sum[m][n][2], sum[m][n][3]);
        }
    }
}

// sum += a b: a [16 MT, 16 STEPS] packed in registers, rows 0 to 16 STEPS - 1 of tile b.
template <int D, int MT, int STEPS>
__device__ inline void cop_tile_add(float (&sum)[MT][D / 8][4], const uint32_t (&a)[MT][STEPS][4],
                                    __nv_bfloat16 *b)
{
    const int lane = static_cast<int>(threadIdx.x) % COP_WARP;
    int b_at = cop_tile_offset<D>(lane % 16, lane / 16);
    cop_opaque(b_at);
    // Four fragments at a time: a product depends on the one before with the same accumulator.
    COP_UNROLL
    for (int n = 0; n < D / 8; n += 4) {
        const __nv_bfloat16 *left = b + (b_at ^ (COP_CHUNK * n));
        const __nv_bfloat16 *right = b + (b_at ^ (COP_CHUNK * (n + 2)));
        COP_UNROLL
        for (int step = 0; step < STEPS; step++) {
            uint32_t b_words[2][4];
            cop_ldmatrix_x4_trans(b_words[0], left + 16 * step * D);
            cop_ldmatrix_x4_trans(b_words[1], right + 16 * step * D);
            COP_UNROLL
            for (int i = 0; i < 4; i++) {
                COP_UNROLL
                for (int m = 0; m < MT; m++) {
                    cop_mma_bf16_16816(sum[m][n + i], a[m][step], b_words[i / 2][i % 2 * 2],
                                       b_words[i / 2][i % 2 * 2 + 1]);
                }
            }
        }
    }
}

// Where the rows of a warp go: `rows` is its first row; as cop_tile_source.
struct cop_tile_target {
    __nv_bfloat16 *rows;
    int64_t stride;
    int64_t row_count;
    int chunk_count;
};

// Writes sum * factor[m][side: upper or lower 8 of 16 rows] in bf16, whole chunks at a time, by way of the rows
// `tile_row` to tile_row + 16 MT - 1 of a tile, which no other warp reads any more.
template <int D, int MT>
__device__ inline void cop_tile_store(cop_tile_target to, const float (&sum)[MT][D / 8][4],
                                      const float (&factor)[MT][2], __nv_bfloat16 *tile,
                                      int tile_row)
{
    constexpr int CHUNKS = D / COP_CHUNK;
    const int lane = static_cast<int>(threadIdx.x) % COP_WARP;
    __syncwarp(); // the lanes have read the tile
    COP_UNROLL
    for (int m = 0; m < MT; m++) {
        COP_UNROLL
        for (int n = 0; n < D / 8; n++) {
            COP_UNROLL
            for (int side = 0; side < 2; side++) {
                const int row = tile_row + 16 * m + 8 * side + lane / 4;
                cop_put_word(cop_tile_at<D>(tile, row, n) + lane % 4 * 2,
                             cop_pack_bf16(sum[m][n][2 * side] * factor[m][side],
                                           sum[m][n][2 * side + 1] * factor[m][side]));
            }
        }
    }
    __syncwarp();
    COP_UNROLL
    for (int i = 0; i < 16 * MT * CHUNKS / COP_WARP; i++) {
        const int row = (lane + i * COP_WARP) / CHUNKS;
        const int chunk = (lane + i * COP_WARP) % CHUNKS;
        if (row < to.row_count && chunk < to.chunk_count) {
            cop_copy_16(to.rows + row * to.stride + chunk * COP_CHUNK,
                        cop_tile_at<D>(tile, tile_row + row, chunk));
        }
    }
}

#endif
