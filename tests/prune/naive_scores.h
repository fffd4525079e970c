// Scores by the definitions of prune/importance.h, spelled out a second time over activations that were
// copied out of a network: plain sums, two passes for each variance.

#ifndef COP_TESTS_PRUNE_NAIVE_SCORES_H
#define COP_TESTS_PRUNE_NAIVE_SCORES_H

#include "tests/prune/fixture.h"

enum {
    BATCH = 3,
    SEQUENCE = 7,
    SAMPLES = 5,
    ROWS = SAMPLES * SEQUENCE,
    TAPS = COP_TAP_FINAL_NORM + 1
};

// Values of all places of one sequence.
typedef struct recording {
    cop_backend *backend;
    double *value[TAPS][COP_ARCH_LAYERS_MAX]; // [T, cols]
    int64_t cols[TAPS][COP_ARCH_LAYERS_MAX];
} recording;

typedef struct teacher_run {
    cop_backend *backend;
    cop_network *network;
    cop_tokens *tokens;
    recording *recordings[SAMPLES];
} teacher_run;

// A network of random weights on the reference backend, the text naive.bin of SAMPLES sequences, and what
// the places hold for each.
void run_open(teacher_run *run, const cop_arch *arch, cop_precision precision);
void run_close(teacher_run *run);

// Score of one unit: `group` columns of the tapped matrix.
double naive_score(const teacher_run *run, cop_tap tap, int64_t layer, int64_t unit, int64_t group,
                   int aggregate);
double naive_influence(const teacher_run *run, int64_t layer, int64_t hidden);
// exp of the mean cross-entropy, by the naive model without `layer` (-1: with all).
double naive_perplexity(const teacher_run *run, int64_t layer);

#endif
