// Whether a backend draws from a teacher's distribution as COP_OP_SAMPLE_TARGETS says. Ids are
// compared with draws from cumulated probabilities in f64; a draw within 1e-5 of the boundary of two
// ids may go to either, since sums of other order differ by about 1e-6.

#ifndef COP_TESTS_KERNELS_SAMPLE_CHECK_H
#define COP_TESTS_KERNELS_SAMPLE_CHECK_H

#include "kernels/ops.h"

typedef struct sample_case {
    cop_dtype dtype;
    int64_t rows;
    int64_t vocab;
    int64_t cols;
    int64_t draws;
    uint64_t seed;
    int64_t first_row;
} sample_case;

extern const sample_case sample_cases[];
extern const int sample_cases_count;

// Fails the test, naming `what`, unless the backend's draws are right.
void sample_check(cop_backend *backend, const sample_case *each, const char *what);

#endif
