#include "kernels/cuda/launch.h"
#include "tests/host_shim/collectives.h"

namespace {

constexpr unsigned ALL = 0xffffffffu;

__global__ void collectives_kernel(cop_collectives *out)
{
    const int i = (int)threadIdx.x;
    const int value = 3 * i + 1;
    const int is_third = i % 3 == 0;
    out->broadcast_i32[i] = __shfl_sync(ALL, value, 5);
    out->segment_f32[i] = __shfl_sync(ALL, (float)value, 9, 8);
    out->up_f64[i] = __shfl_up_sync(ALL, (double)value, 3);
    out->down_i64[i] = __shfl_down_sync(ALL, (long long)value, 4, 16);
    out->xor_u64[i] = __shfl_xor_sync(ALL, (unsigned long long)value, 16);
    out->xor_segment_f32[i] = __shfl_xor_sync(ALL, (float)value, 8, 8);
    __syncwarp();
    if (i < 16) {
        out->half_u32[i] = __shfl_xor_sync(0x0000ffffu, (unsigned)value, 1);
    } else {
        out->half_u32[i] = __shfl_xor_sync(0xffff0000u, (unsigned)value, 1);
    }
    out->ballot[i] = __ballot_sync(ALL, is_third);
    out->any_and_all[i] = (__any_sync(ALL, is_third) != 0) + 2 * (__all_sync(ALL, is_third) != 0) +
                          4 * (__all_sync(ALL, i >= 0) != 0);
    out->sum_i32[i] = __reduce_add_sync(ALL, -i);
    if (i < 8) {
        return;
    }
    out->left_alone[i] = (int)__ballot_sync(ALL, 1);
}

__global__ void atomics_kernel(cop_collectives *out)
{
    const int i = (int)threadIdx.x;
    atomicAdd(&out->atomic_f32, 0.5f);
    atomicAdd(&out->atomic_f64, (double)i);
    atomicAdd(&out->atomic_i32, -i);
    atomicAdd(&out->atomic_u32, 1u);
    atomicAdd(&out->atomic_u64, 1ull << 33);
    atomicMax(&out->atomic_max_i32, i * 7 % COP_LANES);
}

__global__ void empty_kernel(int unused)
{
    (void)unused;
}

cop_status check_launch(const char *what, cop_error *err)
{
    const cudaError_t launch = cudaGetLastError();
    if (launch != cudaSuccess) {
        return COP_FAIL(err, COP_ERR_DEVICE, "%s: launch failed: %s", what,
                        cudaGetErrorString(launch));
    }
    return COP_OK;
}

} // namespace

cop_status cop_collectives_cuda(cop_collectives *out, cop_error *err)
{
    COP_LAUNCH(collectives_kernel, 1, COP_LANES, 0, 0, out);
    COP_LAUNCH(atomics_kernel, 4, COP_LANES, 0, 0, out);
    return check_launch("collectives", err);
}

cop_status cop_launch_probe_cuda(unsigned grid, unsigned block, size_t shared_bytes,
                                 bool is_opted_in, cop_error *err)
{
    const int limit = is_opted_in ? (int)shared_bytes : 48 * 1024;
    const cudaError_t raised =
        cudaFuncSetAttribute(empty_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, limit);
    if (raised != cudaSuccess) {
        (void)cudaGetLastError();
        return COP_FAIL(err, COP_ERR_DEVICE, "probe: %zu bytes refused: %s", shared_bytes,
                        cudaGetErrorString(raised));
    }
    COP_LAUNCH(empty_kernel, grid, block, shared_bytes, 0, 0);
    return check_launch("probe", err);
}
