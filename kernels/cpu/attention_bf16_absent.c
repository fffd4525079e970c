// Where the architecture has no bf16 instructions that we know: never chosen.

#include "kernels/cpu/attention.h"

bool cop_attention_bf16_takes_forward(const cop_attention_forward_args *args)
{
    (void)args;
    return false;
}

bool cop_attention_bf16_takes_backward(const cop_attention_backward_args *args)
{
    (void)args;
    return false;
}

void cop_attention_bf16_forward(const cop_attention_forward_args *args)
{
    (void)args;
}

void cop_attention_bf16_backward(const cop_attention_backward_args *args)
{
    (void)args;
}
