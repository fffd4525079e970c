// What the files of the external evaluator share: one process and its pipes, and the two kinds of lines.

#ifndef COP_SEARCH_EVALUATOR_INTERNAL_H
#define COP_SEARCH_EVALUATOR_INTERNAL_H

#include <poll.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/text.h"
#include "search/evaluator.h"

enum {
    COP_EVALUATOR_LOG_BYTES = 500,
    COP_EVALUATOR_LOG_LINES = 100, // per request
    COP_EVALUATOR_QUOTE_BYTES = 240
};

typedef struct cop_evaluator_process {
    const cop_evaluator_options *options; // borrowed
    char *command;                        // borrowed; exec() wants it writable
    int number;
    pid_t pid; // 0: not running
    int in;    // our ends of its pipes; -1: closed
    int out;
    int log;

    // Its request.
    bool is_busy;    // asked, and not answered
    bool has_answer; // answered, and not taken
    bool is_fresh;   // has answered nothing since it was started
    int ends;        // in a row without an answer
    int64_t ticket;
    double asked;     // when
    double deadline;  // infinite: none
    cop_text id;      // of the request
    cop_text request; // its line
    size_t sent_bytes;
    cop_evaluator_answer answer;

    // What it wrote to stdout and no line end followed.
    char *input;
    size_t input_bytes;
    size_t input_capacity;
    size_t input_searched; // bytes without a line end
    int64_t unasked;       // lines without a request since the last one

    // Its log.
    char line[COP_EVALUATOR_LOG_BYTES + 1];
    size_t line_bytes;
    bool is_line_cut;
    int64_t log_lines;                           // since the last request
    char last_line[COP_EVALUATOR_LOG_BYTES + 1]; // that is not blank, since the start
} cop_evaluator_process;

struct cop_evaluator {
    cop_evaluator_options options; // its texts owned
    char *command;
    char *directory;
    cop_evaluator_process *processes; // [options.processes]
    int *ready;                       // [options.processes]: a ring of those with an answer
    int ready_first;
    int ready_count;
    int busy_count;
    struct pollfd *polls; // [3 * options.processes]
    int *polled;          // whose they are
    double looked;        // when
    bool has_answered;    // any process, ever
    int ends;             // until then
    cop_error failure;    // COP_OK: none
};

// How a process ended.
typedef struct cop_evaluator_end {
    bool was_killed; // by us
    bool is_known;
    bool was_signal;
    int code; // exit status, or signal
} cop_evaluator_end;

// --- evaluator_process.c: starting and ending ---------------------------------------------------

COP_MUST_CHECK cop_status cop_evaluator_process_start(cop_evaluator_process *process,
                                                      cop_error *err);
// Has it exited? It is not reaped yet.
bool cop_evaluator_process_has_exited(const cop_evaluator_process *process);
// Waits up to `grace_seconds` for it to exit, kills what is left of its group, and reaps it. The rest of its
// log is passed on.
cop_evaluator_end cop_evaluator_process_end(cop_evaluator_process *process, double grace_seconds);
// Ends all processes that run: end of stdin, SIGTERM, SIGKILL.
void cop_evaluator_processes_stop(cop_evaluator_process *processes, int count, double stop_seconds);
// "exited with status 3", "was ended by signal 11 (SIGSEGV)"; `out` has COP_EVALUATOR_LOG_BYTES bytes.
const char *cop_evaluator_end_text(char *out, const cop_evaluator_end *end);

// --- evaluator_stream.c: its pipes --------------------------------------------------------------

typedef enum cop_evaluator_read {
    COP_EVALUATOR_READ_SOME,
    COP_EVALUATOR_READ_NOTHING, // for now
    COP_EVALUATOR_READ_END,
    COP_EVALUATOR_READ_NOMEM
} cop_evaluator_read;

// Writes what is left of the request, as far as the pipe takes it. false: nobody will read it.
bool cop_evaluator_send(cop_evaluator_process *process);
// Reads once from stdout into `input`, which grows up to the longest line and a bit.
cop_evaluator_read cop_evaluator_receive(cop_evaluator_process *process);
// The next whole line of `input` behind *at, without its end; false when there is none.
bool cop_evaluator_next_line(cop_evaluator_process *process, size_t *at, const char **line,
                             size_t *bytes);
// Drops the first `bytes` bytes of `input`.
void cop_evaluator_consume(cop_evaluator_process *process, size_t bytes);
// Reads once from stderr and passes whole lines on. false: at its end.
bool cop_evaluator_receive_log(cop_evaluator_process *process);
// Passes on what is left: a line without an end, and how many lines were left out.
void cop_evaluator_flush_log(cop_evaluator_process *process, bool is_end);
// A note of ours: "evaluator 3: <note>".
void cop_evaluator_note(const cop_evaluator_process *process, const char *format, ...)
    COP_PRINTF(2, 3);

// --- evaluator_message.c: lines -----------------------------------------------------------------

// Text between quotation marks, for messages: valid UTF-8 on one line, cut with "…" after `length_max`
// bytes. `out` has COP_EVALUATOR_QUOTE_BYTES bytes, length_max is at most that - 8. Returns `out`.
const char *cop_evaluator_quote(char *out, const char *text, size_t bytes, size_t length_max);

// The line of a request; check it with cop_text_check().
void cop_evaluator_request_text(cop_text *out, const char *id, const char *values, double fidelity);

// What a line means as the answer to `id`. out->process is set before and names the evaluator in reasons;
// outcome, reason, metrics and count are set. *is_in_step: it answers this request, if badly; the next line
// will answer the next one. COP_ERR_NOMEM alone.
COP_MUST_CHECK cop_status cop_evaluator_answer_parse(cop_evaluator_answer *out, bool *is_in_step,
                                                     const char *line, size_t bytes, const char *id,
                                                     const char *const *required,
                                                     int required_count, cop_error *err);
// Makes it a failure.
void cop_evaluator_answer_fail(cop_evaluator_answer *out, cop_evaluator_outcome outcome,
                               const char *format, ...) COP_PRINTF(3, 4);

// --- evaluator_answer.c: what becomes of a request ----------------------------------------------

// Takes the whole lines that were read; those that are no answers end the process. COP_ERR_NOMEM alone.
COP_MUST_CHECK cop_status cop_evaluator_take_lines(cop_evaluator *pool,
                                                   cop_evaluator_process *process, cop_error *err);
// A process that exited, or will never answer again, of which `closed` was seen ("closed its output").
void cop_evaluator_bury(cop_evaluator *pool, cop_evaluator_process *process, const char *closed);
void cop_evaluator_end_late(cop_evaluator *pool, cop_evaluator_process *process);

#endif
