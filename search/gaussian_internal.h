// What the two halves of the Gaussian process share: conditioning and learning.

#ifndef COP_SEARCH_GAUSSIAN_INTERNAL_H
#define COP_SEARCH_GAUSSIAN_INTERNAL_H

#include "search/gaussian.h"

struct cop_gaussian {
    int columns;
    bool *is_word; // [columns]
    cop_gaussian_parameters parameters;
    double *weight; // [columns]: exp(log_weight), as of the last condition
    double signal;
    double noise;
    int64_t count;
    int64_t capacity;
    double *x;     // [columns, capacity]: column by column
    double *y;     // [capacity]
    double *alpha; // [capacity]: K⁻¹ y
    double *upper; // [count, count]: Uᵀ U = K
    double *row;   // [capacity]: kernel of one point with all
    int64_t upper_capacity;
};

static const double COP_GAUSSIAN_CONSTANT = 1.0;

// row[j] = Σ_d w_d δ_d² between `x` and points 0 … count - 1 of columns [columns, stride].
void cop_gaussian_distances(const cop_gaussian *model, const double *weight, const double *columns,
                            int64_t stride, const double *x, int64_t count, double *row);
// The upper triangle of `matrix` [n, n] becomes U. false when it is not positive definite.
bool cop_gaussian_factorize(double *matrix, int64_t n);
// Solves Uᵀ z = b and U z = b in place.
void cop_gaussian_solve_transposed(const double *upper, int64_t n, double *b);
void cop_gaussian_solve(const double *upper, int64_t n, double *b);
// Minus the logarithm of the prior's density, up to a constant; adds its derivatives to `gradient` [columns + 2]
// unless that is NULL. `log_parameters` are weights, signal, noise.
double cop_gaussian_prior(const double *log_parameters, int columns, double *gradient);

#endif
