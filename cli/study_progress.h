// How far the study of a teacher is, from what is stored of it.

#ifndef COP_CLI_STUDY_PROGRESS_H
#define COP_CLI_STUDY_PROGRESS_H

#include "cli/study_view.h"
#include "report/report.h"

typedef struct cop_stage_progress {
    int64_t total; // candidates that enter; 0: not known yet
    int64_t done;
    int64_t failed;
    int64_t untimely; // left out for a measured latency before they were evaluated
    int64_t tokens;   // cumulative, of each; -1: not known
    double seconds;
    int64_t spent; // tokens
} cop_stage_progress;

typedef struct cop_study_progress {
    const char *state; // "running", "stopped", "finished"
    char owner[160];
    int stages;
    int current; // stage at work or next; -1: all done
    cop_stage_progress stage[COP_REPORT_STAGES_MAX];
    bool has_strategy; // other than the grid: candidates are still being proposed while it runs
    char strategy[16];
    int fidelity;      // stage that it learns from
    int64_t batches;   // proposed
    int64_t planned;   // candidates that it will have proposed at its end
    int64_t evaluated; // up to that stage, the failed ones included
    int64_t running;   // index of the candidate at work, -1: none
    int64_t evaluations;
    int64_t tokens;
    double seconds;
    double eta_seconds;  // NaN: not computable
    cop_ranking ranking; // of the deepest stage, by loss
    int64_t front;       // how many of it are not dominated
} cop_study_progress;

// Release in any case.
COP_MUST_CHECK cop_status cop_study_progress_measure(cop_study_progress *out,
                                                     const cop_snapshot *snapshot,
                                                     const char *directory, cop_error *err);
void cop_study_progress_release(cop_study_progress *progress);

#endif
