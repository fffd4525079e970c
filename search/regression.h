// One measured figure as a function of columns: a Gaussian process on standardised outputs or on
// the logarithm of positive ones, whichever has the larger evidence (Jacobians included) while points are few;
// from COP_REGRESSION_SETTLED points on the choice stands.
//
// Predictions are of the figure without its measuring noise, in two forms: latent (standardised,
// perhaps logarithmic: there they are normal) and in the figure's own unit, with the mean and deviation of the
// normal or log-normal distribution that the latent one means.

#ifndef COP_SEARCH_REGRESSION_H
#define COP_SEARCH_REGRESSION_H

#include "search/gaussian.h"

enum { COP_REGRESSION_SETTLED = 150 };

typedef struct cop_regression cop_regression;

COP_MUST_CHECK cop_status cop_regression_create(cop_regression **out, int columns,
                                                const bool *is_word, bool may_use_logarithm,
                                                cop_error *err);
void cop_regression_destroy(cop_regression *model);

// Fits x [count, columns] and y [count], finite, count >= 1, `total` the points known in all. Parameters start from the
// fit before; they are learned again when `total` has grown by an eighth since they were.
COP_MUST_CHECK cop_status cop_regression_fit(cop_regression *model, const double *x,
                                             const double *y, int64_t count, int64_t total,
                                             cop_error *err);

// --- After a fit; not for two threads at once -------------------------------------------------------

bool cop_regression_is_logarithmic(const cop_regression *model);
cop_gaussian *cop_regression_view_gaussian(cop_regression *model);
// A figure as the model sees it; NaN where that is none.
double cop_regression_latent(const cop_regression *model, double y);
double cop_regression_median(const cop_regression *model, double latent);
void cop_regression_moments(const cop_regression *model, double latent_mean, double latent_variance,
                            double *mean, double *deviation);

#endif
