#include "search/hypervolume.h"

#include <math.h>

#include "base/alloc.h"
#include "search/hypervolume_internal.h"
#include "search/order.h"

cop_status cop_hypervolume_check(int64_t count, int objectives, const double *reference,
                                 cop_error *err)
{
    if (objectives < 1 || objectives > COP_HYPERVOLUME_OBJECTIVES_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG, "hypervolume: objectives: %d (allowed: 1..%d)",
                        objectives, COP_HYPERVOLUME_OBJECTIVES_MAX);
    }
    if (count < 0 || count > INT32_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG, "hypervolume: points: %lld (allowed: 0..%d)",
                        (long long)count, INT32_MAX);
    }
    for (int k = 0; k < objectives; k++) {
        if (!isfinite(reference[k])) {
            return COP_FAIL(err, COP_ERR_CONFIG,
                            "hypervolume: reference[%d]: %g (allowed: finite numbers)", k,
                            reference[k]);
        }
    }
    return COP_OK;
}

bool cop_hypervolume_counts(const double *value, int objectives, const double *reference)
{
    bool counts = true;
    for (int k = 0; k < objectives; k++) {
        counts = counts && value[k] < reference[k]; // not for a NaN
    }
    return counts;
}

static double volume_one(const double *values, int64_t count, const double *reference)
{
    double lowest = reference[0];
    for (int64_t i = 0; i < count; i++) {
        lowest = values[i] < lowest ? values[i] : lowest;
    }
    return reference[0] - lowest;
}

// By the first objective: each point adds what it has below all before it.
static cop_status volume_two(double *volume, const double *values, int64_t count,
                             const double *reference, cop_error *err)
{
    cop_order *item = cop_alloc((size_t)count, 2 * sizeof *item);
    double sum = 0;
    double lowest = reference[1];
    if (item == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "hypervolume of %lld points: out of memory",
                        (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        item[i] = (cop_order){cop_order_key(values[2 * i]), i};
    }
    cop_order_sort(item, item + count, count);
    for (int64_t i = 0; i < count; i++) {
        const double *point = values + 2 * item[i].index;
        if (point[1] < lowest) {
            sum += (reference[0] - point[0]) * (lowest - point[1]);
            lowest = point[1];
        }
    }
    cop_free(item);
    *volume = sum;
    return COP_OK;
}

cop_status cop_hypervolume_finite(double *volume, const double *values, int64_t count,
                                  int objectives, const double *reference, cop_error *err)
{
    if (count == 0) {
        *volume = 0;
        return COP_OK;
    }
    switch (objectives) {
    case 1: *volume = volume_one(values, count, reference); return COP_OK;
    case 2: return volume_two(volume, values, count, reference, err);
    default: return cop_hypervolume_sweep(volume, values, count, objectives, reference, err);
    }
}

cop_status cop_hypervolume(double *volume, const double *values, int64_t count, int objectives,
                           const double *reference, cop_error *err)
{
    cop_status status = cop_hypervolume_check(count, objectives, reference, err);
    if (status != COP_OK) {
        return status;
    }
    double *kept = cop_alloc((size_t)count * (size_t)objectives + 1, sizeof *kept);
    int64_t kept_count = 0;
    bool is_infinite = false;
    if (kept == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "hypervolume of %lld points: out of memory",
                        (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        const double *value = values + i * objectives;
        if (cop_hypervolume_counts(value, objectives, reference)) {
            for (int k = 0; k < objectives; k++) {
                kept[kept_count * objectives + k] = value[k];
                is_infinite = is_infinite || isinf(value[k]);
            }
            kept_count++;
        }
    }
    if (is_infinite) {
        *volume = (double)INFINITY;
    } else {
        status = cop_hypervolume_finite(volume, kept, kept_count, objectives, reference, err);
        if (status == COP_OK && isnan(*volume)) {
            *volume = (double)INFINITY; // it overflows
        }
    }
    cop_free(kept);
    return status;
}

cop_status cop_hypervolume_normalized(double *volume, const double *values, int64_t count,
                                      int objectives, const double *minimum, const double *maximum,
                                      double reference, cop_error *err)
{
    double references[COP_HYPERVOLUME_OBJECTIVES_MAX];
    for (int k = 0; k < COP_HYPERVOLUME_OBJECTIVES_MAX; k++) {
        references[k] = reference;
    }
    cop_status status = cop_hypervolume_check(count, objectives, references, err);
    for (int k = 0; k < objectives && status == COP_OK; k++) {
        if (!isfinite(maximum[k] - minimum[k]) || minimum[k] > maximum[k]) {
            status =
                COP_FAIL(err, COP_ERR_CONFIG,
                         "hypervolume: bounds of objective %d: %g..%g (allowed: finite range, the "
                         "lower first)",
                         k, minimum[k], maximum[k]);
        }
    }
    if (status != COP_OK) {
        return status;
    }
    double *scaled = cop_alloc((size_t)count * (size_t)objectives + 1, sizeof *scaled);
    if (scaled == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "hypervolume of %lld points: out of memory",
                        (long long)count);
    }
    for (int64_t i = 0; i < count * objectives; i++) {
        const double low = minimum[i % objectives];
        const double high = maximum[i % objectives];
        scaled[i] = high > low ? (values[i] - low) / (high - low) : values[i] - low;
    }
    status = cop_hypervolume(volume, scaled, count, objectives, references, err);
    cop_free(scaled);
    return status;
}
