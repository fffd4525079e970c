// The CUDA backend that a test is linked with: on the host, by the shim, or on a device, by the
// plugin.

#ifndef COP_TESTS_CUDA_BACKEND_H
#define COP_TESTS_CUDA_BACKEND_H

#include <stdio.h>

#include "kernels/backend.h"

// COP_ERR_UNSUPPORTED: there is no device; the test is skipped.
COP_MUST_CHECK cop_status cop_test_cuda_backend(cop_backend **out, cop_error *err);

// The same for main(): 0, or what the test exits with when there is no backend (77: skipped).
static inline int cop_test_cuda_open(cop_backend **out)
{
    cop_error err = {0};
    if (cop_test_cuda_backend(out, &err) == COP_OK) {
        return 0;
    }
    const bool is_skipped = err.status == COP_ERR_UNSUPPORTED;
    (void)fprintf(stderr, "%s%s\n", is_skipped ? "skipped: " : "", err.message);
    return is_skipped ? 77 : 1;
}

// Thread orders to try: several on the host (set in the environment), one on a device.
extern const char *const cop_test_cuda_orders[];
extern const int cop_test_cuda_orders_count;
void cop_test_cuda_use_order(const char *order);

// On the host work then waits in its stream until somebody waits for it, as it does on a device.
void cop_test_cuda_lazy_streams(void);

#endif
