// What every backend checks before it runs an operator: shapes, strides, element types, presence.
// Messages have the form "<operator>: <what>: <value> (allowed: ...)".

#ifndef COP_KERNELS_CHECK_H
#define COP_KERNELS_CHECK_H

#include "kernels/ops.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cop_check_types {
    COP_CHECK_ANY = 0, // f64, f32 and bf16 anywhere: the reference
    COP_CHECK_FAST,    // f32 and bf16 for activations and gradients, f32 for statistics and vectors
    COP_CHECK_DEVICE   // as FAST; ids and indices are in device memory and not looked at
} cop_check_types;

typedef enum cop_check_stage {
    COP_CHECK_PLAN = 0, // data pointers are not looked at; a matrix with zero columns is absent
    COP_CHECK_CALL      // a matrix with data = NULL is absent
} cop_check_stage;

// "matmul", "norm_forward" …
const char *cop_op_name(cop_op op);

// Checks the arguments of one operator; `args` points to its struct. COP_ERR_SHAPE for sizes,
// strides and presence, COP_ERR_UNSUPPORTED for element types. Ids and indices are looked at in
// stage CALL (not for DEVICE): they must be host memory.
COP_MUST_CHECK cop_status cop_check_op(cop_op op, const void *args, cop_check_types types,
                                       cop_check_stage stage, cop_error *err);

// COP_ERR_SHAPE when `bytes` > 0 and `scratch` is NULL or not aligned to 64.
COP_MUST_CHECK cop_status cop_check_scratch(cop_op op, const void *scratch, uint64_t bytes,
                                            cop_error *err);

#ifdef __cplusplus
}
#endif

#endif
