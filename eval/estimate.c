// Percentile bootstrap (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13):
// means of sequences drawn with replacement.

#include <gsl/gsl_sort_double.h>
#include <gsl/gsl_statistics_double.h>
#include <inttypes.h>
#include <math.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "eval/evaluate.h"

// Enough that the ends of the interval move by less than 2 % of its width from seed to seed.
enum { RESAMPLES = 2000 };

static double mean_of_draw(cop_rng *rng, const double *values, int64_t count)
{
    double sum = 0.0;
    for (int64_t i = 0; i < count; i++) {
        sum += values[cop_rng_below(rng, (uint64_t)count)];
    }
    return sum / (double)count;
}

cop_status cop_estimate_mean(cop_estimate *out, const double *values, int64_t count, uint64_t seed,
                             cop_error *err)
{
    cop_status status = COP_OK;
    cop_rng *rng = NULL;
    double *means = NULL;
    double sum = 0.0;

    if (count < 1) {
        return COP_FAIL(err, COP_ERR_SHAPE, "estimate: %" PRId64 " values (allowed: at least 1)",
                        count);
    }
    for (int64_t i = 0; i < count; i++) {
        sum += values[i];
    }
    const double mean = sum / (double)count;
    if (count == 1 || !isfinite(mean)) {
        *out = (cop_estimate){mean, mean, mean};
        return COP_OK;
    }
    COP_TRY(status, cop_rng_create(&rng, seed, COP_RNG_BOOTSTRAP, 0, err));
    means = cop_alloc(RESAMPLES, sizeof *means);
    if (means == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "estimate: no memory for %d resamples", RESAMPLES);
        goto done;
    }
    for (int i = 0; i < RESAMPLES; i++) {
        means[i] = mean_of_draw(rng, values, count);
    }
    gsl_sort(means, 1, RESAMPLES);
    *out = (cop_estimate){
        .value = mean,
        .low = gsl_stats_quantile_from_sorted_data(means, 1, RESAMPLES, 0.025),
        .high = gsl_stats_quantile_from_sorted_data(means, 1, RESAMPLES, 0.975),
    };

done:
    cop_free(means);
    cop_rng_destroy(rng);
    return status;
}
