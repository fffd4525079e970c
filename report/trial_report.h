// A study with an evaluator as figures to decide from: stages, ranks, the front, its hypervolume, the pick.
// Written as report.html, report.json and candidates.csv.
//
// Everything but provenance is a function of the results: neither the number of workers nor an interruption
// changes it. Figures of different stages are never in one ranking.

#ifndef COP_REPORT_TRIAL_REPORT_H
#define COP_REPORT_TRIAL_REPORT_H

#include <jansson.h>

#include "base/text.h"
#include "report/volume.h"
#include "search/trials.h"

enum { COP_TRIAL_TEXT_BYTES = 512 };

typedef struct cop_trial_stage {
    double fidelity;
    cop_trial_rank *ranking; // best first; owned
    char *decision; // [count] as of cop_trials_promote(); NULL: not decided, or the last stage
    int64_t count;  // results
    int64_t entered;
    int64_t promoted;
    int64_t rescued;
    int64_t failed;
    double seconds; // of all results together
} cop_trial_stage;

// What became of a trial.
typedef struct cop_trial_place {
    cop_candidate_state state;
    int stage;     // the deepest with a result; -1: none
    int64_t entry; // in that stage's ranking
    int64_t rank;  // there, from 1; shared by equals
    bool is_on_front;
} cop_trial_place;

typedef struct cop_trial_pick {
    int64_t index;     // of the trial
    int64_t runner_up; // -1: none
    int64_t eligible;  // that meet all bounds and limits
    char reason[COP_TRIAL_TEXT_BYTES];
} cop_trial_pick;

typedef struct cop_trial_report {
    cop_trials trials;           // without results of stages that the study does not have
    cop_study_file *study;       // its own copy of the file; owned
    const cop_free_space *space; // of the study
    char name[128];
    char directory[1024];
    bool is_finished;
    int first;  // stage at whose end the strategy is told
    int stages; // that the study plans: first … stages - 1
    cop_trial_stage stage[COP_TRIAL_STAGES_MAX];
    int deepest;                         // with a result; -1: none
    cop_trial_place *place;              // [trials.count]; owned
    int64_t front_count;                 // the first so many of the deepest stage's ranking
    char (*metric)[COP_FREE_NAME_BYTES]; // objectives, bounded ones, all others by name; owned
    int64_t metrics;
    cop_report_volume volume;  // of the deepest stage
    cop_report_volume history; // of the first
    bool has_pick;
    cop_trial_pick pick;
    int64_t evaluations; // results of all stages
    double tokens;       // their fidelities together
    int64_t failures;
    double seconds;
} cop_trial_report;

// Reads the study in `directory`: its database, which `store` is, and its study.yaml. Release in any case.
COP_MUST_CHECK cop_status cop_trial_report_create(cop_trial_report *out, cop_store *store,
                                                  const char *directory, cop_error *err);
void cop_trial_report_release(cop_trial_report *report);

// The trial with the lowest first objective among the feasible ones of the deepest stage that meet the
// limits; ties go to the lower next objective, then to the one proposed first. COP_ERR_CONFIG for an
// unknown metric, or when there is none (naming the nearest).
COP_MUST_CHECK cop_status cop_trial_pick_make(cop_trial_pick *out, const cop_trial_report *report,
                                              const cop_pick_limit *limits, int count,
                                              cop_error *err);

// The entry of a trial in the ranking of its stage; NULL without a result.
const cop_trial_rank *cop_trial_report_entry(const cop_trial_report *report, int64_t index);
// What was measured at its deepest stage; NULL without a result.
const cop_trial_result *cop_trial_report_result(const cop_trial_report *report, int64_t index);
// Why a trial failed, without the number of the process that said so; "" when it did not.
const char *cop_trial_report_reason(const cop_trial_report *report, int64_t index);

// Volume of the front of a stage; with `with_history` its growth with the evaluations, too. NaN where it is
// not defined or would take long: without two feasible points, with more than four objectives.
COP_MUST_CHECK cop_status cop_trial_volume_make(cop_report_volume *out,
                                                const cop_trial_report *report, int stage,
                                                bool with_history, cop_error *err);

// The document of report.json (docs/study.md). Owned by the caller.
COP_MUST_CHECK cop_status cop_trial_json(json_t **out, const cop_trial_report *report,
                                         cop_error *err);
// One trial with its figures, as in "candidates" of the document.
json_t *cop_trial_json_candidate(const cop_trial_report *report, int64_t index);
// A number that is whole as an integer; what is not finite is null.
json_t *cop_trial_json_number(double value);
// {size, axes: [{name, values, from, to or words}], bounds: [{metric, min, max}]}
json_t *cop_trial_json_space(const cop_free_space *space);

// candidates.csv, RFC 4180: a header and one row for each trial.
COP_MUST_CHECK cop_status cop_trial_csv(cop_text *out, const cop_trial_report *report,
                                        cop_error *err);
// One page that needs neither network nor scripts.
COP_MUST_CHECK cop_status cop_trial_html(cop_text *out, const cop_trial_report *report,
                                         cop_error *err);
// Its pictures: the first two objectives of the deepest stage (of one objective, its course), and the history
// of the hypervolume. Nothing where there is nothing to see.
void cop_trial_picture_front(cop_text *out, const cop_trial_report *report);
void cop_trial_picture_history(cop_text *out, const cop_trial_report *report);

// Writes the three files into `directory`, each atomically.
COP_MUST_CHECK cop_status cop_trial_report_write(const cop_trial_report *report,
                                                 const char *directory, cop_error *err);

#endif
