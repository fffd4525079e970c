// The place of kernels/cuda_plugin.c in a program that is linked with the host build of the backend:
// "cuda" is then the shim, and everything above the backend runs as it does with a GPU.

#include <stdio.h>

#include "kernels/cuda_plugin.h"

cop_status cop_cuda_backend_create(cop_backend **out, int device, cop_error *err);

static void versions(cop_cuda_versions *out)
{
    *out = (cop_cuda_versions){.driver = 13000, .runtime = 13000};
    (void)snprintf(out->attention, sizeof out->attention, "own kernels, on the host");
}

static cop_status device_count(int *out, cop_error *err)
{
    (void)err;
    *out = 1;
    return COP_OK;
}

static cop_status device_describe(cop_cuda_device *out, int device, cop_error *err)
{
    (void)device;
    (void)err;
    *out = (cop_cuda_device){.name = "host shim", .compute = 90, .multiprocessors = 4};
    return COP_OK;
}

cop_status cop_cuda_plugin_load(const cop_cuda_plugin **out, cop_error *err)
{
    static const cop_cuda_plugin table = {
        .version = COP_CUDA_PLUGIN_VERSION,
        .versions = versions,
        .device_count = device_count,
        .device_describe = device_describe,
        .backend_create = cop_cuda_backend_create,
    };
    (void)err;
    *out = &table;
    return COP_OK;
}

const char *cop_cuda_plugin_path(void)
{
    return "linked in";
}

bool cop_cuda_has_driver(void)
{
    return false; // `auto` stays the CPU: tests name the device that they want
}

bool cop_cuda_is_expected(void)
{
    return false;
}

cop_status cop_cuda_create(cop_backend **out, int device, cop_error *err)
{
    return cop_cuda_backend_create(out, device, err);
}

cop_status cop_cuda_create_first(cop_backend **out, cop_error *err)
{
    return cop_cuda_backend_create(out, 0, err);
}
