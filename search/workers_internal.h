// The messages between rank 0 and the workers of a search. One program on one kind of machine sends and
// receives: structs travel as they are.

#ifndef COP_SEARCH_WORKERS_INTERNAL_H
#define COP_SEARCH_WORKERS_INTERNAL_H

#include "base/processes.h"
#include "search/workers.h"

typedef enum cop_message_kind {
    COP_MESSAGE_WELCOME = 1,
    COP_MESSAGE_ASSIGN,
    COP_MESSAGE_STOP,
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

typedef struct cop_verdict {
    cop_status status;
    char message[COP_ERROR_MESSAGE_BYTES];
} cop_verdict;

typedef struct cop_work_progress {
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
        cop_assignment assignment;
        cop_verdict ready;
        cop_work_progress progress;
        cop_work_note note;
        cop_work_outcome outcome;
    };
} cop_message;

// Sends a message with `count` doubles behind it.
COP_MUST_CHECK cop_status cop_message_send(int to, const cop_message *message, const double *values,
                                           int64_t count, cop_error *err);
// Takes the next message; *from is -1 when there is none. *values (owned by the caller) and *count receive
// what is behind it.
COP_MUST_CHECK cop_status cop_message_take(int *from, cop_message *out, double **values,
                                           int64_t *count, cop_error *err);
// A moment's rest for who has nothing to do but to wait: the cores are others'.
void cop_message_pause(void);

#endif
