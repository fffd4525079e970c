// Which implementation multiplies.

#include "kernels/cuda/ops.h"

uint64_t cop_cuda_matmul_scratch(const cop_cuda *cuda, const cop_matmul_args *args)
{
    return cuda->lt != NULL ? cop_cuda_lt_scratch(cuda->lt, args) : 0;
}

cop_status cop_cuda_matmul(cop_cuda *cuda, cudaStream_t stream, const cop_matmul_args *args,
                           cop_error *err)
{
    if (args->c.rows == 0 || args->c.cols == 0) {
        return COP_OK;
    }
    return cuda->lt != NULL && cop_cuda_lt_takes(cuda->lt, args)
               ? cop_cuda_lt_matmul(cuda->lt, stream, args, err)
               : cop_cuda_matmul_plain(cuda, stream, args, err);
}
