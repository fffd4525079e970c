#include "kernels/cuda/ops.h"

cop_status cop_cuda_activation_forward(cop_cuda *cuda, cudaStream_t stream,
                                       const cop_activation_forward_args *args, cop_error *err)
{
    (void)cuda;
    (void)stream;
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "activation_forward: not yet on this backend");
}

cop_status cop_cuda_activation_backward(cop_cuda *cuda, cudaStream_t stream,
                                        const cop_activation_backward_args *args, cop_error *err)
{
    (void)cuda;
    (void)stream;
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "activation_backward: not yet on this backend");
}
