#include <math.h>

#include "base/alloc.h"
#include "prune/importance_internal.h"

cop_status cop_fold_init(cop_fold *fold, int64_t units, cop_error *err)
{
    const size_t count = 3 * (size_t)units;
    *fold = (cop_fold){.units = units};
    fold->sum = cop_alloc(3 * count, sizeof(double));
    if (fold->sum == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "importance: no memory for the sums of %lld units",
                        (long long)units);
    }
    fold->square = fold->sum + count;
    fold->spread = fold->square + count;
    return COP_OK;
}

void cop_fold_release(cop_fold *fold)
{
    cop_free(fold->sum);
    *fold = (cop_fold){0};
}

void cop_fold_next(cop_fold *fold)
{
    fold->sequences++;
}

static void add_value(cop_fold *fold, int64_t at, double value)
{
    const double count = (double)fold->sequences;
    const double old_mean = count > 1.0 ? fold->sum[at] / (count - 1.0) : 0.0;
    fold->sum[at] += value;
    fold->square[at] += value * value;
    fold->spread[at] += (value - old_mean) * (value - fold->sum[at] / count);
}

void cop_fold_add(cop_fold *fold, int64_t first, int64_t units, const double *moments,
                  int64_t tokens)
{
    const double count = (double)tokens;
    for (int64_t i = 0; i < units; i++) {
        const double mean = moments[2 * units + i] / count;
        const double variance = moments[units + i] / count - mean * mean;
        const int64_t at = first + i;
        add_value(fold, COP_AGGREGATE_L2 * fold->units + at, sqrt(moments[units + i]));
        add_value(fold, COP_AGGREGATE_MEAN * fold->units + at, moments[i] / count);
        // Rounding may push the variance of a constant below zero; a NaN must stay one.
        add_value(fold, COP_AGGREGATE_VAR * fold->units + at, variance < 0.0 ? 0.0 : variance);
    }
}

void cop_fold_score(const cop_fold *fold, int aggregate, int64_t first, int64_t units, double *out)
{
    const int64_t at = (aggregate % 3) * fold->units + first;
    const double count = (double)fold->sequences;
    for (int64_t i = 0; i < units; i++) {
        switch ((cop_aggregate)(aggregate / 3)) {
        case COP_AGGREGATE_L2: out[i] += sqrt(fold->square[at + i]); break;
        case COP_AGGREGATE_MEAN: out[i] += fold->sum[at + i] / count; break;
        case COP_AGGREGATE_VAR: out[i] += fold->spread[at + i] / count; break;
        }
    }
}
