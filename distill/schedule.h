// Learning-rate schedules: linear warm-up, then constant or cosine.

#ifndef COP_DISTILL_SCHEDULE_H
#define COP_DISTILL_SCHEDULE_H

#include <stdint.h>

typedef enum cop_schedule_kind { COP_SCHEDULE_COSINE = 0, COP_SCHEDULE_CONSTANT } cop_schedule_kind;

typedef struct cop_schedule {
    cop_schedule_kind kind;
    double peak;
    double minimum;       // COSINE: reached at `steps`
    int64_t warmup_steps; // step i < warmup has peak * (i + 1) / warmup
    int64_t steps;
} cop_schedule;

// Rate of step i = 0, 1, 2 …
double cop_schedule_rate(const cop_schedule *schedule, int64_t step);

#endif
