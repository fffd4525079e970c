// What a student is compared with: the teacher's LM head on the device, and its final hidden
// states by sequence number, from wherever they come (a cache, or the teacher itself); or, for
// training alone, a random sample of its distributions.

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

// A sample of the distributions of n tokens, as COP_OP_SAMPLE_TARGETS draws it; on the device.
typedef struct cop_teacher_sample {
    const int32_t *ids; // [n, S]
    cop_matrix weights; // [n, S] f32
    cop_matrix entropy; // [1, n] f32
} cop_teacher_sample;

// Gives such samples of sequences [first, first + count) of one sampler, always the same ones.
typedef struct cop_sample_source {
    void *context;
    int64_t draws;    // S
    int64_t sequence; // T
    // The views are valid until the next call.
    cop_status (*samples)(void *context, int64_t first, int64_t count, cop_teacher_sample *out,
                          cop_error *err);
} cop_sample_source;

typedef struct cop_teacher {
    cop_matrix head;           // [V, Ct] device, compute dtype; borrowed
    cop_state_source states;   // for the data at hand
    cop_sample_source samples; // instead of states when its function is set
} cop_teacher;

#endif
