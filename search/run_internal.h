// A running study: what its opening, its probes and its promotions share.

#ifndef COP_SEARCH_RUN_INTERNAL_H
#define COP_SEARCH_RUN_INTERNAL_H

#include "base/log.h"
#include "distill/teacher_cache.h"
#include "prune/resident.h"
#include "search/footprint.h"
#include "search/search.h"

struct cop_workers;

enum { COP_RUNNING_BYTES = COP_CANDIDATE_ID_BYTES + 48 };

// What a process is at: "<id> <stage> <attempts without a trace>", or "".
typedef struct cop_running {
    char text[COP_RUNNING_BYTES];
} cop_running;

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

    // Feasible ones, grid order; owned. With a strategy on a space too large to list: a sample, which plans are
    // made from.
    cop_candidate *candidates;
    int64_t count;
    bool
        is_proposing; // a strategy's batch is at work: its candidates go to search.fidelity unranked
    cop_space_report report;
    cop_footprint footprint;
    cop_snapshot snapshot; // as of the start of the stage

    cop_progress progress; // tokens of the whole study
    int64_t tokens_done;
    int64_t tokens_here; // of them by this process
    char what[96];
    bool is_stopped;
    bool wants_stop;  // another process, or a failure, asks for a stop
    unsigned changes; // COP_CHANGED_…: what --extend changed

    struct {
        int stage;
        int64_t entrants;
        int64_t number; // of them handed out, or passed over
        int64_t next;   // in the snapshot
    } queue;            // who is to be evaluated at the stage

    cop_running *running; // of every process, as stored; NULL before it is first asked for
    struct cop_workers
        *workers; // search/workers.h; NULL: this process is alone, or a worker itself
    bool is_worker;
    cop_layer_arch
        blocks[COP_ARCH_LAYERS_MAX]; // of the candidate that a worker is at, where they differ
    int prepared_stage;              // of a worker: whose teacher states are open
    int64_t ticket;                  // of what it is at
    bool is_dropped;       // what it is at is another's by now: nothing of it is to be saved
    bool has_quit;         // rank 0 gave up while a candidate was at work
    bool sees_owner;       // the file system shows that rank 0 holds the study
    double looked_seconds; // when it last looked whether rank 0 is alive
    double told_seconds;   // when it last told of its progress
} cop_run;

// What --extend found to differ from what the directory was begun with.
enum {
    COP_CHANGED_EVALUATIONS = 1,
    COP_CHANGED_RUNGS = 2,
    COP_CHANGED_SPACE = 4,
    COP_CHANGED_BUDGET = 8
};

// Milliseconds, in the order of cop_study_latencies(); NaN: not measured, or no budget.
typedef struct cop_latencies {
    double ms[COP_STUDY_LATENCIES_MAX];
} cop_latencies;

// What a process is asked to do: one candidate at one stage.
typedef struct cop_assignment {
    char id[COP_CANDIDATE_ID_BYTES];
    cop_candidate candidate;
    int stage;
    int attempts;          // with this one
    cop_latencies latency; // measured before
} cop_assignment;

// What came of it. Owned: cop_outcome_release().
typedef struct cop_outcome {
    cop_status status;
    cop_error error;
    bool is_stopped; // before the end: nothing to record
    cop_latencies latency;
    double seconds;
    cop_evaluation evaluation; // none when stopped, failed or outside of the latency budget
} cop_outcome;

// --- run_open.c: everything up to the first stage ------------------------------------------------

// Directory, database and identity; data, teacher, importance, states of held-out text.
COP_MUST_CHECK cop_status cop_run_open(cop_run *run, cop_error *err);
// Its first part: makes or finds the study directory, opens database and log.
COP_MUST_CHECK cop_status cop_run_open_directory(cop_run *run, cop_error *err);
// For a study with a teacher, once identified: takes back what run->changes says does not hold any more.
COP_MUST_CHECK cop_status cop_run_apply_changes(cop_run *run, cop_error *err);
// The study file, copied into the directory: when it is not there yet, or `replaces`.
COP_MUST_CHECK cop_status cop_run_copy_study(cop_run *run, bool replaces, cop_error *err);
// The same for a worker: reads only, once rank 0 has opened the study.
COP_MUST_CHECK cop_status cop_run_open_worker(cop_run *run, cop_precision precision,
                                              int64_t micro_batch, cop_error *err);
void cop_run_close(cop_run *run);

// --- run_record.c: from whatever process ---------------------------------------------------------

// A line to the log sink and, with the date, to <directory>/log.
void cop_run_note(cop_run *run, cop_log_level level, const char *format, ...) COP_PRINTF(3, 4);

// `tokens` more went through a student: the share of the whole study's progress.
void cop_run_count(cop_run *run, int64_t tokens, const char *note);
// cop_store_progress() for the candidate at work.
COP_MUST_CHECK cop_status cop_run_progress(cop_run *run, const char *id, int stage, int64_t tokens,
                                           double loss, cop_error *err);
// Its state was saved after `tokens`.
COP_MUST_CHECK cop_status cop_run_saved(cop_run *run, int64_t tokens, cop_error *err);
// Asked between two steps; serves the workers, too.
bool cop_run_should_stop(cop_run *run);

// --- run.c ---------------------------------------------------------------------------------------

// The next candidate of the stage's queue, or -1.
int64_t cop_run_next(cop_run *run);
// The teacher's states for the training text of a rung: from files, or computed in every step.
COP_MUST_CHECK cop_status cop_run_prepare_teacher(cop_run *run, int stage, cop_error *err);

// Evaluates whoever enters `stage` and has no figures there yet.
COP_MUST_CHECK cop_status cop_run_evaluate(cop_run *run, int stage, cop_error *err);

// --- run_propose.c: the candidates of a strategy ---------------------------------------------------

bool cop_run_has_strategy(const cop_run *run); // other than the grid
// Batch after batch up to search.fidelity, or until asked to stop. Nothing when that was done before.
COP_MUST_CHECK cop_status cop_run_propose(cop_run *run, cop_error *err);

// --- run_identity.c: is the directory this study's? ----------------------------------------------

// Compares every setting and hash with the stored ones, storing them when the study is new. With --extend some
// may differ: run->changes.
COP_MUST_CHECK cop_status cop_run_identify(cop_run *run, cop_error *err);
// What --extend changed has been seen to.
COP_MUST_CHECK cop_status cop_run_extended(cop_run *run, cop_error *err);
// cop_run_identify() for a study with an evaluator.
COP_MUST_CHECK cop_status cop_run_identify_trials(cop_run *run, cop_error *err);
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

// Evaluates a candidate here and records it, or marks it failed. Sets run->is_stopped when asked to stop;
// the stage is then recorded only if it was finished.
COP_MUST_CHECK cop_status cop_run_candidate(cop_run *run, int64_t index, int stage, cop_error *err);

// Its parts, for one that the process `rank` evaluates. begin() counts an attempt; *is_given_up: there were
// too many. end() records the outcome; *again: it failed, and `assignment` is to be tried once more.
COP_MUST_CHECK cop_status cop_run_begin(cop_run *run, int rank, int64_t index, int stage,
                                        cop_assignment *out, bool *is_given_up, cop_error *err);
COP_MUST_CHECK cop_status cop_run_end(cop_run *run, int rank, cop_assignment *assignment,
                                      const cop_outcome *outcome, int *failures, bool *again,
                                      cop_error *err);

// "<directory>/checkpoints/<id>", owned; NULL when memory is exhausted.
char *cop_run_checkpoint_path(const cop_run *run, const char *id);

// What the process `rank` evaluates got further: attempts that it did not survive count from here.
COP_MUST_CHECK cop_status cop_run_reset_stalled(cop_run *run, int rank, cop_error *err);

// --- run_attempt.c --------------------------------------------------------------------------------

void cop_run_attempt(cop_run *run, const cop_candidate *candidate, const cop_assignment *assignment,
                     cop_outcome *out);
void cop_outcome_release(cop_outcome *outcome);

// --- run_latency.c --------------------------------------------------------------------------------

cop_latencies cop_latencies_unknown(void); // all NaN
// Are all within their budgets? NaN is.
bool cop_run_is_timely(const cop_run *run, const cop_latencies *latencies);
// Which budget is missed, and by what.
void cop_run_untimely_text(const cop_run *run, const cop_latencies *latencies, char *out,
                           size_t bytes);
// Measures what is not known yet, up to the first that misses its budget.
COP_MUST_CHECK cop_status cop_run_find_latencies(cop_run *run, const cop_arch *arch,
                                                 cop_latencies *latencies, cop_error *err);
COP_MUST_CHECK cop_status cop_run_stored_latencies(cop_run *run, const char *id, cop_latencies *out,
                                                   cop_error *err);
// Stores what was found and not known before.
COP_MUST_CHECK cop_status cop_run_store_latencies(cop_run *run, const char *id,
                                                  const cop_latencies *found, cop_latencies *known,
                                                  cop_error *err);

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
