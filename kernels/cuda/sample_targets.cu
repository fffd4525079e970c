#include "kernels/cuda/ops.h"

uint64_t cop_cuda_sample_targets_scratch(const cop_cuda *cuda, const cop_sample_targets_args *args)
{
    (void)cuda;
    (void)args;
    return 0;
}

cop_status cop_cuda_sample_targets(cop_cuda *cuda, cudaStream_t stream,
                                   const cop_sample_targets_args *args, cop_error *err)
{
    (void)cuda;
    (void)stream;
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "sample_targets: not yet on this backend");
}
