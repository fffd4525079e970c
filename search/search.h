// Runs a study: score, prune, probe in rungs, rank. Starting it again after any interruption continues it,
// with the same result as if it had never stopped.

#ifndef COP_SEARCH_SEARCH_H
#define COP_SEARCH_SEARCH_H

#include "search/ranking.h"
#include "search/space.h"

typedef struct cop_search_options {
    const char *directory; // of the study; made when absent
    const char *backend;   // "auto", "cpu", "reference"
    volatile int *stop;    // set to nonzero (signal handler): finish the step, save, return
    bool *was_stopped;     // out
} cop_search_options;

// Study directory: study.db, study.yaml (copy), importance.h5, teacher-cache/, checkpoints/<id>/. A
// directory that belongs to another study (other yaml, teacher or data) is refused, naming what differs.
// A candidate that fails (not finite, out of memory) is retried once, then marked failed with its reason;
// the study goes on.
COP_MUST_CHECK cop_status cop_search_run(const cop_study_file *study,
                                         const cop_search_options *options, cop_error *err);

// What a search will cost, before it starts.
typedef struct cop_search_plan {
    int64_t feasible;
    int stages;

    struct {
        int64_t candidates;
        int64_t tokens; // trained in this stage by all its candidates
        double flops;   // training and evaluation
        double seconds; // at `flops_per_second`
    } stage[COP_STUDY_RUNGS_MAX + 1];

    int64_t tokens;
    int64_t tokens_without_halving; // every candidate to the last rung
    double teacher_flops;           // scoring, cache, held-out states
    double flops;
    double flops_per_second; // measured matmul peak times the assumed efficiency
    double seconds;
    uint64_t teacher_cache_bytes;
    uint64_t checkpoint_bytes;
    cop_plan memory; // of the largest candidate's probe
} cop_search_plan;

COP_MUST_CHECK cop_status cop_search_plan_make(cop_search_plan *out, const cop_study_file *study,
                                               cop_error *err);

#endif
