// What becomes of a request: its answer, or the end of the process that had it.

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "search/evaluator_internal.h"

enum { COMMAND_SHOWN = 100, SAID_SHOWN = 160 };

// A process that closed a pipe is about to exit: what its exit status says is worth this wait.
static const double exit_grace_seconds = 0.5;

// --- Ends ---------------------------------------------------------------------------------------

static void put_answer(cop_evaluator *pool, cop_evaluator_process *process)
{
    process->is_busy = false;
    process->has_answer = true;
    process->answer.ticket = process->ticket;
    process->answer.process = process->number;
    process->answer.seconds = cop_clock_seconds() - process->asked;
    pool->ready[(pool->ready_first + pool->ready_count) % pool->options.processes] =
        process->number;
    pool->ready_count++;
    pool->busy_count--;
    cop_evaluator_flush_log(process, false);
}

// ` (it last said: "…")`, or nothing.
static const char *last_words(char *out, size_t bytes, const cop_evaluator_process *process)
{
    char quoted[COP_EVALUATOR_QUOTE_BYTES];
    out[0] = '\0';
    if (process->last_line[0] != '\0') {
        (void)snprintf(out, bytes, "; it last said: %s",
                       cop_evaluator_quote(quoted, process->last_line, strlen(process->last_line),
                                           SAID_SHOWN));
    }
    return out;
}

// Counts an end without an answer; too many in a row are the pool's failure, and the request at hand is
// not answered.
static bool gives_up(cop_evaluator *pool, cop_evaluator_process *process, const char *how,
                     const char *detail)
{
    char command[COP_EVALUATOR_QUOTE_BYTES];
    if (pool->failure.status != COP_OK) { // the first one is told
        return true;
    }
    process->ends++;
    pool->ends++;
    const int ends = pool->has_answered ? process->ends : pool->ends;
    const int first = pool->options.restarts_first < pool->options.restarts
                          ? pool->options.restarts_first
                          : pool->options.restarts;
    if (ends <= (pool->has_answered ? pool->options.restarts : first)) {
        return false;
    }
    (void)cop_evaluator_quote(command, pool->command, strlen(pool->command), COMMAND_SHOWN);
    (void)COP_FAIL(
        &pool->failure, COP_ERR_CONFIG,
        "evaluator.command: %s %s, %d time%s in a row%s (allowed: a program that answers "
        "each line)",
        command, how, ends, ends == 1 ? "" : "s", detail);
    return true;
}

// It exited, or will never answer again. `closed` says what was seen of it.
void cop_evaluator_bury(cop_evaluator *pool, cop_evaluator_process *process, const char *closed)
{
    char text[COP_EVALUATOR_LOG_BYTES];
    char how[COP_EVALUATOR_LOG_BYTES + 32];
    char words[COP_EVALUATOR_QUOTE_BYTES + 32];
    const cop_evaluator_end end = cop_evaluator_process_end(process, exit_grace_seconds);
    (void)snprintf(how, sizeof how, "%s%s",
                   end.was_killed ? closed : cop_evaluator_end_text(text, &end),
                   process->is_busy ? " without an answer" : " between two requests");
    (void)last_words(words, sizeof words, process);
    if (!process->is_busy) {
        cop_evaluator_note(process, "%s", how);
    } else if (!gives_up(pool, process, how, words)) {
        cop_evaluator_answer_fail(&process->answer, COP_EVALUATOR_DIED, "%s%s", how, words);
        put_answer(pool, process);
    }
}

// What it says is out of step with what it is asked: only a new process knows where it is.
static void replace(cop_evaluator *pool, cop_evaluator_process *process)
{
    char detail[COP_ERROR_MESSAGE_BYTES + 8];
    (void)snprintf(detail, sizeof detail, "; %s", process->answer.reason);
    (void)cop_evaluator_process_end(process, 0);
    if (!gives_up(pool, process, "writes lines that are no answers", detail)) {
        put_answer(pool, process);
    }
}

void cop_evaluator_end_late(cop_evaluator *pool, cop_evaluator_process *process)
{
    char words[COP_EVALUATOR_QUOTE_BYTES + 32];
    char seconds[COP_TEXT_NUMBER_BYTES];
    (void)cop_text_seconds(seconds, process->deadline - process->asked);
    (void)cop_evaluator_process_end(process, 0);
    cop_evaluator_answer_fail(&process->answer, COP_EVALUATOR_TIMEOUT, "no answer within %s%s",
                              seconds, last_words(words, sizeof words, process));
    put_answer(pool, process);
}

// --- Lines --------------------------------------------------------------------------------------

static bool is_blank(const char *line, size_t bytes)
{
    size_t at = 0;
    while (at < bytes && (line[at] == ' ' || line[at] == '\t' || line[at] == '\r')) {
        at++;
    }
    return at == bytes;
}

static void note_unasked(cop_evaluator_process *process, const char *line, size_t bytes)
{
    char quoted[COP_EVALUATOR_QUOTE_BYTES];
    if (process->unasked == 0) {
        cop_evaluator_note(process, "a line that answers nothing was ignored: %s",
                           cop_evaluator_quote(quoted, line, bytes, COMMAND_SHOWN));
    }
    process->unasked++;
}

static cop_status take_line(cop_evaluator *pool, cop_evaluator_process *process, const char *line,
                            size_t bytes, cop_error *err)
{
    cop_status status = COP_OK;
    bool is_in_step = false;
    if (is_blank(line, bytes)) {
        return COP_OK;
    }
    if (!process->is_busy) {
        note_unasked(process, line, bytes);
        return COP_OK;
    }
    COP_TRY(status,
            cop_evaluator_answer_parse(&process->answer, &is_in_step, line, bytes, process->id.data,
                                       pool->options.required, pool->options.required_count, err));
    if (is_in_step) {
        process->is_fresh = false;
        process->ends = 0;
        pool->has_answered = true;
        put_answer(pool, process);
    } else {
        replace(pool, process);
    }

done:
    return status;
}

static void refuse_long_line(cop_evaluator *pool, cop_evaluator_process *process, const char *line,
                             size_t bytes)
{
    char quoted[COP_EVALUATOR_QUOTE_BYTES];
    (void)cop_evaluator_quote(quoted, line, bytes, COMMAND_SHOWN);
    if (process->is_busy) {
        cop_evaluator_answer_fail(&process->answer, COP_EVALUATOR_BAD,
                                  "the answer is longer than %lld bytes: %s",
                                  (long long)pool->options.line_bytes_max, quoted);
        replace(pool, process);
    } else {
        cop_evaluator_note(process, "ended: a line that answers nothing has no end: %s", quoted);
        (void)cop_evaluator_process_end(process, 0);
    }
}

// Takes the whole lines that were read.
cop_status cop_evaluator_take_lines(cop_evaluator *pool, cop_evaluator_process *process,
                                    cop_error *err)
{
    cop_status status = COP_OK;
    const size_t bytes_max = (size_t)pool->options.line_bytes_max;
    const char *line = NULL;
    size_t bytes = 0;
    size_t at = 0;
    while (status == COP_OK && process->pid > 0 &&
           cop_evaluator_next_line(process, &at, &line, &bytes)) {
        if (bytes > bytes_max) {
            refuse_long_line(pool, process, line, bytes);
        } else {
            status = take_line(pool, process, line, bytes, err);
        }
    }
    if (status == COP_OK && process->pid > 0) { // else all that it said is void
        cop_evaluator_consume(process, at);
        if (process->input_bytes > bytes_max) {
            refuse_long_line(pool, process, process->input, process->input_bytes);
        }
    }
    return status;
}
