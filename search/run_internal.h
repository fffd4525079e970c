// A running study: what its opening, its probes and its promotions share.

#ifndef COP_SEARCH_RUN_INTERNAL_H
#define COP_SEARCH_RUN_INTERNAL_H

#include "base/log.h"
#include "distill/teacher_cache.h"
#include "prune/resident.h"
#include "search/footprint.h"
#include "search/search.h"

typedef struct cop_run {
    const cop_study_file *study;
    const cop_search_options *options;
    cop_store *store;
    void *log; // FILE * of <directory>/log, appended to; NULL before it is open
    cop_backend *backend;

    cop_checkpoint *teacher;
    cop_tokens *train;
    cop_tokens *validation;
    cop_sampler *train_sampler;
    cop_sampler *held_sampler;
    int64_t held_count;
    cop_importance *importance; // NULL with random order
    bool is_resident;           // the teacher's weights fit on the device beside all else
    cop_resident *resident;     // NULL: candidates are cut from the checkpoint
    cop_teacher_model *teacher_model;
    cop_teacher_states *train_states;   // for the rung at hand; NULL with cross-entropy alone
    cop_teacher_samples *train_samples; // instead of train_states
    cop_teacher_states *held_states;
    cop_hash inputs; // of teacher, importance and selection: what a probe starts from

    cop_candidate *candidates; // feasible ones, grid order; owned
    int64_t count;
    cop_space_report report;
    cop_footprint footprint;
    cop_snapshot snapshot; // as of the start of the stage

    cop_progress progress; // tokens of the whole study
    int64_t tokens_done;
    char what[96];
    bool is_stopped;
} cop_run;

// --- run_open.c: everything up to the first stage ------------------------------------------------

// Directory, database and identity; data, teacher, importance, states of held-out text.
COP_MUST_CHECK cop_status cop_run_open(cop_run *run, cop_error *err);
void cop_run_close(cop_run *run);

// A line to the log sink and, with the date, to <directory>/log.
void cop_run_note(cop_run *run, cop_log_level level, const char *format, ...) COP_PRINTF(3, 4);

// --- run_identity.c: is the directory this study's? ----------------------------------------------

// Compares every setting and hash with the stored ones, storing them when the study is new.
COP_MUST_CHECK cop_status cop_run_identify(cop_run *run, cop_error *err);
// Stores the absolute form of a path.
COP_MUST_CHECK cop_status cop_run_set_path(cop_run *run, const char *key, const char *path,
                                           cop_error *err);
// Stores `value` under `key`; when something else is stored already, the study is another one:
// COP_ERR_CONFIG naming `what`.
COP_MUST_CHECK cop_status cop_run_claim(cop_run *run, const char *key, const char *what,
                                        const char *value, cop_error *err);
COP_MUST_CHECK cop_status cop_run_set_i64(cop_run *run, const char *key, int64_t value,
                                          cop_error *err);
// The stored text of `key` equals `value`?
COP_MUST_CHECK cop_status cop_run_is(cop_run *run, const char *key, const char *value, bool *out,
                                     cop_error *err);

// --- run_probe.c: one candidate at one stage ------------------------------------------------------

// Evaluates a candidate and records it, or marks it failed. Sets run->is_stopped when asked to stop;
// the stage is then recorded only if it was finished.
COP_MUST_CHECK cop_status cop_run_candidate(cop_run *run, int64_t index, int stage, cop_error *err);

// "<directory>/checkpoints/<id>", owned; NULL when memory is exhausted.
char *cop_run_checkpoint_path(const cop_run *run, const char *id);

// The candidate got further: attempts that the process did not survive count from here.
COP_MUST_CHECK cop_status cop_run_reset_stalled(cop_run *run, cop_error *err);

bool cop_run_should_stop(const cop_run *run);

// --- run_train.c ----------------------------------------------------------------------------------

// Trains `network` from its saved state, or from the pruned teacher, to the end of a rung.
COP_MUST_CHECK cop_status cop_run_train(cop_run *run, const cop_candidate *candidate, int rung,
                                        cop_network *network, double *seconds, cop_error *err);

// --- run_resident.c -------------------------------------------------------------------------------

// Decides whether the teacher's weights stay on the device, and adds them to the footprint's plans.
COP_MUST_CHECK cop_status cop_run_plan_resident(cop_run *run, cop_error *err);
// Reads them, if so decided. Without them a study runs too.
COP_MUST_CHECK cop_status cop_run_open_resident(cop_run *run, cop_error *err);
// Fills a network with the candidate's share of the teacher.
COP_MUST_CHECK cop_status cop_run_prune(cop_run *run, cop_network *network, cop_error *err);

// --- run_promote.c --------------------------------------------------------------------------------

// Ranks a finished stage and records who goes on; `is_last` (out): the search ends here.
COP_MUST_CHECK cop_status cop_run_promote(cop_run *run, int stage, bool *is_last, cop_error *err);
// Does the candidate enter `stage`, by what the snapshot says?
bool cop_run_enters(const cop_run *run, int64_t index, int stage);

// Refuses a run whose plans exceed what is free, saying what would make its probes fit.
COP_MUST_CHECK cop_status cop_run_check_memory(const cop_run *run, cop_error *err);

#endif
