// Paired bootstrap over held-out sequences: one table of resamples serves all candidates of a comparison,
// so that what is common to them (an easy or a hard sequence) cancels in their differences.
//
// Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13: percentile
// intervals.

#ifndef COP_SEARCH_RESAMPLE_H
#define COP_SEARCH_RESAMPLE_H

#include "eval/evaluate.h"

// What a table is drawn for: the index of its random stream, so that tables are unrelated.
enum {
    COP_RESAMPLE_STAGE = 1000,     // + stage: ranking, and everything compared at that stage
    COP_RESAMPLE_AGREEMENT = 2000, // + 16 * from stage + to stage
    COP_RESAMPLE_CURVES = 3000     // + 2 * stage + curve: predicted ends (search/hopeless.h)
};

typedef struct cop_resamples {
    int64_t sequences; // S
    int64_t count;     // R
    int32_t *index;    // [R, S], owned
} cop_resamples;

// Draws R = `count` resamples of S = `sequences` >= 1 with replacement.
COP_MUST_CHECK cop_status cop_resamples_create(cop_resamples *out, int64_t sequences, int64_t count,
                                               uint64_t seed, uint64_t purpose, cop_error *err);
void cop_resamples_release(cop_resamples *resamples);

// Mean of each resample of `values` [S] into `means` [R].
void cop_resamples_means(double *means, const cop_resamples *resamples, const double *values);

// Percentile interval at 95 % around `value`. Reorders `means` [count]; NaN when any of it is NaN.
cop_estimate cop_resamples_interval(double value, double *means, int64_t count);

// Plain mean; the order of summation is fixed, so it repeats bit for bit.
double cop_resamples_mean(const double *values, int64_t count);

// Does the interval of a difference hold 0? Then the two are a tie.
bool cop_estimate_holds_zero(const cop_estimate *difference);

#endif
