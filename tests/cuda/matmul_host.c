// The place of cuBLASLt in the host build of the CUDA backend: the "cpu" backend's product, so that
// tests of whole models take seconds. The own kernel that runs without cuBLASLt has its own test.

#include "tests/cuda/matmul_host.h"

#include "kernels/cpu/matmul.h"

uint64_t cop_matmul_host_scratch(const cop_matmul_args *args)
{
    return cop_matmul_scratch_bytes(args);
}

cop_status cop_matmul_host(const cop_matmul_args *args, cop_error *err)
{
    return cop_matmul_run(args, err);
}
