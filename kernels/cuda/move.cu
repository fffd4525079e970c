#include "kernels/cuda/ops.h"

cop_status cop_cuda_bias_add(cop_cuda *cuda, cudaStream_t stream, const cop_bias_add_args *args,
                             cop_error *err)
{
    (void)cuda;
    (void)stream;
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "bias_add: not yet on this backend");
}

cop_status cop_cuda_add(cop_cuda *cuda, cudaStream_t stream, const cop_add_args *args,
                        cop_error *err)
{
    (void)cuda;
    (void)stream;
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "add: not yet on this backend");
}

cop_status cop_cuda_convert(cop_cuda *cuda, cudaStream_t stream, const cop_convert_args *args,
                            cop_error *err)
{
    (void)cuda;
    (void)stream;
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "convert: not yet on this backend");
}

cop_status cop_cuda_gather(cop_cuda *cuda, cudaStream_t stream, const cop_gather_args *args,
                           cop_error *err)
{
    (void)cuda;
    (void)stream;
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "gather: not yet on this backend");
}
