// What status, report and pick share: a study opened for reading, and how its figures are printed.

#ifndef COP_CLI_STUDY_VIEW_H
#define COP_CLI_STUDY_VIEW_H

#include "cli/cli.h"
#include "report/report.h"

typedef struct cop_study_view {
    cop_store *store;
    cop_snapshot snapshot;
    cop_report report; // empty without cop_study_view_analyse()
} cop_study_view;

// Reads <directory>/study.db, whether a search is running or not. Release in any case.
COP_MUST_CHECK cop_status cop_study_view_open(cop_study_view *out, const char *directory,
                                              cop_error *err);
COP_MUST_CHECK cop_status cop_study_view_analyse(cop_study_view *view, const char *directory,
                                                 cop_error *err);
void cop_study_view_release(cop_study_view *view);

enum { COP_ESTIMATE_TEXT_BYTES = 64 };

// "0.4397 [0.4080, 0.4701]", or "-" when it is not finite. `out` has COP_ESTIMATE_TEXT_BYTES bytes.
char *cop_study_view_estimate(char *out, const cop_estimate *estimate);

// "pruned, no training" or "rung 2, 2.00M tokens". `out` has COP_ESTIMATE_TEXT_BYTES bytes.
char *cop_study_view_stage(char *out, int stage, int64_t tokens);

// A table of the first `rows` entries of a ranking, best first: rank with ties, sizes, loss with interval,
// distance to the best, what the front and the pick are.
void cop_study_view_ranking(const cop_report *report, const cop_ranking *ranking, int64_t rows);

#endif
