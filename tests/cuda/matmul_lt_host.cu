// cuBLASLt's entry points in the host build: the CPU's product, in the order of the stream.

#include <stdio.h>
#include <stdlib.h>

#include "kernels/cuda/ops.h"
#include "tests/cuda/matmul_host.h"

cop_status cop_cuda_lt_create(cop_cuda_lt **out, cop_cuda *cuda, cop_error *err)
{
    (void)err;
    *out = reinterpret_cast<cop_cuda_lt *>(cuda); // a handle that is not NULL
    return COP_OK;
}

void cop_cuda_lt_destroy(cop_cuda_lt *lt)
{
    (void)lt;
}

uint64_t cop_cuda_lt_scratch(const cop_cuda_lt *lt, const cop_matmul_args *args)
{
    (void)lt;
    return cop_matmul_host_scratch(args);
}

bool cop_cuda_lt_takes(const cop_cuda_lt *lt, const cop_matmul_args *args)
{
    (void)lt;
    (void)args;
    return true;
}

cop_status cop_cuda_lt_matmul(cop_cuda_lt *lt, cudaStream_t stream, const cop_matmul_args *args,
                              cop_error *err)
{
    (void)lt;
    (void)err;
    const cop_matmul_args copy = *args;
    cop_cuda_host::enqueue(stream, [copy]() {
        cop_error failure = {};
        if (cop_matmul_host(&copy, &failure) != COP_OK) {
            (void)fprintf(stderr, "%s\n", failure.message); // a device would stop here as well
            abort();
        }
    });
    return COP_OK;
}
