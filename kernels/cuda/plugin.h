// What the program knows of the CUDA backend: one function of a library that is loaded at run time
// (kernels/cuda_plugin.h), so that the program itself needs neither CUDA nor a driver.
//
// The plugin holds its own copy of base/ and kernels/ files it uses, hides all other symbols, and
// allocates and frees its own objects: only the types below cross the border.

#ifndef COP_KERNELS_CUDA_PLUGIN_H
#define COP_KERNELS_CUDA_PLUGIN_H

#include "kernels/group.h"
#include "kernels/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

// Changes with every change of the structs below.
#define COP_CUDA_PLUGIN_VERSION 1u
#define COP_CUDA_PLUGIN_SYMBOL  "cop_cuda_plugin_table"
#define COP_CUDA_PLUGIN_FILE    "libcop_cuda.so"

// Versions as the libraries encode them: 13000 is CUDA 13.0, 130002 cuBLASLt 13.0.2.
typedef struct cop_cuda_versions {
    int driver; // the newest CUDA it runs; 0: there is no driver
    int runtime;
    int64_t cublaslt;
    char attention[96]; // versions of cuDNN and its frontend, or why there is none
} cop_cuda_versions;

typedef struct cop_cuda_device {
    char name[96];
    int compute; // capability: 80, 90, 100
    int multiprocessors;
    uint64_t memory_bytes;
} cop_cuda_device;

typedef struct cop_cuda_plugin {
    uint32_t version; // COP_CUDA_PLUGIN_VERSION; the first field in all versions
    uint64_t layout;  // cop_cuda_plugin_layout() as the plugin sees it
    void (*versions)(cop_cuda_versions *out);
    // COP_ERR_UNSUPPORTED without a driver or device, saying which; *out is then 0.
    cop_status (*device_count)(int *out, cop_error *err);
    cop_status (*device_describe)(cop_cuda_device *out, int device, cop_error *err);
    cop_status (*backend_create)(cop_backend **out, int device, cop_error *err);
} cop_cuda_plugin;

// The table; static storage of the plugin.
typedef const cop_cuda_plugin *(*cop_cuda_plugin_function)(void);

// Sizes of the types that program and plugin share: different when they were built from different
// sources, though somebody forgot to change the version.
static inline uint64_t cop_cuda_plugin_layout(void)
{
    const size_t sizes[] = {
        sizeof(cop_error),
        sizeof(cop_device_info),
        sizeof(cop_backend_type),
        sizeof(cop_backend),
        sizeof(cop_matrix),
        sizeof(cop_ops),
        sizeof(cop_matmul_args),
        sizeof(cop_norm_forward_args),
        sizeof(cop_norm_backward_args),
        sizeof(cop_attention_forward_args),
        sizeof(cop_attention_backward_args),
        sizeof(cop_head_loss_args),
        sizeof(cop_adamw_args),
        sizeof(cop_sample_targets_args),
        sizeof(cop_group),
        sizeof(cop_group_type),
        sizeof(cop_group_functions),
        sizeof(cop_cuda_versions),
        sizeof(cop_cuda_device),
        sizeof(cop_cuda_plugin),
    };
    uint64_t layout = 0;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        layout = layout * 1000003u + sizes[i];
    }
    return layout;
}

#ifdef __cplusplus
}
#endif

#endif
