// The matrix product that the "cpu" backend builds on: oneDNN for bf16 operands where the CPU has
// the instructions, OpenBLAS for f32. Arguments have been checked.

#ifndef COP_KERNELS_CPU_MATMUL_H
#define COP_KERNELS_CPU_MATMUL_H

#include "kernels/ops.h"

// Whether bf16 operands are multiplied as they are; else they are converted to f32 scratch.
bool cop_matmul_has_bf16(void);

// Bytes of scratch for cop_matmul_run(); the data pointers are not looked at.
uint64_t cop_matmul_scratch_bytes(const cop_matmul_args *args);

// Runs the product on all threads of OpenMP, or on the calling one inside a parallel region.
COP_MUST_CHECK cop_status cop_matmul_run(const cop_matmul_args *args, cop_error *err);

// kernels/cpu/matmul_onednn.c. The name says which instructions are used, or why there are none.
bool cop_onednn_has_bf16(void);
const char *cop_onednn_name(void);
COP_MUST_CHECK cop_status cop_onednn_matmul(const cop_matmul_args *args, cop_error *err);

#endif
