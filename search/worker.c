// A worker's side: evaluates what rank 0 hands out.

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "search/workers_internal.h"

enum { PROGRESS_PER_SECOND = 800 }; // that rank 0 gets at most, of all, beside points of curves

static const double look_seconds = 10.0; // between two looks whether rank 0 is alive

// --- To rank 0 ----------------------------------------------------------------------------------

cop_status cop_worker_progress(cop_run *run, int64_t tokens, double loss, bool is_saved,
                               cop_error *err)
{
    const double now = cop_clock_seconds();
    const double pause = (double)cop_processes_self().size / PROGRESS_PER_SECOND;
    const cop_message message = {.kind = COP_MESSAGE_PROGRESS,
                                 .progress = {.ticket = run->ticket,
                                              .tokens = tokens,
                                              .done = run->tokens_done,
                                              .loss = loss,
                                              .is_saved = is_saved}};
    if (!isfinite(loss) && !is_saved && now - run->told_seconds < pause) {
        return COP_OK;
    }
    run->told_seconds = now;
    return cop_message_send(0, &message, NULL, 0, err);
}

void cop_worker_note(cop_run *run, cop_log_level level, const char *line)
{
    cop_message message = {.kind = COP_MESSAGE_NOTE, .note = {.level = level}};
    (void)run;
    (void)snprintf(message.note.line, sizeof message.note.line, "%s", line);
    if (cop_message_send(0, &message, NULL, 0, NULL) != COP_OK) {
        cop_log(level, "%s", line); // then here
    }
}

static void set_verdict(cop_verdict *out, cop_status status, const cop_error *error)
{
    out->status = status;
    (void)snprintf(out->message, sizeof out->message, "%s", error->message);
}

static cop_status send_outcome(const cop_run *run, const cop_outcome *outcome, cop_error *err)
{
    const cop_evaluation *e = &outcome->evaluation;
    const bool is_whole = outcome->status == COP_OK && !outcome->is_stopped && e->sequences > 0;
    const bool has_teacher = e->kl != NULL;
    const double *const arrays[] = {e->cross_entropy, e->agreement, e->kl,
                                    e->teacher_cross_entropy};
    const int64_t n = is_whole ? e->sequences : 0;
    const int64_t count = n * (has_teacher ? 4 : 2);
    cop_message message = {.kind = COP_MESSAGE_OUTCOME,
                           .outcome = {.ticket = run->ticket,
                                       .is_stopped = outcome->is_stopped,
                                       .latency = outcome->latency,
                                       .done = run->tokens_done,
                                       .seconds = outcome->seconds,
                                       .sequences = n,
                                       .sequence_tokens = e->sequence_tokens,
                                       .has_teacher = has_teacher}};
    double *values = cop_alloc(count > 0 ? (size_t)count : 1, sizeof *values);

    if (values == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "search: no memory to send results");
    }
    for (int64_t at = 0; at < count; at += n) {
        memcpy(values + at, arrays[at / n], (size_t)n * sizeof *values);
    }
    set_verdict(&message.outcome.verdict, outcome->status, &outcome->error);
    const cop_status status = cop_message_send(0, &message, values, count, err);
    cop_free(values);
    return status;
}

// --- From rank 0 --------------------------------------------------------------------------------

// Blocks of the candidate that is to be evaluated, which lie behind the message.
static void take_blocks(cop_run *run, cop_candidate *candidate, const double *values, int64_t count)
{
    candidate->layer = NULL;
    if (count == 0 || count != 3 * candidate->layers || candidate->layers > COP_ARCH_LAYERS_MAX) {
        return;
    }
    for (int64_t i = 0; i < candidate->layers; i++) {
        run->blocks[i] = (cop_layer_arch){.heads = (int64_t)values[3 * i],
                                          .kv_heads = (int64_t)values[3 * i + 1],
                                          .ffn = (int64_t)values[3 * i + 2]};
    }
    candidate->layer = run->blocks;
}

static cop_status take(cop_run *run, int *from, cop_message *out, cop_error *err)
{
    double *values = NULL;
    int64_t count = 0;
    const cop_status status = cop_message_take(from, out, &values, &count, err);
    if (status == COP_OK && *from >= 0 && out->kind == COP_MESSAGE_ASSIGN) {
        take_blocks(run, &out->work.assignment.candidate, values, count);
    }
    cop_free(values);
    return status;
}

// Rank 0 holds the lock of the study for as long as it lives. File systems that keep locks to one machine are
// found out at the start: there is no owner to be seen.
static bool is_left_alone(cop_run *run)
{
    char owner[COP_HOST_BYTES];
    const double now = cop_clock_seconds();

    if (!run->sees_owner || now - run->looked_seconds < look_seconds) {
        return false;
    }
    run->looked_seconds = now;
    return !cop_store_owner(run->options->directory, owner, sizeof owner);
}

static cop_status fail_alone(const cop_run *run, cop_error *err)
{
    return COP_FAIL(err, COP_ERR_DEVICE, "%s: rank 0 has died", run->options->directory);
}

bool cop_worker_is_stopping(cop_run *run)
{
    cop_message message;
    int from = -1;
    // A failure to look is one to send, too.
    while (!run->wants_stop && take(run, &from, &message, NULL) == COP_OK && from == 0) {
        run->has_quit = run->has_quit || message.kind == COP_MESSAGE_QUIT;
        run->is_dropped = run->is_dropped || message.kind == COP_MESSAGE_DROP;
        run->wants_stop = true;
        if (run->has_quit && message.farewell.has_lost) {
            cop_processes_part();
        }
    }
    if (!run->wants_stop && is_left_alone(run)) { // wait_message() says so
        run->wants_stop = true;
        run->looked_seconds = -look_seconds;
    }
    return run->wants_stop;
}

// Waits; a signal meanwhile is rank 0's to know.
static cop_status wait_message(cop_run *run, cop_message *out, cop_error *err)
{
    cop_status status = COP_OK;
    bool has_told = false;
    int idle = 0;
    int from = -1;

    while (from < 0) {
        COP_TRY(status, take(run, &from, out, err));
        if (from >= 0) {
            break;
        }
        if (!has_told && run->options->stop != NULL && *run->options->stop != 0) {
            const cop_message message = {.kind = COP_MESSAGE_WANTS_STOP};
            has_told = true;
            COP_TRY(status, cop_message_send(0, &message, NULL, 0, err));
        }
        if (is_left_alone(run)) {
            COP_TRY(status, take(run, &from, out, err)); // its last word
            if (from < 0) {
                status = fail_alone(run, err);
                goto done;
            }
        }
        cop_message_pause(&idle);
    }

done:
    return status;
}

// --- Work ---------------------------------------------------------------------------------------

static cop_status check_same(const cop_run *run, const cop_welcome *welcome, cop_error *err)
{
    char here[COP_HASH_TEXT_BYTES];
    char there[COP_HASH_TEXT_BYTES];
    (void)cop_hash_text(here, run->inputs);
    (void)cop_hash_text(there, welcome->inputs);
    if (run->count != welcome->count || strcmp(here, there) != 0) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "%s: teacher and importance of rank %d are not those of rank 0 (allowed: "
                        "one file system for all processes)",
                        run->options->directory, cop_processes_self().rank);
    }
    return COP_OK;
}

static void attempt(cop_run *run, const cop_assignment *assignment, cop_outcome *out)
{
    *out = (cop_outcome){.latency = cop_latencies_unknown()};
    if (assignment->stage != run->prepared_stage) {
        out->status = cop_run_prepare_teacher(run, assignment->stage, &out->error);
        if (out->status != COP_OK) {
            return;
        }
        run->prepared_stage = assignment->stage;
    }
    cop_run_attempt(run, &assignment->candidate, assignment, out);
}

static cop_status work(cop_run *run, const cop_work *given, cop_error *err)
{
    cop_outcome outcome;

    run->is_stopped = false;
    run->wants_stop = false;
    run->is_dropped = false;
    run->tokens_done = 0;
    run->ticket = given->ticket;
    attempt(run, &given->assignment, &outcome);
    // Who has quit listens no more.
    const cop_status status = run->has_quit ? COP_OK : send_outcome(run, &outcome, err);
    cop_outcome_release(&outcome);
    return status;
}

static cop_status serve(cop_run *run, cop_error *err)
{
    cop_status status = COP_OK;
    cop_message message = {.kind = COP_MESSAGE_STOP};

    while (message.kind != COP_MESSAGE_QUIT && !run->has_quit) {
        COP_TRY(status, wait_message(run, &message, err));
        if (message.kind == COP_MESSAGE_ASSIGN) { // a stop that comes late stops nothing
            COP_TRY(status, work(run, &message.work, err));
        } else if (message.kind == COP_MESSAGE_QUIT && message.farewell.has_lost) {
            cop_processes_part();
        }
    }

done:
    return status;
}

cop_status cop_worker_run(cop_run *run, cop_error *err)
{
    cop_status status = COP_OK;
    cop_status opened = COP_OK;
    cop_message message;
    cop_message ready = {.kind = COP_MESSAGE_READY};
    char owner[COP_HOST_BYTES];
    cop_error own = {0};

    COP_TRY(status, wait_message(run, &message, err));
    if (message.welcome.status != COP_OK) {
        goto done;
    }
    opened = cop_run_open_worker(run, message.welcome.precision, message.welcome.micro_batch, &own);
    if (opened == COP_OK) {
        opened = check_same(run, &message.welcome, &own);
    }
    run->sees_owner = cop_store_owner(run->options->directory, owner, sizeof owner);
    set_verdict(&ready.ready.verdict, opened, &own);
    cop_message_host(ready.ready.host);
    cop_message_crowd(ready.ready.crowd, run->options->backend);
    COP_TRY(status, cop_message_send(0, &ready, NULL, 0, err));
    COP_TRY(status, serve(run, err));

done:
    return status;
}
