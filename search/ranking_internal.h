// What ranking, agreement and pick share: the figures of one stage.

#ifndef COP_SEARCH_RANKING_INTERNAL_H
#define COP_SEARCH_RANKING_INTERNAL_H

#include "search/ranking.h"
#include "search/resample.h"

// Per-sequence figures of all candidates that finished a stage. Borrowed from the snapshot.
typedef struct cop_stage_figures {
    int stage;
    int64_t count;
    int64_t sequences;
    bool has_teacher;    // every candidate has KL: loss is KL, else cross-entropy
    int64_t *candidate;  // [count] indices into the snapshot, owned
    const double **loss; // [count] of [sequences], owned array of borrowed arrays
} cop_stage_figures;

// COP_ERR_SHAPE when two candidates were judged on different numbers of sequences.
COP_MUST_CHECK cop_status cop_stage_figures_create(cop_stage_figures *out,
                                                   const cop_snapshot *snapshot, int stage,
                                                   cop_error *err);
void cop_stage_figures_release(cop_stage_figures *figures);

// Difference a - b of two loss arrays with its paired interval. `scratch` is [R].
cop_estimate cop_paired_difference(const double *means_a, const double *means_b, double value,
                                   double *scratch, int64_t count);

// Paired differences at one stage, over the same resamples as its ranking.
typedef struct cop_comparison {
    const cop_snapshot *snapshot;
    int stage;
    bool has_teacher;
    cop_resamples resamples;
    double *means; // [3, R]: of either side, and of their difference
    int64_t held;  // candidate whose means are in the second row, -1: none
} cop_comparison;

COP_MUST_CHECK cop_status cop_comparison_create(cop_comparison *out, const cop_snapshot *snapshot,
                                                int stage, uint64_t seed, cop_error *err);
void cop_comparison_release(cop_comparison *comparison);
// Loss of candidate `b` minus that of `a`; both have finished the stage.
cop_estimate cop_comparison_of(cop_comparison *comparison, int64_t b, int64_t a);
// Loss of one candidate.
cop_estimate cop_comparison_loss(const cop_comparison *comparison, int64_t a);

#endif
