// What a student is compared with: the teacher's LM head on the device, and its final hidden
// states by sequence number, from wherever they come (a cache, or the teacher itself).

#ifndef COP_MODEL_TEACHER_H
#define COP_MODEL_TEACHER_H

#include "kernels/ops.h"

// Gives hidden states of sequences [first, first + count) of one sampler (model/tokens.h).
typedef struct cop_state_source {
    void *context;
    int64_t width;    // Ct
    int64_t sequence; // T
    // `hidden` receives a device view [count * T, Ct] in the compute dtype, valid until the next call.
    cop_status (*states)(void *context, int64_t first, int64_t count, cop_matrix *hidden,
                         cop_error *err);
} cop_state_source;

typedef struct cop_teacher {
    cop_matrix head;         // [V, Ct] device, compute dtype; borrowed
    cop_state_source states; // for the data at hand
} cop_teacher;

#endif
