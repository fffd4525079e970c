// The runtime's errors as ours.

#include "kernels/cuda/cuda.h"

cop_status cop_cuda_fail(cop_error *err, const char *what, cudaError_t error)
{
    (void)cudaGetLastError(); // the runtime keeps an error until somebody reads it
    const cop_status status = error == cudaErrorMemoryAllocation ? COP_ERR_NOMEM : COP_ERR_DEVICE;
    return COP_FAIL(err, status, "cuda: %s: %s: %s", what, cudaGetErrorName(error),
                    cudaGetErrorString(error));
}

cop_status cop_cuda_enter(const cop_cuda *cuda, cop_error *err)
{
    const cudaError_t error = cudaSetDevice(cuda->device);
    return error == cudaSuccess ? COP_OK : cop_cuda_fail(err, "device", error);
}

cop_status cop_cuda_launched(cop_error *err, const char *op, int64_t rows, int64_t cols)
{
    const cudaError_t error = cudaGetLastError();
    if (error == cudaSuccess) {
        return COP_OK;
    }
    return COP_FAIL(err, COP_ERR_DEVICE, "%s: launch for [%lld, %lld]: %s: %s", op,
                    static_cast<long long>(rows), static_cast<long long>(cols),
                    cudaGetErrorName(error), cudaGetErrorString(error));
}
