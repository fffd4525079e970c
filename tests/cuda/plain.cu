#include "kernels/cuda/ops.h"
#include "tests/cuda/plain.h"

cop_status cop_test_matmul_plain(cop_backend *backend, cop_stream *stream,
                                 const cop_matmul_args *args, cop_error *err)
{
    cop_cuda *cuda = static_cast<cop_cuda *>(backend->context);
    return cop_cuda_matmul_plain(cuda, cop_cuda_stream(cuda, stream), args, err);
}
