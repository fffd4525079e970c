// The list of a backend's named allocations. Everybody but kernels/backend.c uses
// cop_backend_alloc() and cop_backend_free() of kernels/backend.h.

#ifndef COP_KERNELS_MEMORY_H
#define COP_KERNELS_MEMORY_H

#include "kernels/backend.h"

// Forgets what was never freed, before the backend that owns the memory goes.
void cop_backend_forget_memory(cop_backend *backend);

#endif
