// The pipes of one process of an external evaluator: lines out of and into bytes, and its log.

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "search/evaluator_internal.h"

enum { INPUT_BYTES = 4096, LOG_READ_BYTES = 16384 };

// --- Requests -----------------------------------------------------------------------------------

// write() without SIGPIPE. That one is sent to the thread that writes: blocking it here touches nobody else.
static ssize_t write_quietly(int fd, const char *data, size_t bytes)
{
    const struct timespec at_once = {0};
    sigset_t broken;
    sigset_t before;
    (void)sigemptyset(&broken);
    (void)sigaddset(&broken, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &broken, &before);
    const ssize_t written = write(fd, data, bytes);
    const int reason = errno;
    if (written < 0 && reason == EPIPE) {
        while (sigtimedwait(&broken, NULL, &at_once) < 0 && errno == EINTR) {
        }
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    errno = reason;
    return written;
}

bool cop_evaluator_send(cop_evaluator_process *process)
{
    while (process->sent_bytes < process->request.length) {
        const ssize_t written =
            write_quietly(process->in, process->request.data + process->sent_bytes,
                          process->request.length - process->sent_bytes);
        if (written >= 0) {
            process->sent_bytes += (size_t)written;
        } else if (errno != EINTR) {
            return errno == EAGAIN;
        }
    }
    return true;
}

// --- Answers ------------------------------------------------------------------------------------

// Room for one more read. A line that is too long is found out before more is needed.
static bool reserve_input(cop_evaluator_process *process)
{
    if (process->input_capacity - process->input_bytes >= INPUT_BYTES) {
        return true;
    }
    const size_t capacity = 2 * process->input_capacity + INPUT_BYTES;
    char *input = cop_realloc(process->input, capacity, 1);
    if (input == NULL) {
        return false;
    }
    process->input = input;
    process->input_capacity = capacity;
    return true;
}

cop_evaluator_read cop_evaluator_receive(cop_evaluator_process *process)
{
    if (!reserve_input(process)) {
        return COP_EVALUATOR_READ_NOMEM;
    }
    const ssize_t got = read(process->out, process->input + process->input_bytes,
                             process->input_capacity - process->input_bytes);
    if (got > 0) {
        process->input_bytes += (size_t)got;
        return COP_EVALUATOR_READ_SOME;
    }
    return got < 0 && (errno == EAGAIN || errno == EINTR) ? COP_EVALUATOR_READ_NOTHING
                                                          : COP_EVALUATOR_READ_END;
}

bool cop_evaluator_next_line(cop_evaluator_process *process, size_t *at, const char **line,
                             size_t *bytes)
{
    if (process->input_searched < *at) {
        process->input_searched = *at;
    }
    const size_t left = process->input_bytes - process->input_searched;
    const char *end =
        left == 0 ? NULL : memchr(process->input + process->input_searched, '\n', left);
    if (end == NULL) {
        process->input_searched = process->input_bytes;
        return false;
    }
    *line = process->input + *at;
    *bytes = (size_t)(end - *line);
    *at += *bytes + 1;
    if (*bytes > 0 && (*line)[*bytes - 1] == '\r') {
        (*bytes)--;
    }
    return true;
}

void cop_evaluator_consume(cop_evaluator_process *process, size_t bytes)
{
    if (bytes > 0) {
        memmove(process->input, process->input + bytes, process->input_bytes - bytes);
        process->input_bytes -= bytes;
        process->input_searched =
            process->input_searched > bytes ? process->input_searched - bytes : 0;
    }
}

// --- Its log ------------------------------------------------------------------------------------

void cop_evaluator_note(const cop_evaluator_process *process, const char *format, ...)
{
    char text[COP_EVALUATOR_LOG_BYTES + 64];
    char line[sizeof text + 32];
    va_list args;
    if (process->options->log == NULL) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)snprintf(line, sizeof line, "evaluator %d: %s", process->number, text);
    process->options->log(process->options->log_context, line);
}

static void finish_line(cop_evaluator_process *process)
{
    size_t bytes = process->line_bytes;
    while (bytes > 0 && (process->line[bytes - 1] == '\r' || process->line[bytes - 1] == ' ')) {
        bytes--;
    }
    process->line[bytes] = '\0';
    for (size_t i = 0; i < bytes; i++) {
        // Escape sequences are no part of a log of many programs; a NUL ends no line.
        const unsigned char byte = (unsigned char)process->line[i];
        if (byte < 0x20 || byte == 0x7f) {
            process->line[i] = ' ';
        }
    }
    if (bytes > 0) {
        memcpy(process->last_line, process->line, bytes + 1);
        if (process->log_lines < COP_EVALUATOR_LOG_LINES) {
            cop_evaluator_note(process, "%s%s", process->line, process->is_line_cut ? "…" : "");
        }
        process->log_lines++;
    }
    process->line_bytes = 0;
    process->is_line_cut = false;
}

bool cop_evaluator_receive_log(cop_evaluator_process *process)
{
    char data[LOG_READ_BYTES];
    const ssize_t got = read(process->log, data, sizeof data);
    if (got <= 0) {
        return got < 0 && (errno == EAGAIN || errno == EINTR);
    }
    for (const char *at = data, *const end = data + got; at < end;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        const size_t bytes = (size_t)((stop != NULL ? stop : end) - at);
        const size_t room = COP_EVALUATOR_LOG_BYTES - process->line_bytes;
        const size_t taken = bytes < room ? bytes : room;
        memcpy(process->line + process->line_bytes, at, taken);
        process->line_bytes += taken;
        process->is_line_cut = process->is_line_cut || taken < bytes;
        if (stop != NULL) {
            finish_line(process);
        }
        at += bytes + (stop != NULL);
    }
    return true;
}

void cop_evaluator_flush_log(cop_evaluator_process *process, bool is_end)
{
    if (is_end && process->line_bytes > 0) {
        finish_line(process);
    }
    if (process->log_lines > COP_EVALUATOR_LOG_LINES) {
        cop_evaluator_note(process, "%lld more lines of its log",
                           (long long)(process->log_lines - COP_EVALUATOR_LOG_LINES));
    }
    process->log_lines = 0;
    if (process->unasked > 1) {
        cop_evaluator_note(process, "%lld more lines that answer nothing",
                           (long long)(process->unasked - 1));
    }
    process->unasked = 0;
}
