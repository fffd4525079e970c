// The host as a device: memory, copies and streams shared by the CPU backends. Every call is done
// when it returns.

#ifndef COP_KERNELS_CPU_HOST_H
#define COP_KERNELS_CPU_HOST_H

#include "kernels/ops.h"

// Creates a backend on the host that runs `ops`; `has_bf16_matmul` is reported by info().
COP_MUST_CHECK cop_status cop_host_create(cop_backend **out, const cop_ops *ops, const char *name,
                                          bool has_bf16_matmul, cop_error *err);

// The operator tables of the CPU backends; static storage.
const cop_ops *cop_reference_ops(void);
const cop_ops *cop_fast_ops(void);

#endif
