// Rank 0's side: who evaluates what, and what they found.

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "search/workers_internal.h"

// What rank 0 knows of a worker.
typedef struct desk {
    bool is_ready;
    bool is_busy;
    int64_t index; // in the snapshot, of the candidate it is busy with
    cop_assignment assignment;
    int failures;
    int64_t done; // tokens of this attempt that are counted into the progress
} desk;

typedef struct cop_workers cop_workers;

struct cop_workers {
    int size; // ranks 1 … size - 1 are workers
    desk *desk;
    bool is_stop_sent;
    cop_status status; // first failure between two steps
    cop_error error;
};

// --- Handing out --------------------------------------------------------------------------------

static cop_status assign(cop_run *run, int rank, cop_error *err)
{
    desk *d = &run->workers->desk[rank];
    const cop_message message = {.kind = COP_MESSAGE_ASSIGN, .assignment = d->assignment};
    d->done = 0;
    d->is_busy = true;
    return cop_message_send(rank, &message, NULL, 0, err);
}

// The next candidate that is not given up at once; there may be none.
static cop_status assign_next(cop_run *run, int rank, cop_error *err)
{
    desk *d = &run->workers->desk[rank];
    cop_status status = COP_OK;
    bool is_given_up = true;

    while (is_given_up) {
        d->index = cop_run_next(run);
        if (d->index < 0) {
            goto done;
        }
        d->failures = 0;
        COP_TRY(status, cop_run_begin(run, rank, d->index, run->queue.stage, &d->assignment,
                                      &is_given_up, err));
    }
    COP_TRY(status, assign(run, rank, err));

done:
    return status;
}

// --- What workers send --------------------------------------------------------------------------

static void count_done(cop_run *run, desk *d, int64_t done)
{
    run->tokens_done += done - d->done;
    d->done = done;
    cop_progress_update(&run->progress, run->tokens_done, NULL);
}

static cop_status take_progress(cop_run *run, int rank, const cop_work_progress *progress,
                                cop_error *err)
{
    desk *d = &run->workers->desk[rank];
    count_done(run, d, progress->done);
    if (progress->is_saved) {
        return cop_run_reset_stalled(run, rank, err);
    }
    return cop_store_progress(run->store, d->assignment.id, d->assignment.stage, progress->tokens,
                              progress->loss, err);
}

static double *take_values(double **values, int64_t count)
{
    double *part = *values;
    *values += count;
    return part;
}

// Copies of what lies behind the message, as cop_evaluation_release() wants them.
static cop_status copy_values(double **out, const double *from, int64_t count, cop_error *err)
{
    *out = cop_alloc((size_t)count, sizeof **out);
    if (*out == NULL) {
        return COP_FAIL(err, COP_ERR_NOMEM, "search: no memory for the results of a worker");
    }
    memcpy(*out, from, (size_t)count * sizeof **out);
    return COP_OK;
}

static cop_status unpack_evaluation(cop_evaluation *out, const cop_work_outcome *outcome,
                                    double *values, int64_t count, cop_error *err)
{
    const int64_t n = outcome->sequences;
    const int64_t arrays = outcome->has_teacher ? 4 : 2;
    cop_status status = COP_OK;

    if (n == 0) {
        return COP_OK;
    }
    if (n < 0 || count != arrays * n) {
        return COP_FAIL(err, COP_ERR_FORMAT,
                        "search: a worker sent %" PRId64 " numbers for %" PRId64 " sequences",
                        count, n);
    }
    out->sequences = n;
    out->sequence_tokens = outcome->sequence_tokens;
    COP_TRY(status, copy_values(&out->cross_entropy, take_values(&values, n), n, err));
    COP_TRY(status, copy_values(&out->agreement, take_values(&values, n), n, err));
    if (outcome->has_teacher) {
        COP_TRY(status, copy_values(&out->kl, take_values(&values, n), n, err));
        COP_TRY(status, copy_values(&out->teacher_cross_entropy, take_values(&values, n), n, err));
    }

done:
    return status;
}

static cop_status take_outcome(cop_run *run, int rank, const cop_work_outcome *sent, double *values,
                               int64_t count, cop_error *err)
{
    desk *d = &run->workers->desk[rank];
    bool again = false;
    cop_status status = COP_OK;
    cop_outcome outcome = {.status = sent->verdict.status,
                           .is_stopped = sent->is_stopped,
                           .latency = sent->latency,
                           .seconds = sent->seconds};

    (void)snprintf(outcome.error.message, sizeof outcome.error.message, "%s",
                   sent->verdict.message);
    d->is_busy = false;
    count_done(run, d, outcome.status == COP_OK ? sent->done : 0);
    COP_TRY(status, unpack_evaluation(&outcome.evaluation, sent, values, count, err));
    COP_TRY(status, cop_run_end(run, rank, &d->assignment, &outcome, &d->failures, &again, err));
    if (again && !run->workers->is_stop_sent) {
        COP_TRY(status, assign(run, rank, err));
    }

done:
    cop_outcome_release(&outcome);
    return status;
}

static cop_status take_ready(cop_run *run, int rank, const cop_verdict *verdict, cop_error *err)
{
    run->workers->desk[rank].is_ready = true;
    if (verdict->status != COP_OK) {
        return COP_FAIL(err, verdict->status, "%s", verdict->message);
    }
    return COP_OK;
}

static cop_status take_message(cop_run *run, int rank, const cop_message *message, double *values,
                               int64_t count, cop_error *err)
{
    switch (message->kind) {
    case COP_MESSAGE_READY: return take_ready(run, rank, &message->ready, err);
    case COP_MESSAGE_PROGRESS: return take_progress(run, rank, &message->progress, err);
    case COP_MESSAGE_NOTE: cop_run_note(run, message->note.level, "%s", message->note.line); break;
    case COP_MESSAGE_WANTS_STOP: run->wants_stop = true; break;
    case COP_MESSAGE_OUTCOME: return take_outcome(run, rank, &message->outcome, values, count, err);
    case COP_MESSAGE_WELCOME:
    case COP_MESSAGE_ASSIGN:
    case COP_MESSAGE_STOP:
    case COP_MESSAGE_QUIT:
    default:
        return COP_FAIL(err, COP_ERR_FORMAT, "search: rank %d sent a message of kind %d", rank,
                        (int)message->kind);
    }
    return COP_OK;
}

// Everything that has arrived.
static cop_status take_all(cop_run *run, bool *has_some, cop_error *err)
{
    cop_status status = COP_OK;
    cop_message message;
    double *values = NULL;
    int64_t count = 0;
    int from = 0;

    *has_some = false;
    while (from >= 0) {
        cop_free(values);
        values = NULL;
        COP_TRY(status, cop_message_take(&from, &message, &values, &count, err));
        if (from >= 0) {
            *has_some = true;
            COP_TRY(status, take_message(run, from, &message, values, count, err));
        }
    }

done:
    cop_free(values);
    return status;
}

// --- A stage ------------------------------------------------------------------------------------

cop_status cop_workers_serve(cop_run *run, cop_error *err)
{
    cop_workers *workers = run->workers;
    cop_status status = COP_OK;
    bool has_some = false;

    COP_TRY(status, take_all(run, &has_some, err));
    for (int rank = 1; rank < workers->size; rank++) {
        const bool is_over = run->wants_stop || workers->is_stop_sent;
        if (!workers->desk[rank].is_busy && !is_over) {
            COP_TRY(status, assign_next(run, rank, err));
        }
    }

done:
    return status;
}

void cop_workers_tick(cop_run *run)
{
    cop_workers *workers = run->workers;
    if (workers->status == COP_OK) {
        workers->status = cop_workers_serve(run, &workers->error);
        run->wants_stop = run->wants_stop || workers->status != COP_OK;
    }
}

static cop_status send_stop(cop_run *run, cop_error *err)
{
    cop_workers *workers = run->workers;
    const cop_message message = {.kind = COP_MESSAGE_STOP};
    cop_status status = COP_OK;

    if (workers->is_stop_sent) {
        return COP_OK;
    }
    workers->is_stop_sent = true;
    for (int rank = 1; rank < workers->size; rank++) {
        COP_TRY(status, cop_message_send(rank, &message, NULL, 0, err));
    }

done:
    return status;
}

static bool is_anyone_busy(const cop_workers *workers)
{
    bool is_busy = false;
    for (int rank = 1; rank < workers->size; rank++) {
        is_busy = is_busy || workers->desk[rank].is_busy;
    }
    return is_busy;
}

// The first failure stays: what follows it is its consequence.
static cop_status keep_first(cop_status first, cop_status later, const cop_error *own,
                             cop_error *err)
{
    return first == COP_OK && later != COP_OK ? COP_FAIL(err, later, "%s", own->message) : first;
}

cop_status cop_workers_settle(cop_run *run, cop_status status, cop_error *err)
{
    cop_workers *workers = run->workers;

    status = keep_first(status, workers->status, &workers->error, err);
    for (bool is_first = true; is_first || is_anyone_busy(workers); is_first = false) {
        cop_error own = {0};
        bool has_some = false;
        cop_status served = COP_OK;
        run->is_stopped = run->is_stopped || cop_run_should_stop(run);
        status = keep_first(status, workers->status, &workers->error, err);
        if (status != COP_OK || run->is_stopped) {
            served = send_stop(run, &own);
        }
        if (served == COP_OK) {
            served = take_all(run, &has_some, &own);
        }
        status = keep_first(status, served, &own, err);
        if (served == COP_ERR_DEVICE) { // no messages any more: nobody can be waited for
            break;
        }
        if (!has_some) {
            cop_message_pause();
        }
    }
    return status;
}

// --- Life ---------------------------------------------------------------------------------------

static cop_status create(cop_run *run, cop_error *err)
{
    const int size = cop_processes_self().size;
    cop_workers *workers = cop_alloc(1, sizeof *workers);
    if (workers != NULL) {
        workers->size = size;
        workers->desk = cop_alloc((size_t)size, sizeof *workers->desk);
    }
    if (workers == NULL || workers->desk == NULL) {
        cop_free(workers);
        return COP_FAIL(err, COP_ERR_NOMEM, "search: no memory for %d processes", size);
    }
    run->workers = workers;
    return COP_OK;
}

static bool are_all_ready(const cop_workers *workers)
{
    bool are_ready = true;
    for (int rank = 1; rank < workers->size; rank++) {
        are_ready = are_ready && workers->desk[rank].is_ready;
    }
    return are_ready;
}

cop_status cop_workers_start(cop_run *run, cop_status opened, cop_error *err)
{
    const cop_processes self = cop_processes_self();
    cop_status status = opened;
    cop_message message = {.kind = COP_MESSAGE_WELCOME};

    if (status == COP_OK) {
        status = create(run, err);
    }
    message.welcome = (cop_welcome){.status = status,
                                    .precision = run->footprint.precision,
                                    .micro_batch = run->footprint.micro_batch,
                                    .count = run->count,
                                    .inputs = run->inputs};
    for (int rank = 1; rank < self.size; rank++) {
        cop_error own = {0};
        status = keep_first(status, cop_message_send(rank, &message, NULL, 0, &own), &own, err);
    }
    while (status == COP_OK && !are_all_ready(run->workers)) {
        bool has_some = false;
        status = take_all(run, &has_some, err);
        if (!has_some) {
            cop_message_pause();
        }
    }
    if (status == COP_OK) {
        cop_run_note(run, COP_LOG_INFO, "%d processes, %d of them on this machine", self.size,
                     self.local_size);
    }
    return status;
}

void cop_workers_quit(cop_run *run)
{
    const cop_message message = {.kind = COP_MESSAGE_QUIT};
    cop_workers *workers = run->workers;

    if (workers == NULL) {
        return;
    }
    for (int rank = 1; rank < workers->size; rank++) {
        if (cop_message_send(rank, &message, NULL, 0, NULL) != COP_OK) {
            cop_processes_abort(1); // who hears nothing would wait for ever
        }
    }
    cop_free(workers->desk);
    cop_free(workers);
    run->workers = NULL;
}
