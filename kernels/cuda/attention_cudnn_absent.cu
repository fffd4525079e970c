// Without cuDNN: the same entry points, and attention by the own kernels.

#include "kernels/cuda/ops.h"

cop_status cop_cuda_flash_create(cop_cuda_flash **out, cop_cuda *cuda, cop_error *err)
{
    (void)cuda;
    (void)err;
    *out = NULL;
    return COP_OK;
}

void cop_cuda_flash_destroy(cop_cuda_flash *flash)
{
    (void)flash;
}

bool cop_cuda_flash_takes_forward(cop_cuda_flash *flash, const cop_attention_forward_args *args)
{
    (void)flash;
    (void)args;
    return false;
}

bool cop_cuda_flash_takes_backward(cop_cuda_flash *flash, const cop_attention_backward_args *args)
{
    (void)flash;
    (void)args;
    return false;
}

uint64_t cop_cuda_flash_forward_scratch(cop_cuda_flash *flash,
                                        const cop_attention_forward_args *args)
{
    (void)flash;
    (void)args;
    return 0;
}

uint64_t cop_cuda_flash_backward_scratch(cop_cuda_flash *flash,
                                         const cop_attention_backward_args *args)
{
    (void)flash;
    (void)args;
    return 0;
}

cop_status cop_cuda_flash_forward(cop_cuda_flash *flash, cudaStream_t stream,
                                  const cop_attention_forward_args *args, cop_error *err)
{
    (void)flash;
    (void)stream;
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "attention_forward: %s", cop_cuda_flash_name());
}

cop_status cop_cuda_flash_backward(cop_cuda_flash *flash, cudaStream_t stream,
                                   const cop_attention_backward_args *args, cop_error *err)
{
    (void)flash;
    (void)stream;
    (void)args;
    return COP_FAIL(err, COP_ERR_UNSUPPORTED, "attention_backward: %s", cop_cuda_flash_name());
}

const char *cop_cuda_flash_name(void)
{
    return "no cuDNN frontend when configured";
}
