// Between the stand-in for cuBLASLt, which is C++, and the CPU's product, which is C.

#ifndef COP_TESTS_CUDA_MATMUL_HOST_H
#define COP_TESTS_CUDA_MATMUL_HOST_H

#include "kernels/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

uint64_t cop_matmul_host_scratch(const cop_matmul_args *args);
COP_MUST_CHECK cop_status cop_matmul_host(const cop_matmul_args *args, cop_error *err);

#ifdef __cplusplus
}
#endif

#endif
