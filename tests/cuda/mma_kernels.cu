#include "kernels/cuda/mma.cuh"
#include "tests/cuda/mma_kernels.h"

namespace {

// The places of a lane's elements as the PTX ISA states them, "Matrix Fragments for mma.m16n8k16
// with floating point type": written again here, apart from the emulation.
__global__ void mma_kernel(float *c, const uint16_t *a, const uint16_t *b)
{
    const int group = static_cast<int>(threadIdx.x) >> 2;
    const int in_group = static_cast<int>(threadIdx.x) % 4;
    uint32_t a_words[4] = {};
    uint32_t b_words[2] = {};
    float sum[4];
    for (int i = 0; i < 8; i++) {
        const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8;
        const int col = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
        a_words[i / 2] |= static_cast<uint32_t>(a[row * 16 + col]) << (i % 2 * 16);
    }
    for (int i = 0; i < 4; i++) {
        const int row = in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0);
        b_words[i / 2] |= static_cast<uint32_t>(b[row * 8 + group]) << (i % 2 * 16);
        sum[i] = c[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)];
    }
    cop_mma_bf16_16816(sum, a_words, b_words[0], b_words[1]);
    for (int i = 0; i < 4; i++) {
        c[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = sum[i];
    }
}

__global__ void ldmatrix_kernel(uint32_t *words, const uint16_t *rows, bool is_transposed)
{
    COP_DYNAMIC_SHARED(uint16_t, shared);
    const int lane = static_cast<int>(threadIdx.x);
    uint32_t got[4];
    for (int i = 0; i < 8; i++) {
        shared[lane * 8 + i] = rows[lane * 8 + i];
    }
    __syncwarp();
    if (is_transposed) {
        cop_ldmatrix_x4_trans(got, shared + lane * 8);
    } else {
        cop_ldmatrix_x4(got, shared + lane * 8);
    }
    for (int i = 0; i < 4; i++) {
        words[lane * 4 + i] = got[i];
    }
}

__global__ void cp_async_kernel(unsigned char *seen, const unsigned char *from)
{
    COP_DYNAMIC_SHARED(unsigned char, shared);
    for (int i = 0; i < 3; i++) {
        cop_cp_async_16(shared + i * 16, from + i * 16, i < 2);
        cop_cp_async_commit();
    }
    for (int when = 0; when < 3; when++) {
        if (when == 1) {
            cop_cp_async_wait<1>();
        } else if (when == 2) {
            cop_cp_async_wait<0>();
        }
        for (int i = 0; i < 48; i++) {
            seen[when * 48 + i] = shared[i];
        }
    }
}

} // namespace

void test_mma(float *c, const uint16_t *a, const uint16_t *b)
{
    COP_LAUNCH(mma_kernel, 1, 32, 0, NULL, c, a, b);
    (void)cudaDeviceSynchronize();
}

void test_ldmatrix(uint32_t *words, const uint16_t *rows, bool is_transposed)
{
    COP_LAUNCH(ldmatrix_kernel, 1, 32, 512, NULL, words, rows, is_transposed);
    (void)cudaDeviceSynchronize();
}

void test_cp_async(unsigned char *seen, const unsigned char *from)
{
    COP_LAUNCH(cp_async_kernel, 1, 1, 48, NULL, seen, from);
    (void)cudaDeviceSynchronize();
}
