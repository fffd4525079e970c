#include "kernels/cuda/ops.h"

cop_status cop_cuda_rope(cop_cuda *cuda, cudaStream_t stream, const cop_rope_args *args,
                         cop_error *err)
{
    (void)cuda;
    (void)stream;
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "rope: not yet on this backend");
}
