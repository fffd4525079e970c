// The plugin's table: what it is, which devices there are, and backends on them.

#include <stdio.h>

#include "kernels/cuda/ops.h"
#include "kernels/cuda/plugin.h"

namespace {

void versions(cop_cuda_versions *out)
{
    *out = cop_cuda_versions{};
    (void)cudaDriverGetVersion(&out->driver);
    (void)cudaRuntimeGetVersion(&out->runtime);
    (void)cudaGetLastError();
    out->cublaslt = cop_cuda_lt_version();
    (void)snprintf(out->attention, sizeof out->attention, "%s", cop_cuda_flash_name());
}

} // namespace

// The one symbol that is visible.
extern "C" __attribute__((visibility("default"))) const cop_cuda_plugin *cop_cuda_plugin_table(void)
{
    // In the order of the struct: C++17 has no designated initializers.
    static const cop_cuda_plugin table = {
        COP_CUDA_PLUGIN_VERSION, cop_cuda_plugin_layout(), versions,
        cop_cuda_device_count,   cop_cuda_device_describe, cop_cuda_backend_create};
    return &table;
}
