// How far attention through cuDNN comes without a device: an H200 is described to it, graphs are
// built and validated, and cuDNN's heuristics say how many engine configurations take them. What a
// driver loads, and so whether they run, is not seen here.

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

extern "C" {
#include <cmocka.h>
}

#include "kernels/cuda/attention_cudnn.h"

// In cuDNN's own keys.
static const char h200[] =
    "{\"deviceProp\":{\"name\":\"NVIDIA H200\"}}";

int main(void)
{
    cop_cuda_flash *f = NULL;
    cop_error err = {};
    cop_status s = cop_cuda_flash_create_described(&f, h200, 90, &err);
    printf("%d %s\n", (int)s, err.message);
}
