// External evaluators: a user's program in place of prune-and-probe, kept running and asked line by line.
//
// The program is a shell command line. It reads one request per line on stdin and answers each with one
// line on stdout, in order; JSON both ways:
//     {"id":"a1","values":{"layers":12,"ffn":1024},"fidelity":0.25}
//     {"id":"a1","metrics":{"loss":3.25,"latency_ms":4}}      or      {"id":"a1","error":"out of memory"}
// Metrics are finite numbers. Lines are flushed; blank lines are ignored, and so, but for a note in the
// log, are lines that nothing asked for. What it writes to stderr is its log. At the end of stdin it exits.
//
// A pool runs up to 256 such processes, each started at its first request, with one request at a time.
// COPPICE_EVALUATOR in a process's environment is its number, 0 … COPPICE_EVALUATORS - 1: to choose a
// device by. A process that dies, answers too late, or answers with something else than an answer to
// what it was asked, is ended and started again at its next request; that request alone fails.
//
// Each process leads a process group of its own: a Ctrl-C of the terminal does not reach it. It inherits
// no file but its three pipes. When our process dies, even by kill -9, stdin ends; on Linux the command
// itself is killed, too (PR_SET_PDEATHSIG: also when the *thread* that called submit() ends. What a shell
// started without `exec` sees the end of stdin only). SIGPIPE never reaches our process: it is blocked
// around each write, and nothing of the process's signal state is changed. No zombie is left.
//
// One thread at a time may use a pool.

#ifndef COP_SEARCH_EVALUATOR_H
#define COP_SEARCH_EVALUATOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { COP_EVALUATOR_PROCESSES_MAX = 256, COP_EVALUATOR_LINE_BYTES_MIN = 256 };

typedef struct cop_evaluator cop_evaluator;

// One line of a program's log, or a note about it: "evaluator 3: …". Called by submit(), wait() and destroy().
// A line is cut after 500 bytes; lines beyond 100 per request are counted, not passed on.
typedef void (*cop_evaluator_log)(void *context, const char *line);

typedef struct cop_evaluator_options {
    const char *command;    // for /bin/sh -c; copied
    const char *directory;  // where it runs; NULL: our working directory; copied
    int processes;          // 1 … COP_EVALUATOR_PROCESSES_MAX
    double timeout_seconds; // from a request to its answer; 0: unlimited
    double start_seconds;   // added to the time of the first request after a start
    double stop_seconds; // destroy(): from the end of stdin to SIGTERM, and from there to SIGKILL
    // How often in a row a process that ended, or had to be ended for what it said, is started again
    // without an answer in between. Late answers and ends without a request at hand do not count.
    int restarts;
    // The same as long as nothing was ever answered: then ends of all processes count together, as the command
    // is likely to be wrong.
    int restarts_first;
    bool has_answered;      // the command did so before, to an earlier process of ours
    int64_t line_bytes_max; // of an answer, COP_EVALUATOR_LINE_BYTES_MIN … 2^30
    // [required_count], borrowed: metrics that each answer must have. NULL with 0.
    const char *const *required;
    int required_count;
    cop_evaluator_log log; // NULL: dropped
    void *log_context;
} cop_evaluator_options;

#define COP_EVALUATOR_OPTIONS_DEFAULT                                           \
    {                                                                           \
        .processes = 1, .stop_seconds = 1, .restarts = 20, .restarts_first = 3, \
        .line_bytes_max = (int64_t)1 << 20                                      \
    }

typedef enum cop_evaluator_outcome {
    COP_EVALUATOR_METRICS, // `metrics` are there, all required ones among them
    COP_EVALUATOR_ERROR,   // the program said so
    COP_EVALUATOR_TIMEOUT, // no answer in time; the process was killed
    COP_EVALUATOR_DIED,    // the process exited, was killed, or closed a pipe
    COP_EVALUATOR_BAD      // no answer to this request, or one without usable metrics
} cop_evaluator_outcome;

typedef struct cop_evaluator_metric {
    const char *name;
    double value; // finite
} cop_evaluator_metric;

typedef struct cop_evaluator_answer {
    int64_t ticket; // as submitted
    int process;
    double seconds; // from submit() to the answer
    cop_evaluator_outcome outcome;
    cop_evaluator_metric *metrics; // [count] in the program's order, names too owned by the answer
    int count;
    char reason[COP_ERROR_MESSAGE_BYTES]; // one line, "evaluator 3: …"; "" with metrics
} cop_evaluator_answer;

// COP_ERR_CONFIG for an option out of range, COP_ERR_IO for a directory that is none. Starts nothing.
COP_MUST_CHECK cop_status cop_evaluator_create(cop_evaluator **out,
                                               const cop_evaluator_options *options,
                                               cop_error *err);
// Ends stdin of all processes, and what is still running after the times in the options; waits for all.
// Requests without an answer are dropped.
void cop_evaluator_destroy(cop_evaluator *pool);

// How many requests can be submitted now. A process is free again when its answer was taken.
int cop_evaluator_free_slots(const cop_evaluator *pool);

// Hands a request to a free process, which there must be; one that runs already is preferred. `ticket` is the
// caller's, returned with the answer. `id` is UTF-8, `values` the text of a JSON object on one line,
// `fidelity` finite; all copied. Does not wait for the program to read. COP_ERR_IO: no process could be
// started; COP_ERR_NOMEM. After either the request was not taken, and the pool is as before.
COP_MUST_CHECK cop_status cop_evaluator_submit(cop_evaluator *pool, int64_t ticket, const char *id,
                                               const char *values, double fidelity, cop_error *err);

// Waits up to `timeout_seconds` (negative: without limit) for an answer. *has_one is false when the time is
// over, a signal interrupted the wait (so that the caller can look at its stop flag; one that came just
// before the wait does not, so give a limit), or nothing is at work. The answer is released by the caller.
// COP_ERR_CONFIG: the pool gives up, see `restarts`; COP_ERR_NOMEM, COP_ERR_IO. A failure is final: what
// is left to do is destroy().
COP_MUST_CHECK cop_status cop_evaluator_wait(cop_evaluator *pool, double timeout_seconds,
                                             cop_evaluator_answer *out, bool *has_one,
                                             cop_error *err);
void cop_evaluator_answer_release(cop_evaluator_answer *answer);

#endif
