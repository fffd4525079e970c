#include "search/indicator.h"

#include <math.h>

#include "search/front.h"

static cop_status check(int64_t count, const double *front, int64_t front_count, int objectives,
                        cop_error *err)
{
    if (objectives < 1 || objectives > COP_FRONT_OBJECTIVES_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG, "indicator: objectives: %d (allowed: 1..%d)",
                        objectives, COP_FRONT_OBJECTIVES_MAX);
    }
    if (count < 0 || front_count < 1) {
        return COP_FAIL(err, COP_ERR_CONFIG,
                        "indicator: points: %lld, of the reference front: %lld (allowed: at least "
                        "0, at least 1)",
                        (long long)count, (long long)front_count);
    }
    for (int64_t i = 0; i < front_count * objectives; i++) {
        if (!isfinite(front[i])) {
            return COP_FAIL(err, COP_ERR_CONFIG,
                            "indicator: reference front: objective %d of point %lld: %g (allowed: "
                            "finite numbers)",
                            (int)(i % objectives), (long long)(i / objectives), front[i]);
        }
    }
    return COP_OK;
}

// Squared distance; with `is_plus` of what is worse only.
static double distance(const double *point, const double *target, int objectives, int is_plus)
{
    double sum = 0;
    for (int k = 0; k < objectives; k++) {
        double difference = point[k] - target[k];
        if (isnan(difference)) {
            return (double)INFINITY;
        }
        difference = is_plus && difference < 0 ? 0 : difference;
        sum += difference * difference;
    }
    return sum;
}

static double mean_distance(const double *values, int64_t count, const double *front,
                            int64_t front_count, int objectives, int is_plus)
{
    double sum = 0;
    for (int64_t j = 0; j < front_count; j++) {
        double nearest = (double)INFINITY;
        for (int64_t i = 0; i < count; i++) {
            const double d =
                distance(values + i * objectives, front + j * objectives, objectives, is_plus);
            nearest = d < nearest ? d : nearest;
        }
        sum += sqrt(nearest);
    }
    return sum / (double)front_count;
}

cop_status cop_indicator_igd(double *igd, const double *values, int64_t count, const double *front,
                             int64_t front_count, int objectives, cop_error *err)
{
    const cop_status status = check(count, front, front_count, objectives, err);
    if (status == COP_OK) {
        *igd = mean_distance(values, count, front, front_count, objectives, 0);
    }
    return status;
}

cop_status cop_indicator_igd_plus(double *igd_plus, const double *values, int64_t count,
                                  const double *front, int64_t front_count, int objectives,
                                  cop_error *err)
{
    const cop_status status = check(count, front, front_count, objectives, err);
    if (status == COP_OK) {
        *igd_plus = mean_distance(values, count, front, front_count, objectives, 1);
    }
    return status;
}

// By how much a point must improve to be nowhere worse than the target.
static double shortfall(const double *point, const double *target, int objectives)
{
    double worst = -(double)INFINITY;
    for (int k = 0; k < objectives; k++) {
        const double difference = point[k] - target[k];
        if (isnan(difference)) {
            return (double)INFINITY;
        }
        worst = difference > worst ? difference : worst;
    }
    return worst;
}

cop_status cop_indicator_epsilon(double *epsilon, const double *values, int64_t count,
                                 const double *front, int64_t front_count, int objectives,
                                 cop_error *err)
{
    const cop_status status = check(count, front, front_count, objectives, err);
    if (status != COP_OK) {
        return status;
    }
    double worst = -(double)INFINITY;
    for (int64_t j = 0; j < front_count; j++) {
        double nearest = (double)INFINITY;
        for (int64_t i = 0; i < count; i++) {
            const double s = shortfall(values + i * objectives, front + j * objectives, objectives);
            nearest = s < nearest ? s : nearest;
        }
        worst = nearest > worst ? nearest : worst;
    }
    *epsilon = worst;
    return COP_OK;
}
