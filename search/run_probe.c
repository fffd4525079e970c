// One candidate at one stage, as rank 0 keeps the books of it: counted before it is evaluated here or by a
// worker, recorded afterwards, tried again or given up when it failed.

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/processes.h"
#include "search/run_internal.h"

enum {
    FAILURES_MAX = 2, // of one attempt after the other: the first is retried
    STALLED_MAX = 8,  // attempts that ended without a trace, e.g. killed for memory
    KEY_BYTES = COP_CANDIDATE_ID_BYTES + 16
};

char *cop_run_checkpoint_path(const cop_run *run, const char *id)
{
    char *folder = cop_file_join(run->options->directory, "checkpoints");
    char *path = folder != NULL ? cop_file_join(folder, id) : NULL;
    cop_free(folder);
    return path;
}

// --- Attempts without a trace -------------------------------------------------------------------

// What each process is at: the facts `running` and `running.<rank>` are "<id> <stage> <count>".
static const char *running_key(char key[KEY_BYTES], int rank)
{
    (void)snprintf(key, KEY_BYTES, rank == 0 ? "running" : "running.%d", rank);
    return key;
}

// What is stored under the keys of all processes, read once: there may be thousands.
static cop_status read_running(cop_run *run, cop_error *err)
{
    const int size = cop_processes_self().size;
    char key[KEY_BYTES];
    char *stored = NULL;
    cop_status status = COP_OK;
    cop_running *running = NULL;

    if (run->running != NULL) {
        return COP_OK;
    }
    running = cop_alloc((size_t)size, sizeof *running);
    if (running == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "%s: out of memory", run->options->directory);
    }
    for (int rank = 0; rank < size; rank++) {
        COP_TRY(status, cop_store_get(run->store, running_key(key, rank), &stored, err));
        if (stored != NULL) {
            (void)snprintf(running[rank].text, sizeof running[rank].text, "%s", stored);
        }
        cop_free(stored);
        stored = NULL;
    }
    run->running = running;
    running = NULL;

done:
    cop_free(stored);
    cop_free(running);
    return status;
}

static cop_status store_running(cop_run *run, int rank, const char *text, cop_error *err)
{
    char key[KEY_BYTES];
    cop_status status = COP_OK;
    COP_TRY(status, read_running(run, err));
    COP_TRY(status, cop_store_set(run->store, running_key(key, rank), text, err));
    (void)snprintf(run->running[rank].text, sizeof run->running[rank].text, "%s", text);

done:
    return status;
}

// Counts attempts that neither ended nor saved anything, by whomever. A candidate that takes the whole
// process down must not do so for ever.
static cop_status count_stalled(cop_run *run, int rank, const char *id, int stage,
                                bool *is_hopeless, cop_error *err)
{
    char text[COP_RUNNING_BYTES];
    int64_t count = 0;
    cop_status status = COP_OK;

    const int wanted = snprintf(text, sizeof text, "%s %d ", id, stage);
    COP_TRY(status, read_running(run, err));
    for (int other = 0; other < cop_processes_self().size; other++) {
        const char *stored = run->running[other].text;
        int64_t found = 0;
        if (strncmp(stored, text, (size_t)wanted) == 0 &&
            cop_text_to_i64(stored + wanted, &found)) {
            count = found > count ? found : count;
        }
    }
    *is_hopeless = count >= STALLED_MAX;
    (void)snprintf(text, sizeof text, "%s %d %" PRId64, id, stage, count + 1);
    COP_TRY(status, store_running(run, rank, text, err));

done:
    return status;
}

cop_status cop_run_reset_stalled(cop_run *run, int rank, cop_error *err)
{
    return store_running(run, rank, "", err);
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

// --- Before and after an attempt ----------------------------------------------------------------

cop_status cop_run_begin(cop_run *run, int rank, int64_t index, int stage, cop_assignment *out,
                         bool *is_given_up, cop_error *err)
{
    const char *id = run->snapshot.candidate[index].candidate.id;
    cop_status status = COP_OK;

    *out = (cop_assignment){.stage = stage, .latency = cop_latencies_unknown()};
    (void)snprintf(out->id, sizeof out->id, "%s", id);
    out->candidate = run->snapshot.candidate[index].candidate;
    COP_TRY(status, count_stalled(run, rank, id, stage, is_given_up, err));
    if (*is_given_up) {
        char reason[COP_REASON_BYTES];
        (void)snprintf(reason, sizeof reason,
                       "%d attempts at stage %d ended the process without getting further",
                       STALLED_MAX, stage);
        COP_TRY(status, give_up(run, id, stage, reason, err));
        goto done;
    }
    COP_TRY(status, cop_store_attempt(run->store, id, stage, &out->attempts, err));
    if (stage == 0) {
        COP_TRY(status, cop_run_stored_latencies(run, id, &out->latency, err));
    }

done:
    return status;
}

// Outside of the latency budget: no failure, but the end of the candidate.
static cop_status exclude(cop_run *run, const char *id, const cop_latencies *latencies,
                          cop_error *err)
{
    char reason[COP_REASON_BYTES] = "";
    cop_status status = COP_OK;

    cop_run_untimely_text(run, latencies, reason, sizeof reason);
    cop_run_note(run, COP_LOG_INFO, "%s: %s", id, reason);
    COP_TRY(status,
            cop_store_forget(run->store, id, 0, err)); // an extended study may hold more of it
    COP_TRY(status, cop_store_state(run->store, id, COP_STATE_ELIMINATED, reason, err));

done:
    return status;
}

static cop_status record(cop_run *run, const cop_assignment *assignment, const cop_outcome *outcome,
                         cop_error *err)
{
    const int stage = assignment->stage;
    const cop_stage_record found = {.stage = stage,
                                    .tokens = stage > 0 ? run->study->rung_tokens[stage - 1] : 0,
                                    .seconds = outcome->seconds,
                                    .attempts = assignment->attempts,
                                    .evaluation = outcome->evaluation};
    return cop_store_finish_stage(run->store, assignment->id, &found, NULL, 0, err);
}

cop_status cop_run_end(cop_run *run, int rank, cop_assignment *assignment,
                       const cop_outcome *outcome, int *failures, bool *again, cop_error *err)
{
    const char *id = assignment->id;
    cop_status status = COP_OK;

    *again = false;
    if (outcome->status != COP_OK && !is_own_failure(outcome->status)) {
        return COP_FAIL(err, outcome->status, "%s", outcome->error.message);
    }
    COP_TRY(status, cop_run_store_latencies(run, id, &outcome->latency, &assignment->latency, err));
    if (outcome->status != COP_OK) {
        *again = ++*failures < FAILURES_MAX;
        if (*again) {
            cop_run_note(run, COP_LOG_WARNING, "%s: stage %d is tried again: %s", id,
                         assignment->stage, outcome->error.message);
            COP_TRY(status, cop_store_attempt(run->store, id, assignment->stage,
                                              &assignment->attempts, err));
            goto done;
        }
        COP_TRY(status, give_up(run, id, assignment->stage, outcome->error.message, err));
    } else if (!cop_run_is_timely(run, &outcome->latency)) {
        COP_TRY(status, exclude(run, id, &outcome->latency, err));
    } else if (!outcome->is_stopped) {
        COP_TRY(status, record(run, assignment, outcome, err));
    }
    COP_TRY(status, cop_run_reset_stalled(run, rank, err));

done:
    return status;
}

cop_status cop_run_candidate(cop_run *run, int64_t index, int stage, cop_error *err)
{
    const cop_candidate *candidate = &run->snapshot.candidate[index].candidate;
    cop_assignment assignment;
    bool is_given_up = false;
    bool again = true;
    int failures = 0;
    cop_status status = COP_OK;

    COP_TRY(status, cop_run_begin(run, 0, index, stage, &assignment, &is_given_up, err));
    while (again && !is_given_up) {
        const int64_t before = run->tokens_here;
        cop_outcome outcome;
        cop_run_attempt(run, candidate, &assignment, &outcome);
        if (outcome.status !=
            COP_OK) { // its tokens were for nothing; others' have been counted since
            run->tokens_done -= run->tokens_here - before;
        }
        status = cop_run_end(run, 0, &assignment, &outcome, &failures, &again, err);
        cop_outcome_release(&outcome);
        if (status != COP_OK) {
            goto done;
        }
    }
    run->is_stopped = run->is_stopped || cop_run_should_stop(run);

done:
    return status;
}
