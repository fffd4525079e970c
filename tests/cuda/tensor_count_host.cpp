#include <cuda_host_mma.h>

#include "tests/cuda/tensor_count.h"

bool cop_test_tensor_counts(void)
{
    return true;
}

uint64_t cop_test_tensor_products(void)
{
    return cop_cuda_host_mma_count();
}

uint64_t cop_test_bank_conflicts(void)
{
    return cop_cuda_host_bank_conflicts();
}
