// The table of operator cases that the agreement and determinism tests share.

#ifndef COP_TESTS_KERNELS_CASES_H
#define COP_TESTS_KERNELS_CASES_H

#include "tests/kernels/rig.h"

// Sizes of one case, in the order its builder documents.
typedef struct op_case {
    cop_op op;
    void (*build)(rig *self, const int64_t *size);
    int64_t size[8];
} op_case;

extern const op_case op_cases[];
extern const int op_cases_count;

#endif
