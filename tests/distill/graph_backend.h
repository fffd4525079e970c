// The "cpu" backend with graphs: what is enqueued while recording is kept as a list of calls with
// copies of their arguments, and run again later. What a recording must not contain fails the test.

#ifndef COP_TESTS_DISTILL_GRAPH_BACKEND_H
#define COP_TESTS_DISTILL_GRAPH_BACKEND_H

#include "kernels/ops.h"

// One at a time exists. cop_backend_destroy() also frees it.
cop_backend *graph_backend_create(void);

typedef struct graph_counts {
    int synchronizations;
    int calls; // of operators, enqueued or recorded
    int records;
    int replays;
} graph_counts;

extern graph_counts graph_count;

// The n-th recording from now on (from 1) is refused at its end, as by a device; 0: none.
void graph_backend_refuse(int n);

#endif
