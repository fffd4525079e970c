#include <math.h>

#include "base/alloc.h"
#include "search/front.h"
#include "search/order.h"

// A value within the range of the finite ones.
static double clamp(double value, double low, double high)
{
    return value > low ? (value < high ? value : high) : low; // a NaN never gets here
}

// Adds what one objective contributes to a front, whose items are in the order of its values. Halves, so that
// the distance of two finite values cannot overflow.
static void add_gaps(double *distance, const double *values, int objectives, const cop_order *item,
                     int64_t count)
{
    int64_t first = 0; // finite values: item[first … last]
    int64_t last = count - 1;
    while (first < count && !isfinite(values[item[first].index * objectives])) {
        first++;
    }
    while (last >= first && !isfinite(values[item[last].index * objectives])) {
        last--;
    }
    const double low = first <= last ? values[item[first].index * objectives] : 0;
    const double high = first <= last ? values[item[last].index * objectives] : 0;
    const double range = high / 2 - low / 2;
    if (!(range > 0)) {
        return;
    }
    for (int64_t i = 1; i + 1 < count; i++) {
        const double before = values[item[i - 1].index * objectives];
        const double after = values[item[i + 1].index * objectives];
        const double from = i - 1 > last ? high : clamp(before, low, high);
        const double to = i + 1 > last ? high : clamp(after, low, high);
        distance[item[i].index] += (to / 2 - from / 2) / range;
    }
    distance[item[0].index] = (double)INFINITY;
    distance[item[count - 1].index] = (double)INFINITY;
}

// Moves items to the order of their ranks, keeping their order within each; start[k] is the end of rank k
// afterwards.
static void group(cop_order *to, const cop_order *from, const int64_t *rank, int64_t *start,
                  int64_t count)
{
    for (int64_t k = 0; k < count; k++) {
        start[k] = 0;
    }
    for (int64_t i = 0; i < count; i++) {
        if (rank[i] + 1 < count) {
            start[rank[i] + 1]++;
        }
    }
    for (int64_t k = 1; k < count; k++) {
        start[k] += start[k - 1];
    }
    for (int64_t i = 0; i < count; i++) {
        to[start[rank[from[i].index]]++] = from[i];
    }
}

static void add_objective(double *distance, const double *values, const int64_t *rank,
                          cop_order *item, cop_order *scratch, int64_t *start, int64_t count,
                          int objectives)
{
    for (int64_t i = 0; i < count; i++) {
        item[i] = (cop_order){cop_order_key(values[i * objectives]), i};
    }
    cop_order_sort(item, scratch, count);
    if (rank == NULL) {
        add_gaps(distance, values, objectives, item, count);
        return;
    }
    group(scratch, item, rank, start, count);
    for (int64_t k = 0, at = 0; k < count && at < count; k++) {
        add_gaps(distance, values, objectives, scratch + at, start[k] - at);
        at = start[k];
    }
}

// Fronts of one or two points have no inner points.
static void fill_small(double *distance, const int64_t *rank, int64_t *size, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        size[rank != NULL ? rank[i] : 0]++;
    }
    for (int64_t i = 0; i < count; i++) {
        distance[i] = size[rank != NULL ? rank[i] : 0] <= 2 ? (double)INFINITY : 0;
    }
}

cop_status cop_front_crowding(double *distance, const double *values, const int64_t *rank,
                              int64_t count, int objectives, cop_error *err)
{
    cop_status status = cop_front_check(count, objectives, err);
    if (status != COP_OK || count == 0) {
        return status;
    }
    for (int64_t i = 0; rank != NULL && i < count; i++) {
        if (rank[i] < 0 || rank[i] >= count) {
            return COP_FAIL(err, COP_ERR_CONFIG, "crowding: rank[%lld]: %lld (allowed: 0..%lld)",
                            (long long)i, (long long)rank[i], (long long)count - 1);
        }
    }
    cop_order *item = cop_alloc((size_t)count, sizeof *item);
    cop_order *scratch = cop_alloc((size_t)count, sizeof *scratch);
    int64_t *start = cop_alloc((size_t)count, sizeof *start);
    if (item == NULL || scratch == NULL || start == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "crowding of %lld points: out of memory",
                          (long long)count);
        goto done;
    }
    fill_small(distance, rank, start, count);
    for (int k = 0; k < objectives; k++) {
        add_objective(distance, values + k, rank, item, scratch, start, count, objectives);
    }
done:
    cop_free(item);
    cop_free(scratch);
    cop_free(start);
    return status;
}
