// Latency of a forward pass, measured.

#ifndef COP_EVAL_LATENCY_H
#define COP_EVAL_LATENCY_H

#include "model/network.h"

typedef struct cop_latency {
    double median_seconds;
    double low_seconds;       // 10th percentile
    double high_seconds;      // 90th percentile
    double tokens_per_second; // batch * sequence / median
    int64_t repeats;
} cop_latency;

// Times prefill passes (all blocks and the LM head of the last position of each sequence) of random ids,
// after warm-up, at least 5 and at most 50 repeats or `seconds`.
COP_MUST_CHECK cop_status cop_latency_measure(cop_latency *out, cop_network *network, int64_t batch,
                                              int64_t sequence, double seconds, cop_error *err);

#endif
