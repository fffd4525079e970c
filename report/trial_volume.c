// The hypervolume of a study with an evaluator.

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "report/trial_report.h"

cop_status cop_trial_volume_make(cop_report_volume *out, const cop_trial_report *report, int stage,
                                 bool with_history, cop_error *err)
{
    const cop_trial_stage *results = &report->stage[stage];
    const int objectives = report->space->objectives;
    int64_t count = 0;
    cop_report_point *point = cop_alloc((size_t)results->count + 1, sizeof *point);

    if (point == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", report->directory);
    }
    for (int64_t i = 0; i < results->count; i++) {
        const cop_trial_rank *entry = &results->ranking[i];
        if (entry->violation == 0) {
            point[count].number = entry->index;
            memcpy(point[count].objective, entry->objective,
                   (size_t)objectives * sizeof *entry->objective);
            count++;
        }
    }
    const cop_status status = cop_report_volume_make(out, point, count, objectives,
                                                     report->trials.count, with_history, err);
    out->stage = stage;
    cop_free(point);
    return status;
}
