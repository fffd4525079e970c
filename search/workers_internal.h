// The messages between rank 0 and the workers of a search. One program on one kind of machine sends and
// receives: structs travel as they are.

#ifndef COP_SEARCH_WORKERS_INTERNAL_H
#define COP_SEARCH_WORKERS_INTERNAL_H

#include "base/processes.h"
#include "search/scheduler.h"
#include "search/workers.h"

typedef enum cop_message_kind {
    COP_MESSAGE_WELCOME = 1,
    COP_MESSAGE_ASSIGN,
    COP_MESSAGE_STOP,
    COP_MESSAGE_DROP, // what is at work is another's by now
    COP_MESSAGE_QUIT,
    COP_MESSAGE_READY,
    COP_MESSAGE_PROGRESS,
    COP_MESSAGE_NOTE,
    COP_MESSAGE_WANTS_STOP, // a worker was told to stop by its own signal
    COP_MESSAGE_OUTCOME     // followed by the evaluation's arrays
} cop_message_kind;

typedef struct cop_welcome {
    cop_status status; // of opening the study
    cop_precision precision;
    int64_t micro_batch;
    int64_t count; // feasible candidates
    cop_hash inputs;
} cop_welcome;

typedef struct cop_work {
    cop_assignment assignment;
    int64_t ticket; // of the scheduler; comes back with all that is said of the work
} cop_work;

typedef struct cop_farewell {
    bool has_lost; // some are gone: leave without waiting for them
} cop_farewell;

typedef struct cop_verdict {
    cop_status status;
    char message[COP_ERROR_MESSAGE_BYTES];
} cop_verdict;

enum { COP_HOST_BYTES = 48, COP_CROWD_BYTES = 160 };

typedef struct cop_work_ready {
    cop_verdict verdict;
    char host[COP_HOST_BYTES];
    char crowd[COP_CROWD_BYTES]; // a warning of the first process of a machine; "": none
} cop_work_ready;

typedef struct cop_work_progress {
    int64_t ticket;
    int64_t tokens; // of the candidate
    int64_t done;   // tokens of this attempt
    double loss;
    bool is_saved;
} cop_work_progress;

typedef struct cop_work_note {
    cop_log_level level;
    char line[COP_ERROR_MESSAGE_BYTES];
} cop_work_note;

// cop_outcome without its owned arrays, which follow where `arrays` names them.
typedef struct cop_work_outcome {
    int64_t ticket;
    cop_verdict verdict;
    bool is_stopped;
    cop_latencies latency;
    int64_t done;
    double seconds;
    int64_t sequences; // 0: no evaluation
    int64_t sequence_tokens;
    bool has_teacher; // [cross_entropy, agreement], then [kl, teacher_cross_entropy]
} cop_work_outcome;

typedef struct cop_message {
    cop_message_kind kind;

    union {
        cop_welcome welcome;
        cop_work work;
        cop_farewell farewell;
        cop_work_ready ready;
        cop_work_progress progress;
        cop_work_note note;
        cop_work_outcome outcome;
    };
} cop_message;

// Sends a message with `count` doubles behind it. Waits for nobody.
COP_MUST_CHECK cop_status cop_message_send(int to, const cop_message *message, const double *values,
                                           int64_t count, cop_error *err);
// Takes the next message; *from is -1 when there is none. *values (owned by the caller) and *count receive
// what is behind it.
COP_MUST_CHECK cop_status cop_message_take(int *from, cop_message *out, double **values,
                                           int64_t *count, cop_error *err);
// A rest for who has nothing to do but to wait, the longer the longer nothing came: the cores are others'.
// `idle` counts the rests in a row, and is 0 again when something came.
void cop_message_pause(int *idle);
// This machine's name, cut at the first dot.
void cop_message_host(char out[COP_HOST_BYTES]);
// The warning of cop_work_ready for this process; none where a GPU does the work.
void cop_message_crowd(char out[COP_CROWD_BYTES], const char *backend);

// --- Rank 0 ---------------------------------------------------------------------------------------

// What rank 0 knows of a worker, beside the scheduler.
typedef struct cop_desk {
    char host[COP_HOST_BYTES];
    bool is_ready;
    bool is_dropped; // told to drop what it was lost with
    cop_assignment assignment;
    int failures;
    int64_t done; // tokens of this attempt that are counted into the progress
} cop_desk;

typedef struct cop_workers {
    int size; // ranks 1 … size - 1 are workers
    cop_desk *desk;
    cop_scheduler *scheduler; // its worker 0 is rank 0, and never there: it pops
    bool is_stop_sent;
    bool has_lost;         // anybody, ever
    double stored_seconds; // when progress without a point of the curve was last stored
    cop_status status;     // first failure between two steps
    cop_error error;
} cop_workers;

// workers_inbox.c: takes everything that has arrived.
COP_MUST_CHECK cop_status cop_workers_take_all(cop_run *run, bool *has_some, cop_error *err);
// workers.c: sends the candidate on the worker's desk.
COP_MUST_CHECK cop_status cop_workers_assign(cop_run *run, int rank, cop_error *err);
// A line of, or about, a worker: "[3 node7] …".
void cop_workers_note(cop_run *run, int rank, cop_log_level level, const char *format, ...)
    COP_PRINTF(4, 5);

#endif
