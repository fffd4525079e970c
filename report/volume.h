// The hypervolume of a study's front, and how it grew in the order in which candidates were proposed.

#ifndef COP_REPORT_VOLUME_H
#define COP_REPORT_VOLUME_H

#include <jansson.h>
#include <stdbool.h>

#include "search/front.h"

enum { COP_REPORT_HISTORY_MAX = 100 };

// In every objective, on the scale of 0 … 1.
#define COP_REPORT_VOLUME_REFERENCE 1.1

// Of the feasible results of a stage, each objective scaled to 0 … 1 by their range.
typedef struct cop_report_volume {
    int stage;
    double value; // NaN: none, or not computed
    double minimum[COP_FRONT_OBJECTIVES_MAX];
    double maximum[COP_FRONT_OBJECTIVES_MAX];
    int points; // of the history
    int64_t evaluations[COP_REPORT_HISTORY_MAX];
    double history[COP_REPORT_HISTORY_MAX];
} cop_report_volume;

// A feasible result.
typedef struct cop_report_point {
    int64_t number; // in the order proposed, from 0
    double objective[COP_FRONT_OBJECTIVES_MAX];
} cop_report_point;

// Volume of the points, which it reorders; points that are not finite in an objective do not count. With
// `with_history` its growth with the evaluations, too: `evaluations` is the number of all that were asked for,
// results or not. NaN where it is not defined or would take long: without points, with more than four
// objectives. COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_report_volume_make(cop_report_volume *out, cop_report_point *point,
                                                 int64_t count, int objectives, int64_t evaluations,
                                                 bool with_history, cop_error *err);

// {stage, value, reference, minimum, maximum, definition, history_stage, history}; null without a value.
json_t *cop_report_json_volume(const cop_report_volume *volume, const cop_report_volume *growth,
                               int objectives);

#endif
