// Products of small bf16 matrices by the AVX512_BF16 instructions, and how their operands are packed.
//
// A product c = a b runs over pairs of the inner dimension: one instruction multiplies two bf16
// pairs per lane and adds both to an f32 lane. The right operand is packed so that a pair's two
// elements are neighbours: [panel][pair][column][2]. The left operand is read as 32-bit pairs at
// any two strides, which serves a matrix and its transpose alike.
// All sizes are padded with zeros to the tiles of attention.h, so that no product has a tail but
// in the columns of a head.

#ifndef COP_KERNELS_CPU_ATTENTION_BF16_TILE_H
#define COP_KERNELS_CPU_ATTENTION_BF16_TILE_H

#include <immintrin.h>
#include <string.h>

#include "kernels/cpu/attention.h"

enum { TILE = COP_ATTENTION_TILE, PANEL = COP_ATTENTION_PANEL, LANES = 16 };

// Strides of the left operand, in bf16 elements.
typedef struct left {
    const uint16_t *data;
    int64_t row;
    int64_t pair;
} left;

// c[rows, 16 * vectors] = a b, or added to c. `b` is one panel of `columns` columns.
static inline __attribute__((always_inline)) void
tile_product(const int rows, const int vectors, int64_t pairs, left a, const uint16_t *b,
             int64_t columns, float *c, int64_t c_stride, bool is_added)
{
    __m512 sum[8][4];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            sum[r][v] = is_added ? _mm512_loadu_ps(c + r * c_stride + (ptrdiff_t)v * LANES)
                                 : _mm512_setzero_ps();
        }
    }
    for (int64_t k = 0; k < pairs; k++) {
        __m512i right[4];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            right[v] = _mm512_loadu_si512(b + (k * columns + (int64_t)v * LANES) * 2);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            int32_t pair;
            memcpy(&pair, a.data + r * a.row + k * a.pair, sizeof pair);
            const __m512i wide = _mm512_set1_epi32(pair);
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                sum[r][v] = _mm512_dpbf16_ps(sum[r][v], (__m512bh)wide, (__m512bh)right[v]);
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            _mm512_storeu_ps(c + r * c_stride + (ptrdiff_t)v * LANES, sum[r][v]);
        }
    }
}

// Columns are keys: panels of TILE columns, `pairs` pairs each. rows and keys are multiples of
// TILE.
static inline void multiply_keys(int64_t rows, int64_t keys, int64_t pairs, left a,
                                 const uint16_t *b, float *c, int64_t c_stride)
{
    for (int64_t n = 0; n < keys; n += TILE) {
        const uint16_t *panel = b + n * pairs * 2;
        for (int64_t m = 0; m < rows; m += 8) {
            const left part = {.data = a.data + m * a.row, .row = a.row, .pair = a.pair};
            tile_product(8, 3, pairs, part, panel, TILE, c + m * c_stride + n, c_stride, false);
        }
    }
}

static inline void multiply_panel(int64_t rows, int64_t vectors, int64_t pairs, left a,
                                  const uint16_t *b, float *c, int64_t c_stride)
{
    for (int64_t m = 0; m < rows; m += 6) {
        const left part = {.data = a.data + m * a.row, .row = a.row, .pair = a.pair};
        float *to = c + m * c_stride;
        switch (vectors) {
        case 4: tile_product(6, 4, pairs, part, b, PANEL, to, c_stride, true); break;
        case 3: tile_product(6, 3, pairs, part, b, PANEL, to, c_stride, true); break;
        case 2: tile_product(6, 2, pairs, part, b, PANEL, to, c_stride, true); break;
        default: tile_product(6, 1, pairs, part, b, PANEL, to, c_stride, true); break;
        }
    }
}

// c += a b; columns are those of a head: panels of PANEL columns, `panel_pairs` pairs each, of which
// `pairs` are used.
static inline void multiply_head(int64_t rows, int64_t dim, int64_t pairs, left a,
                                 const uint16_t *b, int64_t panel_pairs, float *c, int64_t c_stride)
{
    for (int64_t n = 0; n < dim; n += PANEL) {
        const int64_t left_over = cop_attention_up(dim - n, LANES) / LANES;
        multiply_panel(rows, left_over < 4 ? left_over : 4, pairs, a, b + n * panel_pairs * 2,
                       c + n, c_stride);
    }
}

static inline const uint16_t *row_of(cop_matrix m, int64_t r, int64_t c)
{
    return (const uint16_t *)m.data + r * m.stride + c;
}

// Rows as they are, padded: [TILE, stride].
static inline void pack_rows(uint16_t *to, int64_t stride, cop_matrix m, int64_t r, int64_t rows,
                             int64_t c, int64_t dim)
{
    memset(to, 0, (size_t)(TILE * stride) * sizeof *to);
    for (int64_t i = 0; i < rows; i++) {
        memcpy(to + i * stride, row_of(m, r + i, c), (size_t)dim * sizeof *to);
    }
}

// Rows become columns: [rows / TILE][pairs of dim][TILE][2].
static inline void pack_transposed(uint16_t *to, cop_matrix m, int64_t r, int64_t rows, int64_t c,
                                   int64_t dim)
{
    const int64_t pairs = (dim + 1) / 2;
    memset(to, 0, (size_t)(cop_attention_up(rows, TILE) * pairs * 2) * sizeof *to);
    for (int64_t i = 0; i < rows; i++) {
        const uint16_t *from = row_of(m, r + i, c);
        uint16_t *panel = to + (i / TILE * TILE * pairs + i % TILE) * 2;
        for (int64_t k = 0; k < dim / 2; k++) {
            memcpy(panel + k * TILE * 2, from + 2 * k, 2 * sizeof *to);
        }
        if (dim % 2 != 0) {
            panel[(pairs - 1) * TILE * 2] = from[dim - 1];
        }
    }
}

// Pairs of rows: [dim / PANEL][row_pairs][PANEL][2].
static inline void pack_pairs(uint16_t *to, int64_t row_pairs, cop_matrix m, int64_t r,
                              int64_t rows, int64_t c, int64_t dim)
{
    static const uint16_t zeros[PANEL];
    memset(to, 0, (size_t)(cop_attention_up(dim, PANEL) * row_pairs * 2) * sizeof *to);
    for (int64_t n = 0; n < dim; n += PANEL) {
        const int64_t columns = dim - n < PANEL ? dim - n : PANEL;
        uint16_t *panel = to + n * row_pairs * 2;
        for (int64_t i = 0; i < rows; i += 2) {
            const uint16_t *even = row_of(m, r + i, c + n);
            const uint16_t *odd = i + 1 < rows ? row_of(m, r + i + 1, c + n) : zeros;
            uint16_t *pair = panel + i * PANEL;
#pragma omp simd
            for (int64_t j = 0; j < columns; j++) {
                pair[2 * j] = even[j];
                pair[2 * j + 1] = odd[j];
            }
        }
    }
}

#endif
