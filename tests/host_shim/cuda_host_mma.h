// Tensor cores and cp.async on the CPU: what kernels/cuda/mma.cuh is on a device, for the shim.
//
// Each warp-wide instruction is one exchange between the 32 lanes: a lane leaves its operands in a
// place of its own and deposits that address. Products are f32, summed in the order of the depth; a
// device may sum in another order and round otherwise: tolerances must hold with that.
//
// cp.async is as late as the device may be: from its issue to the wait that covers it the target
// holds 0xff bytes (NaN), then the data. A thread that leaves copies behind which it never waited
// for is reported when its place is used again.
//
// Findings beyond those of cuda_host.h: addresses that are not aligned, lanes that are missing.
// Conflicts of banks are counted, since they cost time and change no result.

#ifndef COP_TESTS_HOST_SHIM_CUDA_HOST_MMA_H
#define COP_TESTS_HOST_SHIM_CUDA_HOST_MMA_H

#include "tests/host_shim/cuda_host.h"

#define COP_CUDA_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

void cop_mma_bf16_16816(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                        COP_CUDA_HERE);
void cop_ldmatrix_x4(uint32_t (&words)[4], const void *row, COP_CUDA_HERE);
void cop_ldmatrix_x4_trans(uint32_t (&words)[4], const void *row, COP_CUDA_HERE);
void cop_cp_async_16(void *shared, const void *global, bool is_there, COP_CUDA_HERE);
void cop_cp_async_4(void *shared, const void *global, bool is_there, COP_CUDA_HERE);
void cop_cp_async_commit(void);

#undef COP_CUDA_HERE

// Completes the calling thread's groups but for the `left` latest.
void cop_cuda_host_async_wait(int left);

template <int N> void cop_cp_async_wait(void)
{
    cop_cuda_host_async_wait(N);
}

static inline float cop_exp2(float x)
{
    const float y = exp2f(x);
    return y < 1.17549435e-38f ? 0.0f : y; // as the device's ftz
}

extern "C" {
// Since the start of the program: products of 16 x 8 x 16, and the accesses of ldmatrix, eight
// rows each, that touch a bank of shared memory twice.
uint64_t cop_cuda_host_mma_count(void);
uint64_t cop_cuda_host_bank_conflicts(void);
}

#endif
