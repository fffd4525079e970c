// One candidate at one stage: pruned, trained where the stage says so, evaluated, recorded.

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "eval/latency.h"
#include "search/run_internal.h"

enum {
    FAILURES_MAX = 2, // of one attempt after the other: the first is retried
    STALLED_MAX = 8   // attempts that ended without a trace, e.g. killed for memory
};

static const double latency_seconds = 2.0;

bool cop_run_should_stop(const cop_run *run)
{
    if (run->options->tick != NULL) {
        run->options->tick(run->options->tick_context);
    }
    return run->options->stop != NULL && *run->options->stop != 0;
}

char *cop_run_checkpoint_path(const cop_run *run, const char *id)
{
    char *folder = cop_file_join(run->options->directory, "checkpoints");
    char *path = folder != NULL ? cop_file_join(folder, id) : NULL;
    cop_free(folder);
    return path;
}

// --- Latency ------------------------------------------------------------------------------------

static cop_status measure_latency(cop_run *run, const cop_arch *arch, double *milliseconds,
                                  cop_error *err)
{
    const cop_network_options options = {.precision = run->footprint.precision,
                                         .batch = run->study->latency_batch,
                                         .sequence = run->study->latency_sequence};
    cop_status status = COP_OK;
    cop_network *network = NULL;
    cop_latency latency = {0};

    COP_TRY(status, cop_network_create(&network, arch, &options, run->backend, err));
    COP_TRY(status, cop_run_prune(run, network, err));
    COP_TRY(status, cop_latency_measure(&latency, network, options.batch, options.sequence,
                                        latency_seconds, err));
    *milliseconds = 1e3 * latency.median_seconds;

done:
    cop_network_destroy(network);
    return status;
}

// Measured once: what was measured is stored, so that a continued study decides the same.
static cop_status check_latency(cop_run *run, const cop_candidate *candidate, const cop_arch *arch,
                                bool *is_feasible, cop_error *err)
{
    const cop_bound bound = run->study->latency_ms;
    char key[COP_CANDIDATE_ID_BYTES + 16];
    char text[64];
    char *stored = NULL;
    double value = 0.0;
    cop_status status = COP_OK;

    *is_feasible = true;
    if (!(bound.max < HUGE_VAL) && !(bound.min > -HUGE_VAL)) {
        return COP_OK;
    }
    (void)snprintf(key, sizeof key, "latency_ms.%s", candidate->id);
    COP_TRY(status, cop_store_get(run->store, key, &stored, err));
    if (stored == NULL || !cop_text_to_f64(stored, &value)) {
        COP_TRY(status, measure_latency(run, arch, &value, err));
        (void)snprintf(text, sizeof text, "%.17g", value);
        COP_TRY(status, cop_store_set(run->store, key, text, err));
    }
    if (value > bound.max || value < bound.min) {
        const bool is_slow = value > bound.max;
        char reason[COP_REASON_BYTES];
        (void)snprintf(reason, sizeof reason, "latency is %.4g ms (budget: %s %.4g ms)", value,
                       is_slow ? "at most" : "at least", is_slow ? bound.max : bound.min);
        *is_feasible = false;
        COP_TRY(status,
                cop_store_state(run->store, candidate->id, COP_STATE_ELIMINATED, reason, err));
        cop_run_note(run, COP_LOG_INFO, "%s: %s", candidate->id, reason);
    }

done:
    cop_free(stored);
    return status;
}

// --- One attempt --------------------------------------------------------------------------------

static cop_status check_finite(const cop_evaluation *evaluation, cop_error *err)
{
    for (int64_t i = 0; i < evaluation->sequences; i++) {
        const double kl = evaluation->kl != NULL ? evaluation->kl[i] : 0.0;
        if (!isfinite(evaluation->cross_entropy[i]) || !isfinite(kl)) {
            return COP_FAIL(err, COP_ERR_DEVICE,
                            "evaluation: held-out sequence %" PRId64
                            " has cross-entropy %g and KL %g (allowed: finite numbers)",
                            i, evaluation->cross_entropy[i], kl);
        }
    }
    return COP_OK;
}

static cop_status evaluate(cop_run *run, cop_network *network, cop_evaluation *out, cop_error *err)
{
    const cop_teacher teacher = {.head = cop_teacher_model_head(run->teacher_model),
                                 .states = cop_teacher_states_source(run->held_states)};
    cop_status status = COP_OK;

    COP_TRY(status,
            cop_evaluate(out, network, run->held_sampler, 0, run->held_count, &teacher, err));
    COP_TRY(status, check_finite(out, err));

done:
    return status;
}

// What the stage puts through the student: the share of the whole study's progress.
static void add_progress(cop_run *run, int64_t tokens)
{
    run->tokens_done += tokens;
    cop_progress_update(&run->progress, run->tokens_done, NULL);
}

static cop_status attempt(cop_run *run, const cop_candidate *candidate, int stage, int attempts,
                          cop_error *err)
{
    const cop_network_options options = cop_footprint_network(run->study, run->footprint.precision,
                                                              run->footprint.micro_batch, stage);
    const double start = cop_clock_seconds();
    cop_stage_record record = {.stage = stage,
                               .attempts = attempts,
                               .tokens = stage > 0 ? run->study->rung_tokens[stage - 1] : 0};
    cop_status status = COP_OK;
    cop_network *network = NULL;
    cop_arch *arch = cop_alloc(1, sizeof *arch);
    bool is_feasible = true;

    if (arch == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", candidate->id);
    }
    *arch = cop_candidate_arch(candidate, cop_checkpoint_arch(run->teacher));
    if (stage == 0) {
        COP_TRY(status, check_latency(run, candidate, arch, &is_feasible, err));
        if (!is_feasible) {
            goto done;
        }
    }
    COP_TRY(status, cop_network_create(&network, arch, &options, run->backend, err));
    if (stage == 0) {
        COP_TRY(status, cop_run_prune(run, network, err));
    } else {
        COP_TRY(status, cop_run_train(run, candidate, stage, network, &record.seconds, err));
        if (run->is_stopped) {
            goto done;
        }
    }
    COP_TRY(status, evaluate(run, network, &record.evaluation, err));
    record.seconds = stage == 0 ? cop_clock_seconds() - start : record.seconds;
    COP_TRY(status, cop_store_finish_stage(run->store, candidate->id, &record, NULL, 0, err));
    add_progress(run, run->held_count * run->study->probe_sequence);

done:
    cop_evaluation_release(&record.evaluation);
    cop_network_destroy(network);
    cop_free(arch);
    return status;
}

// --- Attempts -----------------------------------------------------------------------------------

// Counts attempts that neither ended nor saved anything: the fact `running` is "<id> <stage> <count>". A
// candidate that takes the whole process down must not do so for ever.
static cop_status count_stalled(cop_run *run, const char *id, int stage, bool *is_hopeless,
                                cop_error *err)
{
    char text[COP_CANDIDATE_ID_BYTES + 48];
    char *stored = NULL;
    int64_t count = 0;
    cop_status status = COP_OK;

    const int wanted = snprintf(text, sizeof text, "%s %d ", id, stage);
    COP_TRY(status, cop_store_get(run->store, "running", &stored, err));
    if (stored != NULL && strncmp(stored, text, (size_t)wanted) == 0 &&
        !cop_text_to_i64(stored + wanted, &count)) {
        count = 0;
    }
    *is_hopeless = count >= STALLED_MAX;
    (void)snprintf(text, sizeof text, "%s %d %" PRId64, id, stage, count + 1);
    COP_TRY(status, cop_store_set(run->store, "running", text, err));

done:
    cop_free(stored);
    return status;
}

cop_status cop_run_reset_stalled(cop_run *run, cop_error *err)
{
    return cop_store_set(run->store, "running", "", err);
}

static cop_status give_up(cop_run *run, const char *id, int stage, const char *reason,
                          cop_error *err)
{
    cop_status status = COP_OK;
    char *path = cop_run_checkpoint_path(run, id);

    if (path == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", id);
    }
    cop_run_note(run, COP_LOG_WARNING, "%s: failed at stage %d: %s", id, stage, reason);
    COP_TRY(status, cop_store_state(run->store, id, COP_STATE_FAILED, reason, err));
    COP_TRY(status, cop_file_remove_tree(path, err));

done:
    cop_free(path);
    return status;
}

// Is it this candidate's failure? The rest concerns the study: disk, damaged files.
static bool is_own_failure(cop_status status)
{
    return status != COP_OK && status != COP_ERR_IO && status != COP_ERR_FORMAT;
}

cop_status cop_run_candidate(cop_run *run, int64_t index, int stage, cop_error *err)
{
    const cop_candidate *candidate = &run->snapshot.candidate[index].candidate;
    const char *id = candidate->id;
    bool is_hopeless = false;
    int attempts = 0;
    cop_status status = COP_OK;

    COP_TRY(status, count_stalled(run, id, stage, &is_hopeless, err));
    if (is_hopeless) {
        char reason[COP_REASON_BYTES];
        (void)snprintf(reason, sizeof reason,
                       "%d attempts at stage %d ended the process without getting further",
                       STALLED_MAX, stage);
        return give_up(run, id, stage, reason, err);
    }
    for (int failures = 0;;) {
        cop_error own = {0};
        const int64_t tokens_done = run->tokens_done;
        COP_TRY(status, cop_store_attempt(run->store, id, stage, &attempts, err));
        const cop_status ended = attempt(run, candidate, stage, attempts, &own);
        if (ended == COP_OK) {
            break;
        }
        if (!is_own_failure(ended)) {
            status = COP_FAIL(err, ended, "%s", own.message);
            goto done;
        }
        run->tokens_done = tokens_done;
        if (++failures == FAILURES_MAX) {
            COP_TRY(status, give_up(run, id, stage, own.message, err));
            break;
        }
        cop_run_note(run, COP_LOG_WARNING, "%s: stage %d is tried again: %s", id, stage,
                     own.message);
    }
    COP_TRY(status, cop_run_reset_stalled(run, err));
    run->is_stopped = run->is_stopped || cop_run_should_stop(run);

done:
    return status;
}
