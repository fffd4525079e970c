// The plain product of the CUDA backend as an entry of the operator table: the backend itself calls
// it only where cuBLASLt takes no product.

#ifndef COP_TESTS_CUDA_PLAIN_H
#define COP_TESTS_CUDA_PLAIN_H

#include "kernels/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

cop_status cop_test_matmul_plain(cop_backend *backend, cop_stream *stream,
                                 const cop_matmul_args *args, cop_error *err);

#ifdef __cplusplus
}
#endif

#endif
