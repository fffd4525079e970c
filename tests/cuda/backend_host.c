#include <stdlib.h>

#include "tests/cuda/backend.h"
#include "tests/host_shim/cuda_host_control.h"

cop_status cop_cuda_backend_create(cop_backend **out, int device, cop_error *err);

cop_status cop_test_cuda_backend(cop_backend **out, cop_error *err)
{
    return cop_cuda_backend_create(out, 0, err);
}

const char *const cop_test_cuda_orders[] = {"forward", "reverse", "random:1", "random:20"};
const int cop_test_cuda_orders_count =
    (int)(sizeof cop_test_cuda_orders / sizeof cop_test_cuda_orders[0]);

void cop_test_cuda_use_order(const char *order)
{
    // NOLINTNEXTLINE(concurrency-mt-unsafe): read at launches, by this thread
    (void)setenv("COP_CUDA_ORDER", order, 1);
}

void cop_test_cuda_lazy_streams(void)
{
    cop_cuda_host_lazy_streams(true);
}
