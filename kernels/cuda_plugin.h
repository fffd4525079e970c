// Finds and loads the plugin that holds the CUDA backend (kernels/cuda/plugin.h).
//
// Where it is looked for: $COP_CUDA_PLUGIN, a file, and then nowhere else; beside the executable; in
// ../lib/coppice seen from there; where this build put it. It is loaded once and stays.

#ifndef COP_KERNELS_CUDA_PLUGIN_LOADER_H
#define COP_KERNELS_CUDA_PLUGIN_LOADER_H

#include "kernels/cuda/plugin.h"

// *out is borrowed. COP_ERR_UNSUPPORTED: it was not built, is not there, lacks a library, or belongs
// to another version of the program; the message says which.
COP_MUST_CHECK cop_status cop_cuda_plugin_load(const cop_cuda_plugin **out, cop_error *err);

// The file it was loaded from; "" when it was not.
const char *cop_cuda_plugin_path(void);

// Whether an NVIDIA driver is installed: cheaper to ask than loading the plugin.
bool cop_cuda_has_driver(void);

// Whether a GPU seems to be there and a plugin for it: doing without is worth a word then.
bool cop_cuda_is_expected(void);

// A backend on a device. COP_ERR_UNSUPPORTED as above, or without a driver or such a device.
COP_MUST_CHECK cop_status cop_cuda_create(cop_backend **out, int device, cop_error *err);
// On the first device that works.
COP_MUST_CHECK cop_status cop_cuda_create_first(cop_backend **out, cop_error *err);

#endif
