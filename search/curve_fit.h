// Learning curves: what a probe's loss will be at more tokens than it was given, with an interval.
//
//     loss(t) = a + b t^-c        a power law that falls to a floor: b > 0, c > 0
//
// Source: the form is that of Hestness et al., "Deep learning scaling is predictable, empirically", 2017, for
// data; curves of one training follow it behind their warm-up, and only there: leave out the first points. It is
// fitted by nonlinear least squares (GSL, Levenberg-Marquardt with geodesic acceleration off), weighted. The
// parameters are those of Ross, "Nonlinear estimation", 1990: the loss at the last point, log of the fall from the
// first to the last, log of c; unlike a, b and c themselves they are nearly independent, also where c is
// near 0 and the floor is anywhere (it may come out negative: such data do not show it). Start values come
// from a grid of c, for each of which the rest is linear.
//
// Fewer points, fewer parameters: from 4 on the form above; with 2 or 3 the same without a floor, b t^-c, which
// predicts too low rather than too high, so that nothing is stopped early for want of points; a constant
// for 1 point or a loss that does not fall.
//
// Interval: delta method. Variance of the prediction = gradient' covariance gradient + scatter^2, with
// Student's t of points - parameters degrees of freedom. It covers the noise of a measurement at the target and
// of the parameters; not that a curve may bend away from the form (a learning rate that decays does that), so it
// holds for targets a few times beyond the last point.

#ifndef COP_SEARCH_CURVE_FIT_H
#define COP_SEARCH_CURVE_FIT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { COP_CURVE_PARAMETERS = 3 };

// What is concluded from a curve is wrong with at most this probability, if the form holds.
#define COP_CURVE_HOPELESS 0.05

typedef enum cop_curve_form {
    COP_CURVE_NONE,     // no usable point
    COP_CURVE_CONSTANT, // one point, or a loss that does not fall
    COP_CURVE_POWER,    // b t^-c
    COP_CURVE_FLOOR     // a + b t^-c
} cop_curve_form;

typedef struct cop_curve_fit {
    cop_curve_form form;
    int64_t points;  // used
    int64_t ignored; // not finite, or at t <= 0
    double freedom;  // points - parameters; 0: intervals are infinite; infinity: a known value
    double floor;    // a
    double scale;    // b
    double exponent; // c
    double scatter;  // standard deviation of a residual of weight 1
    bool is_converged;
    // The exponent is known to less than a factor of 7 either way (two standard errors) and inside its range;
    // a floor read off a fit that is not means nothing, its predictions still have an interval.
    bool is_identifiable;
    // For predictions: points lie in first … last; parameters as above, their covariance.
    double first;
    double last;
    double parameter[COP_CURVE_PARAMETERS];
    double covariance[COP_CURVE_PARAMETERS][COP_CURVE_PARAMETERS];
} cop_curve_fit;

typedef struct cop_curve_prediction {
    double value;
    double low; // 95 %
    double high;
    double error;   // standard error of a measurement there
    double freedom; // of its Student distribution
} cop_curve_prediction;

// Fits `n` >= 0 points in any order: tokens (any unit), loss, weight (>= 0, in proportion to 1/variance;
// NULL: equal). Points that are not finite, without weight, or at tokens <= 0 are ignored. Poor data are
// flags, not errors: COP_ERR_NOMEM only. Needs no more than 1 ms for 100 points. Repeatable bit for bit on a
// machine.
COP_MUST_CHECK cop_status cop_curve_fit_make(cop_curve_fit *out, const double *tokens,
                                             const double *loss, const double *weight, int64_t n,
                                             cop_error *err);

// A loss that was measured at the target itself, with its standard error (0: exact).
cop_curve_fit cop_curve_measured(double loss, double error);

// The loss at `tokens` > 0. NaN throughout without a form; low and high infinite without freedom.
cop_curve_prediction cop_curve_predict(const cop_curve_fit *fit, double tokens);

// P(loss of the candidate <= loss of the incumbent) at `tokens`: both are predictive Student distributions,
// taken as independent (shared evaluation noise makes the truth sharper), their difference has the
// degrees of freedom of Welch and Satterthwaite. NaN when one is unknown or has no freedom.
double cop_curve_probability(const cop_curve_fit *candidate, const cop_curve_fit *incumbent,
                             double tokens);

// Can the candidate be given up, since it reaches the incumbent with probability below COP_CURVE_HOPELESS?
// Never when a fit did not converge, or the probability is NaN. The probability is that of one test: asked
// after every evaluation, a search errs more often than that. The incumbent is the `keep`-th best of
// those that compete: cop_curve_kth().
bool cop_curve_is_hopeless(const cop_curve_fit *candidate, const cop_curve_fit *incumbent,
                           double tokens);

// Index of the fit with the `keep`-th lowest prediction at `tokens` (ties: the earlier one); -1 when fewer
// have one. COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_curve_kth(int64_t *out, const cop_curve_fit *fits, int64_t count,
                                        int64_t keep, double tokens, cop_error *err);

#endif
