#include "kernels/cuda/ops.h"

cop_status cop_cuda_state_loss(cop_cuda *cuda, cudaStream_t stream, const cop_state_loss_args *args,
                               cop_error *err)
{
    (void)cuda;
    (void)stream;
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "state_loss: not yet on this backend");
}
