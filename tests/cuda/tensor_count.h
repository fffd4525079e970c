// What the host shim counts of tensor cores, where the CUDA backend runs in it.

#ifndef COP_TESTS_CUDA_TENSOR_COUNT_H
#define COP_TESTS_CUDA_TENSOR_COUNT_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// False on a device, where nothing is counted and both functions return 0.
bool cop_test_tensor_counts(void);
uint64_t cop_test_tensor_products(void);
uint64_t cop_test_bank_conflicts(void);

#ifdef __cplusplus
}
#endif

#endif
