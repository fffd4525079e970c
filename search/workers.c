// Rank 0's side: who evaluates what.

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "search/workers_internal.h"

enum { DEDICATED_FROM = 17 };

static const double default_stall_seconds = 300.0;

void cop_workers_note(cop_run *run, int rank, cop_log_level level, const char *format, ...)
{
    char line[COP_ERROR_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    const int wanted = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (wanted >= 0) {
        cop_run_note(run, level, "[%d %s] %s", rank, run->workers->desk[rank].host, line);
    }
}

// --- Handing out --------------------------------------------------------------------------------

cop_status cop_workers_assign(cop_run *run, int rank, cop_error *err)
{
    cop_workers *workers = run->workers;
    cop_desk *d = &workers->desk[rank];
    const cop_message message = {
        .kind = COP_MESSAGE_ASSIGN,
        .work = {.assignment = d->assignment,
                 .ticket = cop_scheduler_worker(workers->scheduler, rank)->ticket}};
    // Blocks that differ travel behind the message, three numbers each.
    const cop_layer_arch *layer = d->assignment.candidate.layer;
    const int64_t layers = layer != NULL ? d->assignment.candidate.layers : 0;
    double values[3 * COP_ARCH_LAYERS_MAX];
    for (int64_t i = 0; i < layers; i++) {
        values[3 * i] = (double)layer[i].heads;
        values[3 * i + 1] = (double)layer[i].kv_heads;
        values[3 * i + 2] = (double)layer[i].ffn;
    }
    d->done = 0;
    return cop_message_send(rank, &message, values, 3 * layers, err);
}

// Its share of the work ahead, in FLOPs that only compare with one another: all see the same tokens of a stage,
// but for what an interrupted attempt has left behind.
static double cost_of(const cop_run *run, int64_t index)
{
    const cop_snapshot_candidate *c = &run->snapshot.candidate[index];
    const int stage = run->queue.stage;
    const double last = stage > 0 ? (double)run->study->rung_tokens[stage - 1] : 0.0;
    const double first = stage > 1 ? (double)run->study->rung_tokens[stage - 2] : 0.0;
    const double reached = c->running_stage == stage ? (double)c->running_tokens : first;
    const double trained = last - fmin(fmax(reached, first), last);
    const double evaluated = (double)(run->held_count * run->study->probe_sequence);
    return c->candidate.cost.flops_per_token * (3.0 * trained + evaluated);
}

// Everything that the stage has to offer by now.
static cop_status fill_queue(cop_run *run, cop_error *err)
{
    cop_scheduler *scheduler = run->workers->scheduler;
    cop_status status = COP_OK;
    int64_t index = cop_run_next(run);

    while (index >= 0) {
        COP_TRY(status, cop_scheduler_add(scheduler, index, cost_of(run, index), err));
        index = cop_run_next(run);
    }
    run->queue.number = run->queue.entrants - cop_scheduler_queued(scheduler);

done:
    return status;
}

static bool is_over(const cop_run *run)
{
    return run->wants_stop || run->is_stopped || run->workers->is_stop_sent;
}

static cop_status hand_out(cop_run *run, cop_error *err)
{
    cop_workers *workers = run->workers;
    cop_status status = COP_OK;
    cop_hand_out next;

    COP_TRY(status, fill_queue(run, err));
    while (!is_over(run) &&
           cop_scheduler_hand_out(workers->scheduler, cop_clock_seconds(), &next)) {
        cop_desk *d = &workers->desk[next.worker];
        bool is_given_up = false;
        d->failures = 0;
        d->is_dropped = false;
        COP_TRY(status, cop_run_begin(run, next.worker, next.task, run->queue.stage, &d->assignment,
                                      &is_given_up, err));
        if (is_given_up) {
            cop_scheduler_finish(workers->scheduler, next.worker, false, cop_clock_seconds());
        } else {
            COP_TRY(status, cop_workers_assign(run, next.worker, err));
        }
    }

done:
    return status;
}

// --- Silence ------------------------------------------------------------------------------------

static cop_status heed(cop_run *run, const cop_silence *silence, cop_error *err)
{
    cop_workers *workers = run->workers;
    const cop_message message = {.kind = COP_MESSAGE_DROP};
    cop_desk *d = &workers->desk[silence->worker];
    const char *id = d->assignment.id;

    if (!silence->is_lost) {
        cop_workers_note(run, silence->worker, COP_LOG_WARNING,
                         "%s: nothing was heard for %.0f s, at stage %d", id, silence->seconds,
                         d->assignment.stage);
        return COP_OK;
    }
    cop_workers_note(run, silence->worker, COP_LOG_WARNING,
                     "%s: given up after %.0f s of silence, at stage %d; another evaluates it", id,
                     silence->seconds, d->assignment.stage);
    workers->has_lost = true;
    cop_processes_part();
    run->tokens_done -= d->done;
    d->done = 0;
    d->is_dropped = true;
    return cop_message_send(silence->worker, &message, NULL, 0, err);
}

static cop_status heed_silence(cop_run *run, cop_error *err)
{
    cop_status status = COP_OK;
    cop_silence silence;
    while (cop_scheduler_check(run->workers->scheduler, cop_clock_seconds(), &silence)) {
        COP_TRY(status, heed(run, &silence, err));
    }

done:
    return status;
}

// The first failure stays: what follows it is its consequence.
static cop_status keep_first(cop_status first, cop_status later, const cop_error *own,
                             cop_error *err)
{
    return first == COP_OK && later != COP_OK ? COP_FAIL(err, later, "%s", own->message) : first;
}

// --- A stage ------------------------------------------------------------------------------------

static cop_status serve_all(cop_run *run, bool *has_some, cop_error *err)
{
    cop_status status = COP_OK;
    COP_TRY(status, cop_workers_take_all(run, has_some, err));
    COP_TRY(status, heed_silence(run, err));
    COP_TRY(status, hand_out(run, err));

done:
    return status;
}

// Everything that has come by now is recorded in one go: one wait for the disk, however many workers.
static cop_status serve(cop_run *run, bool *has_some, cop_error *err)
{
    cop_error own = {0};
    cop_store_group(run->store);
    const cop_status status = serve_all(run, has_some, err);
    const cop_status ended = cop_store_group_end(run->store, &own);
    return keep_first(status, ended, &own, err);
}

cop_status cop_workers_serve(cop_run *run, cop_error *err)
{
    bool has_some = false;
    return serve(run, &has_some, err);
}

void cop_workers_tick(cop_run *run)
{
    cop_workers *workers = run->workers;
    if (workers->status == COP_OK) {
        workers->status = cop_workers_serve(run, &workers->error);
        run->wants_stop = run->wants_stop || workers->status != COP_OK;
    }
}

// The longest that is queued, for rank 0 itself; -1: none.
static int64_t take_own(cop_run *run)
{
    cop_scheduler *scheduler = run->workers->scheduler;
    int64_t index = -1;

    if (!cop_scheduler_pop(scheduler, &index)) {
        return -1;
    }
    run->queue.number = run->queue.entrants - cop_scheduler_queued(scheduler);
    return index;
}

int64_t cop_workers_next(cop_run *run)
{
    const int from = run->options->dedicated_from;
    return run->workers->size >= (from > 0 ? from : DEDICATED_FROM) ? -1 : take_own(run);
}

static cop_status send_all(cop_run *run, const cop_message *message, cop_error *err)
{
    cop_status status = COP_OK;
    for (int rank = 1; rank < run->workers->size; rank++) {
        COP_TRY(status, cop_message_send(rank, message, NULL, 0, err));
    }

done:
    return status;
}

static cop_status send_stop(cop_run *run, cop_error *err)
{
    cop_workers *workers = run->workers;
    const cop_message message = {.kind = COP_MESSAGE_STOP};
    const double give_up = run->options->give_up_seconds;

    if (workers->is_stop_sent) {
        return COP_OK;
    }
    workers->is_stop_sent = true;
    if (give_up > 0.0) { // nothing depends on who is silent now
        const double stall = run->options->stall_seconds;
        cop_scheduler_set_give_up(workers->scheduler,
                                  fmin(give_up, stall > 0.0 ? stall : default_stall_seconds));
    }
    return send_all(run, &message, err);
}

// Is there anything to wait for?
static bool is_at_work(const cop_run *run)
{
    const cop_workers *workers = run->workers;
    return cop_scheduler_busy(workers->scheduler) > 0 ||
           (!is_over(run) && cop_scheduler_queued(workers->scheduler) > 0);
}

// What comes back when nobody else is left.
static cop_status run_left(cop_run *run, cop_error *err)
{
    cop_status status = COP_OK;
    if (!is_over(run) && cop_scheduler_alive(run->workers->scheduler) == 0) {
        const int64_t index = take_own(run);
        if (index >= 0) {
            COP_TRY(status, cop_run_candidate(run, index, run->queue.stage, err));
        }
    }

done:
    return status;
}

cop_status cop_workers_settle(cop_run *run, cop_status status, cop_error *err)
{
    cop_workers *workers = run->workers;
    int idle = 0;

    status = keep_first(status, workers->status, &workers->error, err);
    for (bool is_first = true; is_first || is_at_work(run); is_first = false) {
        cop_error own = {0};
        bool has_some = false;
        cop_status served = COP_OK;
        run->is_stopped = run->is_stopped || cop_run_should_stop(run);
        status = keep_first(status, workers->status, &workers->error, err);
        if (status != COP_OK || run->is_stopped) {
            served = send_stop(run, &own);
        }
        if (served == COP_OK) {
            served = serve(run, &has_some, &own);
        }
        if (served == COP_OK && status == COP_OK) {
            served = run_left(run, &own);
        }
        status = keep_first(status, served, &own, err);
        if (served == COP_ERR_DEVICE) { // no messages any more: nobody can be waited for
            break;
        }
        if (has_some) {
            idle = 0;
        } else if (is_at_work(run)) {
            cop_message_pause(&idle);
        }
    }
    cop_scheduler_clear(workers->scheduler);
    return status;
}

// --- Life ---------------------------------------------------------------------------------------

static void destroy(cop_workers *workers)
{
    if (workers != NULL) {
        cop_scheduler_destroy(workers->scheduler);
        cop_free(workers->desk);
        cop_free(workers);
    }
}

static cop_status create(cop_run *run, cop_error *err)
{
    const int size = cop_processes_self().size;
    const double stall = run->options->stall_seconds;
    const double give_up = run->options->give_up_seconds;
    cop_scheduler_options options = {.workers = size,
                                     .stall_seconds = stall > 0.0 ? stall : default_stall_seconds,
                                     .give_up_seconds = give_up > 0.0 ? give_up : (double)INFINITY};
    cop_status status = COP_OK;
    cop_workers *workers = cop_alloc(1, sizeof *workers);

    options.stall_seconds = fmin(options.stall_seconds, options.give_up_seconds);
    if (workers != NULL) {
        workers->size = size;
        workers->desk = cop_alloc((size_t)size, sizeof *workers->desk);
    }
    if (workers == NULL || workers->desk == NULL) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "search: no memory for %d processes", size);
        goto done;
    }
    cop_message_host(workers->desk[0].host);
    COP_TRY(status, cop_scheduler_create(&workers->scheduler, &options, err));
    run->workers = workers;
    workers = NULL;

done:
    destroy(workers);
    return status;
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
    int idle = 0;

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
        status = cop_workers_take_all(run, &has_some, err);
        if (!has_some) {
            cop_message_pause(&idle);
        }
    }
    if (status == COP_OK) {
        cop_run_note(run, COP_LOG_INFO, "%d processes, %d of them on this machine", self.size,
                     self.local_size);
    }
    return status;
}

static void note_shares(cop_run *run)
{
    for (int rank = 1; rank < run->workers->size; rank++) {
        const cop_worker_record *r = cop_scheduler_worker(run->workers->scheduler, rank);
        if (r->tasks == 0 && r->losses == 0) {
            continue;
        }
        cop_workers_note(run, rank, COP_LOG_DEBUG,
                         "evaluated %" PRId64 " candidates, %" PRId64 " tokens in %.1f s%s",
                         r->tasks, r->tokens, r->busy_seconds,
                         r->state == COP_WORKER_LOST ? "; lost" : "");
    }
}

void cop_workers_quit(cop_run *run)
{
    cop_message message = {.kind = COP_MESSAGE_QUIT};

    if (run->workers == NULL) {
        return;
    }
    message.farewell.has_lost = run->workers->has_lost;
    note_shares(run);
    if (send_all(run, &message, NULL) != COP_OK) {
        cop_processes_abort(1); // who hears nothing would wait for ever
    }
    destroy(run->workers);
    run->workers = NULL;
}
