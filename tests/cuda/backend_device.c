#include "tests/cuda/backend.h"

cop_status cop_test_cuda_backend(cop_backend **out, cop_error *err)
{
    return cop_backend_create(out, "cuda", err);
}

const char *const cop_test_cuda_orders[] = {"device"};
const int cop_test_cuda_orders_count = 1;

void cop_test_cuda_use_order(const char *order)
{
    (void)order;
}

void cop_test_cuda_lazy_streams(void)
{
}
