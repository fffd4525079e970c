// Who works on what: tasks of known cost, workers that come, go and fall silent. Pure bookkeeping, without
// messages and without a clock: the caller says what time it is, in seconds from any origin.
//
// Tasks are handed out longest first (LPT: R. L. Graham, Bounds on Multiprocessing Timing Anomalies, 1969:
// with m equal workers the makespan is at most 4/3 - 1/(3m) of the optimum), the longest to the fastest
// idle worker. Equal costs go by index, equal speeds by number: the same calls give the same schedule.
//
// A busy worker that has not been heard from for `stall_seconds` is suspected, once per silence; after
// `give_up_seconds` it is lost: its task goes back to the queue, and what it says later about that task
// is known to be late by the ticket. A lost worker that speaks again may work again.
//
// Everything is O(log n) in tasks and workers, but hearing from a worker, which is O(1): deadlines are
// looked at when they are due, and moved then. Not thread-safe.

#ifndef COP_SEARCH_SCHEDULER_H
#define COP_SEARCH_SCHEDULER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct cop_scheduler cop_scheduler;

typedef struct cop_scheduler_options {
    int workers;
    double stall_seconds;   // > 0; INFINITY: nobody is suspected, and nobody lost
    double give_up_seconds; // at least stall_seconds; INFINITY: nobody is lost for being silent
} cop_scheduler_options;

typedef enum cop_worker_state {
    COP_WORKER_ABSENT = 0, // not ready yet
    COP_WORKER_IDLE,
    COP_WORKER_BUSY,
    COP_WORKER_LOST
} cop_worker_state;

typedef struct cop_worker_record {
    cop_worker_state state;
    bool is_suspected;
    int64_t task;         // while busy
    int64_t ticket;       // of the last hand-out
    double cost;          // of the task
    double start_seconds; // of the task
    double heard_seconds;
    double speed; // cost per second, smoothed; 0: nothing finished yet
    int64_t tasks;
    int64_t tokens;
    int64_t losses; // times it was given up
    double busy_seconds;
} cop_worker_record;

typedef struct cop_hand_out {
    int worker;
    int64_t task;
    int64_t ticket; // different for every hand-out
    int losses;     // workers that the task was lost with before
} cop_hand_out;

typedef struct cop_silence {
    int worker;
    int64_t task;
    double seconds; // since it was heard from
    bool is_lost;   // given up, and the task queued again; else suspected
} cop_silence;

// COP_ERR_CONFIG for options out of range.
COP_MUST_CHECK cop_status cop_scheduler_create(cop_scheduler **out,
                                               const cop_scheduler_options *options,
                                               cop_error *err);
void cop_scheduler_destroy(cop_scheduler *scheduler);

// --- Tasks --------------------------------------------------------------------------------------

// Queues a task. Any number names it; `cost` is finite, in any unit. After COP_ERR_NOMEM all is as before.
COP_MUST_CHECK cop_status cop_scheduler_add(cop_scheduler *scheduler, int64_t task, double cost,
                                            cop_error *err);
int64_t cop_scheduler_queued(const cop_scheduler *scheduler);
// Forgets what is queued; what is at work stays.
void cop_scheduler_clear(cop_scheduler *scheduler);

// --- Workers ------------------------------------------------------------------------------------

// The worker, absent or lost before, can be given work.
void cop_scheduler_ready(cop_scheduler *scheduler, int worker, double now);
// Gives the longest task to the fastest idle worker; false: there is no task, or nobody is idle.
bool cop_scheduler_hand_out(cop_scheduler *scheduler, double now, cop_hand_out *out);
// Gives the longest task away, to who is none of the workers; false: there is none.
bool cop_scheduler_pop(cop_scheduler *scheduler, int64_t *task);

// The worker spoke of the hand-out `ticket`, with so many tokens done since it spoke last. false: late,
// that task is no longer its.
bool cop_scheduler_heard(cop_scheduler *scheduler, int worker, int64_t ticket, int64_t tokens,
                         double now);
// The worker begins its task once more.
void cop_scheduler_retry(cop_scheduler *scheduler, int worker, double now);
// The busy worker is done with its task, which is not queued again, and idle. Without `is_whole` (failed,
// stopped) its speed is not learned from it.
void cop_scheduler_finish(cop_scheduler *scheduler, int worker, bool is_whole, double now);
// The worker is known to be gone: its task, if any, is queued again.
void cop_scheduler_lose(cop_scheduler *scheduler, int worker, double now);
// From now on a silence of so many seconds is too long.
void cop_scheduler_set_give_up(cop_scheduler *scheduler, double seconds);

// The next silence to act upon, or false. Called until it is false, as often as one likes.
bool cop_scheduler_check(cop_scheduler *scheduler, double now, cop_silence *out);

int cop_scheduler_busy(const cop_scheduler *scheduler);
int cop_scheduler_alive(const cop_scheduler *scheduler); // idle or busy
// Borrowed, until the scheduler is destroyed.
const cop_worker_record *cop_scheduler_worker(const cop_scheduler *scheduler, int worker);

#endif
