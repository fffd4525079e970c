#include "kernels/cuda/ops.h"

cop_status cop_cuda_norm_forward(cop_cuda *cuda, cudaStream_t stream,
                                 const cop_norm_forward_args *args, cop_error *err)
{
    (void)cuda;
    (void)stream;
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "norm_forward: not yet on this backend");
}

uint64_t cop_cuda_norm_backward_scratch(const cop_cuda *cuda, const cop_norm_backward_args *args)
{
    (void)cuda;
    (void)args;
    return 0;
}

cop_status cop_cuda_norm_backward(cop_cuda *cuda, cudaStream_t stream,
                                  const cop_norm_backward_args *args, cop_error *err)
{
    (void)cuda;
    (void)stream;
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "norm_backward: not yet on this backend");
}
