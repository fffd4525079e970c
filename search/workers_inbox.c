// Rank 0's side: what workers send, and what becomes of it.

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "search/workers_internal.h"

static const double store_seconds = 0.1; // between two notes of progress for `status`

// --- What workers send --------------------------------------------------------------------------

static void count_done(cop_run *run, cop_desk *d, int64_t done)
{
    run->tokens_done += done - d->done;
    d->done = done;
    cop_progress_update(&run->progress, run->tokens_done, NULL);
}

// What is at work elsewhere by now is no longer counted, and dropped as soon as its worker hears of it.
static cop_status take_late(cop_run *run, int rank, cop_error *err)
{
    cop_desk *d = &run->workers->desk[rank];
    const cop_message message = {.kind = COP_MESSAGE_DROP};

    if (d->is_dropped) {
        return COP_OK;
    }
    d->is_dropped = true;
    return cop_message_send(rank, &message, NULL, 0, err);
}

static cop_status take_progress(cop_run *run, int rank, const cop_work_progress *progress,
                                cop_error *err)
{
    cop_workers *workers = run->workers;
    cop_desk *d = &workers->desk[rank];
    const double now = cop_clock_seconds();

    if (!cop_scheduler_heard(workers->scheduler, rank, progress->ticket, progress->done - d->done,
                             now)) {
        return take_late(run, rank, err);
    }
    count_done(run, d, progress->done);
    if (progress->is_saved) {
        return cop_run_reset_stalled(run, rank, err);
    }
    // Every point of the curve is a figure; the rest is for who looks, and not worth a write each.
    if (!isfinite(progress->loss) && now - workers->stored_seconds < store_seconds) {
        return COP_OK;
    }
    workers->stored_seconds = now;
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

// The end of work that is another's by now: its worker is free for new work.
static void take_late_outcome(cop_run *run, int rank, double now)
{
    cop_workers *workers = run->workers;
    workers->desk[rank].is_dropped = false;
    cop_scheduler_ready(workers->scheduler, rank, now);
    cop_workers_note(run, rank, COP_LOG_WARNING,
                     "is back; what it was given up with is another's by now");
}

static cop_status take_outcome(cop_run *run, int rank, const cop_work_outcome *sent, double *values,
                               int64_t count, cop_error *err)
{
    cop_workers *workers = run->workers;
    cop_desk *d = &workers->desk[rank];
    const double now = cop_clock_seconds();
    const int64_t done = sent->verdict.status == COP_OK ? sent->done : 0;
    bool again = false;
    cop_status status = COP_OK;
    cop_outcome outcome = {.status = sent->verdict.status,
                           .is_stopped = sent->is_stopped,
                           .latency = sent->latency,
                           .seconds = sent->seconds};

    if (!cop_scheduler_heard(workers->scheduler, rank, sent->ticket, done - d->done, now)) {
        take_late_outcome(run, rank, now);
        return COP_OK;
    }
    (void)snprintf(outcome.error.message, sizeof outcome.error.message, "%s",
                   sent->verdict.message);
    count_done(run, d, done);
    COP_TRY(status, unpack_evaluation(&outcome.evaluation, sent, values, count, err));
    COP_TRY(status, cop_run_end(run, rank, &d->assignment, &outcome, &d->failures, &again, err));
    again = again && !workers->is_stop_sent;
    if (again) {
        cop_scheduler_retry(workers->scheduler, rank, now);
        COP_TRY(status, cop_workers_assign(run, rank, err));
    }

done:
    if (!again) {
        cop_scheduler_finish(workers->scheduler, rank,
                             outcome.status == COP_OK && !outcome.is_stopped, now);
    }
    cop_outcome_release(&outcome);
    return status;
}

static cop_status take_ready(cop_run *run, int rank, const cop_work_ready *ready, cop_error *err)
{
    cop_desk *d = &run->workers->desk[rank];
    d->is_ready = true;
    memcpy(d->host, ready->host, sizeof d->host);
    if (ready->verdict.status != COP_OK) {
        return COP_FAIL(err, ready->verdict.status, "%s", ready->verdict.message);
    }
    cop_scheduler_ready(run->workers->scheduler, rank, cop_clock_seconds());
    if (ready->crowd[0] != '\0') {
        cop_workers_note(run, rank, COP_LOG_WARNING, "%s", ready->crowd);
    }
    return COP_OK;
}

static cop_status take_message(cop_run *run, int rank, const cop_message *message, double *values,
                               int64_t count, cop_error *err)
{
    switch (message->kind) {
    case COP_MESSAGE_READY: return take_ready(run, rank, &message->ready, err);
    case COP_MESSAGE_PROGRESS: return take_progress(run, rank, &message->progress, err);
    case COP_MESSAGE_NOTE:
        cop_workers_note(run, rank, message->note.level, "%s", message->note.line);
        break;
    case COP_MESSAGE_WANTS_STOP: run->wants_stop = true; break;
    case COP_MESSAGE_OUTCOME: return take_outcome(run, rank, &message->outcome, values, count, err);
    case COP_MESSAGE_WELCOME:
    case COP_MESSAGE_ASSIGN:
    case COP_MESSAGE_STOP:
    case COP_MESSAGE_DROP:
    case COP_MESSAGE_QUIT:
    default:
        return COP_FAIL(err, COP_ERR_FORMAT, "search: rank %d sent a message of kind %d", rank,
                        (int)message->kind);
    }
    return COP_OK;
}

cop_status cop_workers_take_all(cop_run *run, bool *has_some, cop_error *err)
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
