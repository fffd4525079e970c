// Runs a study: score, prune, probe in rungs, rank. Starting it again after any interruption continues it,
// with the same result as if it had never stopped.
//
// Stages: 0 = every feasible candidate is pruned and evaluated, untrained; r >= 1 = the survivors are
// trained to the cumulative tokens of rung r, on the same batches, and evaluated. All are judged on the
// same held-out sequences against the teacher's exact distribution.
//
// Study directory: study.db, study.yaml (copy), log, importance.h5 (unless the study names another),
// teacher-cache/, checkpoints/<id>/ (state of a probe, until it is eliminated).
//
// Facts in study.db (search/store.h), for reports:
//   program, command, created, finished (dates; `finished` only when done), cpu, backend ("cpu", "cuda"),
//   device (the GPU; for the CPU its libraries of matrix products), threads,
//   precision, micro_batch, seed, teacher, train, validation, calibration, importance (absolute paths),
//   teacher_hash, train_hash, validation_hash, importance_hash, study (path),
//   objectives ("loss,params"), rungs ("500000,2000000"), keep, loss ("kl", "ce", "mixed"), sequence,
//   batch_tokens, held_out_sequences, space_size, feasible, excluded ("params <= 8.5e9: 106; …"),
//   resumes (how often the study was continued), stopped_early (why, when the ranking was stable),
//   setting.<key of study.yaml> (canonical value: what tells two studies apart),
//   blocks.<id> ("48/8/16384 32/8/8192 …": heads, KV heads and FFN of layers that differ),
//   latency_ms.<id>, latency_ms.<workload>.<id>,
//   calibration.<objective> (of the surrogate: search/calibration.h),
//   stage.<n> = "done", running and running.<rank> (bookkeeping of attempts)

#ifndef COP_SEARCH_SEARCH_H
#define COP_SEARCH_SEARCH_H

#include "distill/memory_form.h"
#include "search/ranking.h"
#include "search/space.h"

// Started several times by mpirun or srun, the processes share the candidates: search/workers.h.

typedef struct cop_search_options {
    const char *directory; // of the study; made when absent
    const char *backend;   // a name that cop_backend_create() knows
    volatile int *stop;    // set to nonzero (signal handler): finish the step, save, return
    bool *was_stopped;     // out; may be NULL
    const char *command;   // command line, for provenance; may be NULL
    // Takes a study file with more evaluations, further rungs, another space or budget than the directory was
    // begun with: what was found and still holds is used again, and the result is that of a study which was
    // begun with it.
    bool extend;
    // The device of a study on the CPU, for provenance: what its matmuls run on. NULL: its name.
    const char *cpu_device;
    // Several processes (search/workers.h); 0: the defaults.
    double stall_seconds;   // silence of a busy worker that is warned of; 300
    double give_up_seconds; // silence after which another gets its candidate; never
    int dedicated_from;     // so many processes, and rank 0 evaluates nothing itself; 17
    // Called after every training step and every evaluation, e.g. to set `stop`. NULL: none.
    void (*tick)(void *context);
    void *tick_context;
} cop_search_options;

// A directory that belongs to another study (another setting, teacher or data) or to another backend is
// refused, naming what differs; one that a running process owns is refused naming host and process; one that is no study and not
// empty is refused. COP_ERR_NOMEM with the numbers when the largest probe does not fit, before anything
// is allocated. A candidate that fails (not finite, out of memory) is retried once, then marked failed
// with its reason; the study goes on. COP_ERR_IO (a full disk) stops it; it continues when started
// again. A stop asked for with `stop` is COP_OK with *was_stopped = true.
COP_MUST_CHECK cop_status cop_search_run(const cop_study_file *study,
                                         const cop_search_options *options, cop_error *err);

enum { COP_SEARCH_FORMS = 6 };

// What a search will cost, before it starts.
typedef struct cop_search_plan {
    int64_t size;       // grid points; INT64_MAX: more than 2^53
    double log10_size;  // of them
    int64_t feasible;   // INT64_MAX: they cannot be counted
    int64_t sampled;    // feasible ones that costs were taken from
    char strategy[16];  // "grid", or what proposes
    int64_t candidates; // evaluated at stage 0: all feasible ones, or search.evaluations
    int fidelity;       // of a strategy: nobody is left out before the end of this stage
    int stages;

    struct {
        int64_t candidates;
        int64_t tokens; // trained in this stage by all its candidates
        double flops;   // training and evaluation
        double seconds; // 0 until cop_search_plan_time()
    } stage[COP_STUDY_RUNGS_MAX + 1];

    int64_t tokens;
    int64_t tokens_without_halving; // every one of `candidates` to the last rung
    double tokens_of_all;           // every feasible one to the last rung; NaN: not counted
    double teacher_flops;           // scoring, cache, held-out states
    double flops;
    double flops_per_second; // 0 until cop_search_plan_time()
    double teacher_seconds;  // the same
    double seconds;          // the same
    int64_t sample_draws;    // of a token; 0: training text has states
    uint64_t teacher_cache_bytes;
    uint64_t checkpoint_bytes; // the most that lies on disk at one time
    int64_t held_out_sequences;
    int64_t micro_batch;
    cop_precision precision;
    char device[96]; // cop_device_info
    char largest[COP_CANDIDATE_ID_BYTES];

    // The same probe in every form of state, the vocabulary trained and frozen: what it needs.
    struct {
        cop_memory_form form;
        uint64_t bytes; // of the device; 0: the form is not for this precision
    } form[COP_SEARCH_FORMS];

    cop_plan memory;         // of the largest candidate's probe
    cop_plan memory_teacher; // of the teacher while it is scored and its states are computed
} cop_search_plan;

// With a strategy search.evaluations candidates are taken up to search.fidelity, at the mean cost of the feasible
// ones: which it will propose is not known. Spaces that cannot be listed are sampled (search/space_sample.h).
// Needs shapes only: the teacher may be a bare config.json, and data files that are absent are taken to
// hold enough. `backend` as in cop_search_options. COP_ERR_CONFIG without probe.rungs.
COP_MUST_CHECK cop_status cop_search_plan_make(cop_search_plan *out, const cop_study_file *study,
                                               const char *backend, cop_error *err);

// The same for a device with so much memory that need not be there: passes are chosen for it. 0: this
// machine's. Scratch memory stays that of `backend`.
COP_MUST_CHECK cop_status cop_search_plan_make_for(cop_search_plan *out,
                                                   const cop_study_file *study, const char *backend,
                                                   uint64_t device_bytes, cop_error *err);

// Turns FLOPs into seconds at `peak` FLOP/s times `efficiency` (share of the matmul peak that training
// reaches).
void cop_search_plan_time(cop_search_plan *plan, double peak, double efficiency);

#endif
