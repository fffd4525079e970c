// The pool of an external evaluator: asking, and waiting for all pipes at once.

#include "search/evaluator.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"
#include "search/evaluator_internal.h"

enum { ENDS_PER_PROCESS = 3, RESTARTS_MAX = 1000000, LAST_READS = 64 };

// How often processes are looked at whose pipes stay open because a child of theirs lives on.
static const double look_seconds = 1.0;

// --- Life ---------------------------------------------------------------------------------------

static cop_status check_seconds(double value, const char *name, cop_error *err)
{
    if (!(value >= 0.0 && value <= 1e9)) {
        return COP_FAIL(err, COP_ERR_CONFIG, "evaluator.%s: is %g (allowed: 0..1e9)", name, value);
    }
    return COP_OK;
}

static cop_status check_options(const cop_evaluator_options *options, cop_error *err)
{
    cop_status status = COP_OK;
    if (options->command == NULL || options->command[strspn(options->command, " \t\r\n")] == '\0') {
        return COP_FAIL(err, COP_ERR_CONFIG, "evaluator.command: is empty (allowed: a command)");
    }
    if (options->processes < 1 || options->processes > COP_EVALUATOR_PROCESSES_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG, "evaluator.processes: is %d (allowed: 1..%d)",
                        options->processes, (int)COP_EVALUATOR_PROCESSES_MAX);
    }
    if (options->restarts < 0 || options->restarts > RESTARTS_MAX) {
        return COP_FAIL(err, COP_ERR_CONFIG, "evaluator.restarts: is %d (allowed: 0..%d)",
                        options->restarts, (int)RESTARTS_MAX);
    }
    if (options->line_bytes_max < COP_EVALUATOR_LINE_BYTES_MIN ||
        options->line_bytes_max > (int64_t)1 << 30) {
        return COP_FAIL(err, COP_ERR_CONFIG, "evaluator.line_bytes: is %lld (allowed: %d..2^30)",
                        (long long)options->line_bytes_max, (int)COP_EVALUATOR_LINE_BYTES_MIN);
    }
    COP_TRY(status, check_seconds(options->timeout_seconds, "timeout", err));
    COP_TRY(status, check_seconds(options->start_seconds, "start", err));
    COP_TRY(status, check_seconds(options->stop_seconds, "stop", err));
    if (options->directory != NULL && !cop_file_is_directory(options->directory)) {
        return COP_FAIL(err, COP_ERR_IO, "%s: is no folder to run the evaluator in",
                        options->directory);
    }
    assert(options->required_count == 0 || options->required != NULL);

done:
    return status;
}

cop_status cop_evaluator_create(cop_evaluator **out, const cop_evaluator_options *options,
                                cop_error *err)
{
    cop_status status = COP_OK;
    cop_evaluator *pool = NULL;
    *out = NULL;
    status = check_options(options, err);
    if (status != COP_OK) {
        return status;
    }
    const size_t count = (size_t)options->processes;
    pool = cop_alloc(1, sizeof *pool);
    bool has_memory = pool != NULL;
    if (has_memory) {
        pool->options = *options;
        pool->has_answered = options->has_answered;
        pool->command = cop_alloc_string(options->command);
        pool->directory = options->directory != NULL ? cop_alloc_string(options->directory) : NULL;
        pool->options.command = pool->command;
        pool->options.directory = pool->directory;
        pool->processes = cop_alloc(count, sizeof *pool->processes);
        pool->ready = cop_alloc(count, sizeof *pool->ready);
        pool->polls = cop_alloc(count, ENDS_PER_PROCESS * sizeof *pool->polls);
        pool->polled = cop_alloc(count, ENDS_PER_PROCESS * sizeof *pool->polled);
        has_memory = pool->command != NULL && pool->processes != NULL && pool->ready != NULL &&
                     pool->polls != NULL && pool->polled != NULL &&
                     (pool->directory != NULL || options->directory == NULL);
    }
    const bool has_processes = pool != NULL && pool->processes != NULL;
    for (size_t i = 0; has_processes && i < count; i++) {
        pool->processes[i] = (cop_evaluator_process){.options = &pool->options,
                                                     .command = pool->command,
                                                     .number = (int)i,
                                                     .in = -1,
                                                     .out = -1,
                                                     .log = -1};
    }
    if (!has_memory) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "evaluator: no memory for %zu processes", count);
        goto done;
    }
    *out = pool;
    pool = NULL;

done:
    cop_evaluator_destroy(pool);
    return status;
}

void cop_evaluator_destroy(cop_evaluator *pool)
{
    if (pool == NULL) {
        return;
    }
    if (pool->processes != NULL) {
        cop_evaluator_processes_stop(pool->processes, pool->options.processes,
                                     pool->options.stop_seconds);
        for (int i = 0; i < pool->options.processes; i++) {
            cop_evaluator_process *const process = &pool->processes[i];
            cop_evaluator_answer_release(&process->answer);
            cop_text_release(&process->id);
            cop_text_release(&process->request);
            cop_free(process->input);
        }
    }
    cop_free(pool->polled);
    cop_free(pool->polls);
    cop_free(pool->ready);
    cop_free(pool->processes);
    cop_free(pool->directory);
    cop_free(pool->command);
    cop_free(pool);
}

void cop_evaluator_answer_release(cop_evaluator_answer *answer)
{
    cop_free(answer->metrics);
    *answer = (cop_evaluator_answer){0};
}

// --- Asking -------------------------------------------------------------------------------------

int cop_evaluator_free_slots(const cop_evaluator *pool)
{
    return pool->options.processes - pool->busy_count - pool->ready_count;
}

// One that runs, or else one that is to be started.
static cop_evaluator_process *find_free(cop_evaluator *pool)
{
    cop_evaluator_process *found = NULL;
    for (int i = 0; i < pool->options.processes; i++) {
        cop_evaluator_process *const process = &pool->processes[i];
        if (!process->is_busy && !process->has_answer) {
            if (process->pid > 0) {
                return process;
            }
            found = found == NULL ? process : found;
        }
    }
    return found;
}

// Behind what an answered request left unread in our hands: a program may answer early.
static bool add_request(cop_evaluator_process *process, const char *id, const char *values,
                        double fidelity)
{
    cop_text *const request = &process->request;
    const size_t rest = process->pid > 0 ? request->length - process->sent_bytes : 0;
    if (rest > 0) {
        memmove(request->data, request->data + process->sent_bytes, rest);
    }
    request->length = rest;
    process->sent_bytes = 0;
    process->id.length = 0;
    cop_text_append(&process->id, id);
    cop_evaluator_request_text(request, id, values, fidelity);
    return !process->id.is_broken && !request->is_broken;
}

// A request that failed leaves nothing; half of an earlier one would put the program out of step.
static void drop_request(cop_evaluator_process *process, bool has_rest)
{
    cop_text_release(&process->id);
    cop_text_release(&process->request);
    process->sent_bytes = 0;
    if (process->pid > 0 && has_rest) {
        (void)cop_evaluator_process_end(process, 0);
    }
}

cop_status cop_evaluator_submit(cop_evaluator *pool, int64_t ticket, const char *id,
                                const char *values, double fidelity, cop_error *err)
{
    cop_status status = COP_OK;
    cop_evaluator_process *const process = find_free(pool);
    assert(process != NULL);
    const bool has_rest = process->sent_bytes < process->request.length;
    bool has_memory = add_request(process, id, values, fidelity);
    if (has_memory && process->pid > 0 && !cop_evaluator_send(process)) {
        cop_evaluator_bury(pool, process, "closed its input"); // while nobody looked
        has_memory = add_request(process, id, values, fidelity);
    }
    if (!has_memory) {
        status = COP_FAIL(err, COP_ERR_NOMEM, "evaluator %d: no memory for request %s",
                          process->number, id);
        goto done;
    }
    if (process->pid == 0) {
        COP_TRY(status, cop_evaluator_process_start(process, err));
        (void)cop_evaluator_send(process); // wait() sees what became of it
    }
    process->ticket = ticket;
    process->is_busy = true;
    process->asked = cop_clock_seconds();
    process->deadline = (double)INFINITY;
    if (pool->options.timeout_seconds > 0.0) {
        process->deadline = process->asked + pool->options.timeout_seconds +
                            (process->is_fresh ? pool->options.start_seconds : 0.0);
    }
    pool->busy_count++;

done:
    if (status != COP_OK) {
        drop_request(process, has_rest);
    }
    return status;
}

// --- Waiting ------------------------------------------------------------------------------------

static int add_polls(const cop_evaluator *pool)
{
    int count = 0;
    for (int i = 0; i < pool->options.processes; i++) {
        const cop_evaluator_process *const process = &pool->processes[i];
        const bool is_sending = process->sent_bytes < process->request.length;
        const struct pollfd ends[ENDS_PER_PROCESS] = {
            // In the order of what is to be known of a process that ended: what it said, what it answered.
            {.fd = process->log, .events = POLLIN},
            {.fd = process->out, .events = POLLIN},
            {.fd = is_sending ? process->in : -1, .events = POLLOUT}};
        for (int k = 0; k < ENDS_PER_PROCESS && process->pid > 0; k++) {
            if (ends[k].fd >= 0) {
                pool->polls[count] = ends[k];
                pool->polled[count++] = i;
            }
        }
    }
    return count;
}

// Until the first deadline, the end of the wait, or the next look at those whose pipes are silent.
static int poll_milliseconds(const cop_evaluator *pool, double now, double end)
{
    for (int i = 0; i < pool->options.processes; i++) {
        const cop_evaluator_process *const process = &pool->processes[i];
        end = process->is_busy && process->deadline < end ? process->deadline : end;
    }
    end = pool->busy_count > 0 && pool->looked + look_seconds < end ? pool->looked + look_seconds
                                                                    : end;
    return end <= now ? 0 : (int)ceil(fmin((end - now) * 1e3, 1e6));
}

static cop_status read_answers(cop_evaluator *pool, cop_evaluator_process *process, cop_error *err)
{
    switch (cop_evaluator_receive(process)) {
    case COP_EVALUATOR_READ_SOME: return cop_evaluator_take_lines(pool, process, err);
    case COP_EVALUATOR_READ_NOTHING: return COP_OK;
    case COP_EVALUATOR_READ_END:
        cop_evaluator_bury(pool, process, "closed its output");
        return COP_OK;
    case COP_EVALUATOR_READ_NOMEM: break;
    }
    return COP_FAIL(err, COP_ERR_NOMEM, "evaluator %d: no memory for its answer", process->number);
}

static cop_status serve(cop_evaluator *pool, const struct pollfd *event,
                        cop_evaluator_process *process, cop_error *err)
{
    if (event->fd == process->log) {
        cop_evaluator_receive_log(process);
    } else if (event->fd == process->out) {
        return read_answers(pool, process, err);
    } else if (event->fd == process->in && !cop_evaluator_send(process)) {
        cop_evaluator_bury(pool, process, "closed its input");
    }
    return COP_OK;
}

// What it says by now, even if it was its time that ended first: the caller may have been away.
static cop_status hear_out(cop_evaluator *pool, cop_evaluator_process *process, cop_error *err)
{
    size_t before = SIZE_MAX;
    cop_status status = COP_OK;
    for (int i = 0; i < LAST_READS && status == COP_OK && process->is_busy && process->pid > 0 &&
                    process->input_bytes != before;
         i++) {
        before = process->input_bytes;
        status = read_answers(pool, process, err);
    }
    return status;
}

// Ends it when it is late, or when it exited while a child of it keeps the pipes open.
static cop_status look_at(cop_evaluator *pool, cop_evaluator_process *process, bool looks,
                          double now, cop_error *err)
{
    cop_status status = COP_OK;
    if (!process->is_busy || process->pid == 0) {
        return COP_OK;
    }
    const bool has_exited = looks && cop_evaluator_process_has_exited(process);
    const bool is_late = process->deadline <= now;
    if (has_exited || is_late) {
        status = hear_out(pool, process, err);
    }
    if (status == COP_OK && process->is_busy && process->pid > 0 && (has_exited || is_late)) {
        if (has_exited) {
            cop_evaluator_bury(pool, process, "ended");
        } else {
            cop_evaluator_end_late(pool, process);
        }
    }
    return status;
}

static cop_status look(cop_evaluator *pool, cop_error *err)
{
    cop_status status = COP_OK;
    const double now = cop_clock_seconds();
    const bool looks = now >= pool->looked + look_seconds;
    pool->looked = looks ? now : pool->looked;
    for (int i = 0; i < pool->options.processes && status == COP_OK; i++) {
        status = look_at(pool, &pool->processes[i], looks, now, err);
    }
    return status;
}

// Waits once, until `end` at most, and does what there is to do.
static cop_status turn(cop_evaluator *pool, double end, bool *is_interrupted, cop_error *err)
{
    cop_status status = COP_OK;
    const int count = add_polls(pool);
    const int timeout = poll_milliseconds(pool, cop_clock_seconds(), end);
    const int events = poll(pool->polls, (nfds_t)count, timeout);
    if (events < 0) {
        *is_interrupted = errno == EINTR;
        if (!*is_interrupted) {
            char reason[128];
            status = COP_FAIL(err, COP_ERR_IO, "evaluator: cannot wait: %s",
                              strerror_r(errno, reason, sizeof reason) == 0 ? reason : "unknown");
        }
        return status;
    }
    for (int i = 0; events > 0 && i < count && status == COP_OK; i++) {
        if (pool->polls[i].revents != 0) {
            status = serve(pool, &pool->polls[i], &pool->processes[pool->polled[i]], err);
        }
    }
    return status == COP_OK ? look(pool, err) : status;
}

cop_status cop_evaluator_wait(cop_evaluator *pool, double timeout_seconds,
                              cop_evaluator_answer *out, bool *has_one, cop_error *err)
{
    const double start = cop_clock_seconds();
    const double end = timeout_seconds < 0.0 ? (double)INFINITY : start + timeout_seconds;
    bool is_over = false;
    *out = (cop_evaluator_answer){0};
    *has_one = false;
    while (pool->ready_count == 0 && pool->failure.status == COP_OK && !is_over) {
        const bool is_idle = pool->busy_count == 0;
        bool is_interrupted = false;
        // Its own object: err may be NULL, and the failure stays.
        if (turn(pool, is_idle ? start : end, &is_interrupted, &pool->failure) != COP_OK) {
            break;
        }
        is_over = is_interrupted || is_idle || cop_clock_seconds() >= end;
    }
    if (pool->ready_count > 0) { // before a failure: what was answered was answered
        cop_evaluator_process *const process = &pool->processes[pool->ready[pool->ready_first]];
        pool->ready_first = (pool->ready_first + 1) % pool->options.processes;
        pool->ready_count--;
        process->has_answer = false;
        *out = process->answer;
        process->answer = (cop_evaluator_answer){0};
        *has_one = true;
        return COP_OK;
    }
    if (pool->failure.status != COP_OK && err != NULL) {
        *err = pool->failure;
    }
    return pool->failure.status;
}
