#include "kernels/cuda/ops.h"

uint64_t cop_cuda_column_sum_scratch(const cop_cuda *cuda, const cop_column_sum_args *args)
{
    (void)cuda;
    (void)args;
    return 0;
}

cop_status cop_cuda_column_sum(cop_cuda *cuda, cudaStream_t stream, const cop_column_sum_args *args,
                               cop_error *err)
{
    (void)cuda;
    (void)stream;
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "column_sum: not yet on this backend");
}

uint64_t cop_cuda_sum_squares_scratch(const cop_cuda *cuda, const cop_sum_squares_args *args)
{
    (void)cuda;
    (void)args;
    return 0;
}

cop_status cop_cuda_sum_squares(cop_cuda *cuda, cudaStream_t stream,
                                const cop_sum_squares_args *args, cop_error *err)
{
    (void)cuda;
    (void)stream;
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "sum_squares: not yet on this backend");
}

cop_status cop_cuda_sequence_moments(cop_cuda *cuda, cudaStream_t stream,
                                     const cop_sequence_moments_args *args, cop_error *err)
{
    (void)cuda;
    (void)stream;
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "sequence_moments: not yet on this backend");
}

uint64_t cop_cuda_row_cosine_scratch(const cop_cuda *cuda, const cop_row_cosine_args *args)
{
    (void)cuda;
    (void)args;
    return 0;
}

cop_status cop_cuda_row_cosine(cop_cuda *cuda, cudaStream_t stream, const cop_row_cosine_args *args,
                               cop_error *err)
{
    (void)cuda;
    (void)stream;
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "row_cosine: not yet on this backend");
}
