// Kernels of one instruction each, for mma_test.c.

#ifndef COP_TESTS_CUDA_MMA_KERNELS_H
#define COP_TESTS_CUDA_MMA_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// c [16, 8] f32 += a [16, 16] b [16, 8] in bf16, by one warp.
void test_mma(float *c, const uint16_t *a, const uint16_t *b);

// Lane i gives the address of row i of rows [32, 8]; words [32, 4] receives what each lane got.
void test_ldmatrix(uint32_t *words, const uint16_t *rows, bool is_transposed);

// Copies from [3, 16] bytes in three groups, the last of which is not there. seen [3, 3, 16]
// receives what is in shared memory after the issue, after the wait for all but one, and at the end.
void test_cp_async(unsigned char *seen, const unsigned char *from);

#ifdef __cplusplus
}
#endif

#endif
