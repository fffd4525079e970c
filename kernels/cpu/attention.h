// Attention in tiles: a tile of queries against blocks of keys, with the softmax kept up to date
// from block to block (Milakov & Gimelshein, "Online normalizer calculation for softmax", 2018;
// Dao et al., "FlashAttention", 2022), and recomputed from its log-sum-exp in the backward pass.
// Blocks above the diagonal are skipped. Two implementations: f32 tiles multiplied by OpenBLAS,
// for all element types; bf16 tiles by the CPU's own instructions, when every operand is bf16.

#ifndef COP_KERNELS_CPU_ATTENTION_H
#define COP_KERNELS_CPU_ATTENTION_H

#include "kernels/ops.h"

// Scratch of the operators: one area per thread, large enough for both implementations.
uint64_t cop_attention_forward_bytes(const cop_attention_forward_args *args);
uint64_t cop_attention_backward_bytes(const cop_attention_backward_args *args);

// Bytes of one such area, and how many there are.
uint64_t cop_attention_forward_slot(int64_t sequence, int64_t head_dim);
uint64_t cop_attention_backward_slot(int64_t sequence, int64_t head_dim);
int cop_attention_slots(int64_t tasks);
int cop_attention_threads(int64_t tasks); // of a parallel region over them

// Tiles of the f32 implementation.
enum { COP_ATTENTION_QUERIES = 64, COP_ATTENTION_KEYS = 256 };

// Tiles of the bf16 implementation: everything is a multiple of 48 rows, which the register tiles
// 8 x 48 and 6 x 64 both divide.
enum {
    COP_ATTENTION_TILE = 48,
    COP_ATTENTION_KEYS_FORWARD = 384,
    COP_ATTENTION_KEYS_BACKWARD = 192,
    COP_ATTENTION_PANEL = 64 // columns of a packed operand whose columns are those of a head
};

// kernels/cpu/attention_bf16.c; only with COP_SIMD_AVX512_BF16.
bool cop_attention_bf16_takes_forward(const cop_attention_forward_args *args);
bool cop_attention_bf16_takes_backward(const cop_attention_backward_args *args);
void cop_attention_bf16_forward(const cop_attention_forward_args *args);
void cop_attention_bf16_backward(const cop_attention_backward_args *args);

static inline int64_t cop_attention_up(int64_t count, int64_t unit)
{
    return (count + unit - 1) / unit * unit;
}

// The next [rows, cols] of a scratch area, in whole cache lines.
static inline void *cop_attention_carve(char **at, int64_t rows, int64_t cols,
                                        int64_t element_bytes)
{
    void *part = *at;
    *at += cop_attention_up(rows * cols * element_bytes, 64);
    return part;
}

#endif
