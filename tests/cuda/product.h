// Products at sizes around the plain kernel's tile, in all layouts, types, strides and with what is
// added to: shared by the tests of the two implementations.

#ifndef COP_TESTS_CUDA_PRODUCT_H
#define COP_TESTS_CUDA_PRODUCT_H

#include "kernels/backend.h"

enum { PRODUCT_SIZES = 6 };

// Compares the first `size_count` sizes with the reference, in the first `order_count` thread orders;
// the test fails when one is off.
void product_check(cop_backend *backend, int size_count, int order_count);

#endif
