// Gaussian process regression with one length scale per column (automatic relevance determination).
//
//     k(x, z) = c + s² exp(-½ Σ_d w_d δ_d²) + σ² [x and z are one observation],   c = 1
//
// where δ_d is the difference of column d, or 0 / 1 for columns of words; columns are expected to span about
// [0, 1] and outputs to have mean 0 and variance 1: the constant c stands for an unknown mean.
// w, s² and σ² maximise the marginal likelihood times a prior (Rasmussen & Williams, "Gaussian Processes for
// Machine Learning", 2006, sections 2.2 and 5.4.1), by BFGS on their logarithms. The prior of a length
// scale 1 / sqrt(w) is log-normal around 2 sqrt(columns): with many columns each has little to say until data
// disagree (Hvarfner, Hellsten & Nardi, "Vanilla Bayesian Optimization Performs Great in High Dimensions", 2024,
// which scales the prior so; the constants here are ours).
//
// Sums are of fixed order and use no BLAS: results do not depend on its threads.

#ifndef COP_SEARCH_GAUSSIAN_H
#define COP_SEARCH_GAUSSIAN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { COP_GAUSSIAN_FIT_POINTS = 192 }; // the parameters are learned from at most so many points

typedef struct cop_gaussian cop_gaussian;

typedef struct cop_gaussian_parameters {
    double *log_weight; // [columns]
    double log_signal;  // log s²
    double log_noise;   // log σ²
} cop_gaussian_parameters;

// `is_word` [columns], copied: NULL for none. COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_gaussian_create(cop_gaussian **out, int columns, const bool *is_word,
                                              cop_error *err);
void cop_gaussian_destroy(cop_gaussian *model);

// Copies `count` >= 1 points x [count, columns] and their outputs y [count].
COP_MUST_CHECK cop_status cop_gaussian_set(cop_gaussian *model, const double *x, const double *y,
                                           int64_t count, cop_error *err);
// Borrowed; the caller may change it before cop_gaussian_condition().
cop_gaussian_parameters *cop_gaussian_view_parameters(cop_gaussian *model);
// Improves the parameters by at most `steps` steps of BFGS from where they are, on every
// ceil(count / COP_GAUSSIAN_FIT_POINTS)-th point.
COP_MUST_CHECK cop_status cop_gaussian_learn(cop_gaussian *model, int steps, cop_error *err);
// Conditions on the points; noise is raised where the matrix is singular in floating point. Returns the logarithm of the
// marginal likelihood through *log_evidence (may be NULL), the prior of the parameters included.
COP_MUST_CHECK cop_status cop_gaussian_condition(cop_gaussian *model, double *log_evidence,
                                                 cop_error *err);

// --- After conditioning; not for two threads at once ------------------------------------------------

int64_t cop_gaussian_count(const cop_gaussian *model);
double cop_gaussian_noise(const cop_gaussian *model); // σ²
// The expected noise-free output, O(count columns).
double cop_gaussian_mean(cop_gaussian *model, const double *x);
// At point `index` of those conditioned on, O(1).
double cop_gaussian_mean_at(const cop_gaussian *model, int64_t index);
// Also its variance, O(count²). `root` [count] receives L⁻¹ k(X, x), so that the covariance of two predictions
// is k(x, z) - root_x · root_z.
double cop_gaussian_predict(cop_gaussian *model, const double *x, double *root, double *variance);
double cop_gaussian_kernel(const cop_gaussian *model, const double *x, const double *z);

#endif
