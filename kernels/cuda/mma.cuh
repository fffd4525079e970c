// Tensor cores and asynchronous copies: one small wrapper for each PTX instruction, of compute
// capability 8.0 and later. With COP_CUDA_HOST the same functions are emulated by exchanges between
// the lanes of a warp (tests/host_shim/cuda_host_mma.h), so the kernels that use them run on the CPU.
//
// Layouts, from the PTX ISA ("Matrix Fragments for mma.m16n8k16 with floating point type",
// "Warp-level matrix load instruction: ldmatrix"); g = lane / 4, t = lane % 4, two bf16 in a word,
// the one of the lower column or depth in its lower half:
//     A [16 x 16], a[0..3]: (g, 2t) (g + 8, 2t) (g, 2t + 8) (g + 8, 2t + 8), each with its right neighbour
//     B [16 x 8],  b[0..1]: (2t, g) (2t + 8, g), each with the element below
//     C [16 x 8],  c[0..3]: (g, 2t) (g, 2t + 1) (g + 8, 2t) (g + 8, 2t + 1), f32
// ldmatrix: lanes 8i .. 8i + 7 hold the addresses of the rows of matrix i [8 x 8]; word i of a lane
// receives its elements (g, 2t) and (g, 2t + 1), or with trans (2t, g) and (2t + 1, g).

#ifndef COP_KERNELS_CUDA_MMA_CUH
#define COP_KERNELS_CUDA_MMA_CUH

#include <string.h>

#include "kernels/cuda/launch.h"

#ifdef COP_CUDA_HOST

#    include <cuda_host_mma.h>

#    define COP_UNROLL

__device__ inline void cop_opaque(int &value)
{
    (void)value;
}

#else

#    define COP_UNROLL _Pragma("unroll")

// The compiler forgets what it knows of `value`: what follows from it is computed again in each
// round of a loop, instead of once before and kept in registers that the loop has not.
__device__ inline void cop_opaque(int &value)
{
    asm volatile("" : "+r"(value));
}

__device__ inline uint32_t cop_shared_address(const void *shared)
{
    return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
}

// d += a b.
__device__ inline void cop_mma_bf16_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                          uint32_t b1)
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// `row` is in shared memory, aligned to 16 bytes.
__device__ inline void cop_ldmatrix_x4(uint32_t (&words)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(cop_shared_address(row)));
}

__device__ inline void cop_ldmatrix_x4_trans(uint32_t (&words)[4], const void *row)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(cop_shared_address(row)));
}

// Begins to copy 16 or 4 bytes, both sides aligned to as much, to shared memory. Where the source
// is not there it is not read, and zeros arrive.
__device__ inline void cop_cp_async_16(void *shared, const void *global, bool is_there)
{
    asm volatile(
        "cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(cop_shared_address(shared)),
        "l"(global), "r"(is_there ? 16 : 0)
        : "memory");
}

__device__ inline void cop_cp_async_4(void *shared, const void *global, bool is_there)
{
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;\n" ::"r"(cop_shared_address(shared)),
                 "l"(global), "r"(is_there ? 4 : 0)
                 : "memory");
}

// The calling thread's copies since its last commit become a group.
__device__ inline void cop_cp_async_commit(void)
{
    asm volatile("cp.async.commit_group;\n" ::: "memory");
}

// Waits for the calling thread's groups but for the N latest.
template <int N> __device__ inline void cop_cp_async_wait(void)
{
    asm volatile("cp.async.wait_group %0;\n" ::"n"(N) : "memory");
}

// 2^x; 0 for results below the smallest normal number. 2^-inf is 0.
__device__ inline float cop_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
    return y;
}

#endif

// Two f32 as a word of bf16, `low` in the lower half.
__device__ inline uint32_t cop_pack_bf16(float low, float high)
{
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    uint32_t word;
    memcpy(&word, &pair, sizeof word);
    return word;
}

// Plain copies of a whole word and of 16 bytes, aligned to as much.
__device__ inline void cop_put_word(void *to, uint32_t word)
{
#ifdef COP_CUDA_HOST
    memcpy(to, &word, sizeof word);
#else
    *static_cast<uint32_t *>(to) = word;
#endif
}

__device__ inline void cop_copy_16(void *to, const void *from)
{
#ifdef COP_CUDA_HOST
    memcpy(to, from, 16);
#else
    *static_cast<uint4 *>(to) = *static_cast<const uint4 *>(from);
#endif
}

#endif
