#include "distill/schedule.h"

#include <math.h>

double cop_schedule_rate(const cop_schedule *schedule, int64_t step)
{
    if (step < schedule->warmup_steps) {
        return schedule->peak * (double)(step + 1) / (double)schedule->warmup_steps;
    }
    if (schedule->kind == COP_SCHEDULE_CONSTANT) {
        return schedule->peak;
    }
    if (step >= schedule->steps) {
        return schedule->minimum;
    }
    // step < steps and step >= warmup, so that the span is at least 1.
    const double span = (double)(schedule->steps - schedule->warmup_steps);
    const double done = (double)(step - schedule->warmup_steps) / span;
    const double share = 0.5 * (1.0 + cos(3.14159265358979323846 * done));
    return schedule->minimum + (schedule->peak - schedule->minimum) * share;
}
