// What the commands do with a study whose candidates a program of the user's evaluates
// (search/trials.h).

#ifndef COP_CLI_TRIAL_VIEW_H
#define COP_CLI_TRIAL_VIEW_H

#include "cli/cli.h"
#include "report/trial_report.h"

typedef struct cop_trial_view {
    cop_store *store;
    cop_trial_report report;
} cop_trial_view;

// Is the study in `directory` one with an evaluator?
COP_MUST_CHECK cop_status cop_trial_view_is(bool *out, const char *directory, cop_error *err);
// Reads it, whether a search is running or not. Release in any case.
COP_MUST_CHECK cop_status cop_trial_view_open(cop_trial_view *out, const char *directory,
                                              cop_error *err);
void cop_trial_view_release(cop_trial_view *view);

// A table of the first `rows` of the deepest stage, best first, with up to eight metrics; and how many more
// there are.
void cop_trial_view_ranking(const cop_trial_report *report, int64_t rows);

// Each does its command and prints the result.
COP_MUST_CHECK cop_status cop_trial_view_report(const char *directory, bool is_json, int *code,
                                                cop_error *err);
COP_MUST_CHECK cop_status cop_trial_view_pick(const char *directory, const cop_pick_limit *limits,
                                              int count, bool is_json, int *code, cop_error *err);
// *is_running: some process is at work on the study.
COP_MUST_CHECK cop_status cop_trial_view_status(const char *directory, bool is_json,
                                                bool *is_running, int *code, cop_error *err);
// What a search ends with.
COP_MUST_CHECK cop_status cop_trial_view_summary(const char *directory, bool was_stopped,
                                                 bool is_json, int *code, cop_error *err);
int cop_trial_view_space(const cop_study_file *study, bool is_json);
COP_MUST_CHECK cop_status cop_trial_view_plan(const cop_study_file *study, bool is_json, int *code,
                                              cop_error *err);

#endif
