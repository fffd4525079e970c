#include "search/resample.h"

#include <math.h>

#include "base/alloc.h"
#include "base/rng.h"

cop_status cop_resamples_create(cop_resamples *out, int64_t sequences, int64_t count, uint64_t seed,
                                uint64_t purpose, cop_error *err)
{
    cop_status status = COP_OK;
    cop_rng *rng = NULL;
    *out = (cop_resamples){.sequences = sequences, .count = count};
    if (sequences < 1 || sequences > INT32_MAX || count < 1) {
        return COP_FAIL(err, COP_ERR_SHAPE, "resampling: %lld sequences (allowed: 1..%d)",
                        (long long)sequences, INT32_MAX);
    }
    out->index = cop_alloc((size_t)(sequences * count), sizeof *out->index);
    if (out->index == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "resampling: out of memory");
    }
    COP_TRY(status, cop_rng_create(&rng, seed, COP_RNG_BOOTSTRAP, purpose, err));
    for (int64_t i = 0; i < sequences * count; i++) {
        out->index[i] = (int32_t)cop_rng_below(rng, (uint64_t)sequences);
    }
done:
    cop_rng_destroy(rng);
    if (status != COP_OK) {
        cop_resamples_release(out);
    }
    return status;
}

void cop_resamples_release(cop_resamples *resamples)
{
    cop_free(resamples->index);
    *resamples = (cop_resamples){0};
}

void cop_resamples_means(double *means, const cop_resamples *resamples, const double *values)
{
    const int64_t sequences = resamples->sequences;
    for (int64_t r = 0; r < resamples->count; r++) {
        const int32_t *index = resamples->index + r * sequences;
        double sum = 0;
        for (int64_t s = 0; s < sequences; s++) {
            sum += values[index[s]];
        }
        means[r] = sum / (double)sequences;
    }
}

// Puts the value of rank `n` at its place, smaller ones before it, larger ones behind it (Hoare's
// selection): two quantiles cost a tenth of a sort.
static void select_rank(double *values, int64_t count, int64_t n)
{
    int64_t low = 0;
    int64_t high = count - 1;
    while (low < high) {
        const double pivot = values[low + (high - low) / 2];
        int64_t i = low;
        int64_t j = high;
        while (i <= j) {
            while (values[i] < pivot) {
                i++;
            }
            while (values[j] > pivot) {
                j--;
            }
            if (i <= j) {
                const double swapped = values[i];
                values[i++] = values[j];
                values[j--] = swapped;
            }
        }
        if (n <= j) {
            high = j;
        } else if (n >= i) {
            low = i;
        } else {
            return;
        }
    }
}

// Quantile by linear interpolation between ranks (type 7).
static double quantile(double *values, int64_t count, double share)
{
    const double at = share * (double)(count - 1);
    const int64_t below = (int64_t)at;
    const double part = at - (double)below;
    select_rank(values, count, below);
    const double first = values[below];
    double second = first; // the smallest of what lies behind
    for (int64_t i = below + 1; i < count; i++) {
        second = i == below + 1 || values[i] < second ? values[i] : second;
    }
    return first + part * (second - first);
}

cop_estimate cop_resamples_interval(double value, double *means, int64_t count)
{
    cop_estimate out = {value, (double)NAN, (double)NAN};
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(means[i])) {
            return out;
        }
    }
    if (count > 0) {
        // The mean of all lies inside for all but rounding: an interval never excludes its value.
        out.low = fmin(quantile(means, count, 0.025), value);
        out.high = fmax(quantile(means, count, 0.975), value);
    }
    return out;
}

double cop_resamples_mean(const double *values, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += values[i];
    }
    return sum / (double)count;
}

bool cop_estimate_holds_zero(const cop_estimate *difference)
{
    return difference->low <= 0 && difference->high >= 0;
}
