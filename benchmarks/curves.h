// Finished learning curves to replay a search on: what every candidate's loss was at every stage.

#ifndef COP_BENCHMARKS_CURVES_H
#define COP_BENCHMARKS_CURVES_H

#include <stdint.h>

#include "base/status.h"

enum { CURVE_ID_BYTES = 64 };

typedef struct curve {
    char id[CURVE_ID_BYTES];
    double *loss; // [points], owned
} curve;

typedef struct curves {
    int64_t points;
    double *tokens; // [points] at which all have a loss, rising; owned
    int64_t count;
    curve *curve;     // [count], in the order of the file; owned
    int64_t left_out; // candidates without a loss at the last stage: their end is not known
} curves;

// Reads a CSV file whose header names, among others and in any order, the columns `id`, `tokens` and
// `loss`; one row for each candidate and stage, in any order; rows with an empty loss are skipped.
// `coppice report` writes such a file. COP_ERR_FORMAT with the line for anything else, and for two rows of one
// candidate and stage.
COP_MUST_CHECK cop_status curves_read(curves *out, const char *path, cop_error *err);

// The published curves of the Pythia models, version 1, zero-shot, in the folder of reference data: tokens,
// and the logarithm of the perplexity on LAMBADA. Source: Biderman et al., "Pythia: a suite for
// analyzing large language models across training and scaling", 2023; 2,097,152 tokens per step.
COP_MUST_CHECK cop_status curves_read_pythia(curves *out, const char *folder, cop_error *err);

void curves_release(curves *c);

#endif
