// The processes that mpirun or srun started together, and what they say to one another in host memory.
//
// A process that was started alone never meets MPI: its rank is 0 of 1, every collective is a no-op, and
// nothing below fails. Whether it was started with others is read from the environment that Open MPI,
// PMIx and PMI set, before MPI itself is touched. MPI is called in one file, base/processes_mpi.c;
// built without MPI, a process that was started with others refuses to run.
//
// Collectives are called by all processes in the same order, and by one thread of each. Failures of MPI
// are COP_ERR_DEVICE.

#ifndef COP_BASE_PROCESSES_H
#define COP_BASE_PROCESSES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cop_processes {
    int rank; // 0 … size - 1
    int size;
    int local_rank; // among those on this machine
    int local_size;
} cop_processes;

// Joins the others; once per process. COP_ERR_UNSUPPORTED: they were started in a way that this build
// cannot serve, saying which would do.
COP_MUST_CHECK cop_status cop_processes_start(cop_error *err);
// Leaves them; waits until all do. Nothing when the process is alone, or was stopped before.
void cop_processes_stop(void);
// Ends all processes at once: for a failure that the others cannot know of and would wait for ever.
void cop_processes_abort(int exit_code);
// One of them is gone, and the launcher lets the others go on: from now on stop() waits for nobody, which
// MPI_Finalize() would do for ever. What was posted is still delivered to who takes it within seconds.
void cop_processes_part(void);
// Who this process is; {0, 1, 0, 1} before the start.
cop_processes cop_processes_self(void);

// More busy threads than cores? "8 processes of 4 threads share 16 cores of this machine: …", with what to do
// about it, in `out`; false: there are cores for all.
bool cop_processes_crowd(char *out, size_t bytes, int processes, int threads, int cores);

// --- Collectives --------------------------------------------------------------------------------

COP_MUST_CHECK cop_status cop_processes_barrier(cop_error *err);
COP_MUST_CHECK cop_status cop_processes_broadcast(void *data, uint64_t bytes, int root,
                                                  cop_error *err);
// Sends to `to` and receives from `from` at the same time.
COP_MUST_CHECK cop_status cop_processes_exchange(int to, const void *send, uint64_t send_bytes,
                                                 int from, void *receive, uint64_t receive_bytes,
                                                 cop_error *err);
// The largest value of all processes.
COP_MUST_CHECK cop_status cop_processes_max(int64_t *value, cop_error *err);
// What all processes make of a step that any of them may have failed: COP_OK, or for all of them the
// status and the message of the lowest rank that failed. `err` holds this process's own message.
cop_status cop_processes_agree(cop_status own, cop_error *err);

// --- Messages between two processes -------------------------------------------------------------

// Those of one sender arrive in order. The memory is free again when the call returns; it may wait for the
// receiver.
COP_MUST_CHECK cop_status cop_processes_send(int to, const void *data, uint64_t bytes,
                                             cop_error *err);
// The same without ever waiting: `data` is copied, and arrives while the sender calls these functions. Messages
// to who no longer lives are kept until stop(). COP_ERR_NOMEM.
COP_MUST_CHECK cop_status cop_processes_post(int to, const void *data, uint64_t bytes,
                                             cop_error *err);
// The next message from anybody, if there is one: its sender, or -1. Does not wait.
COP_MUST_CHECK cop_status cop_processes_poll(int *from, uint64_t *bytes, cop_error *err);
// Takes a message that poll() found.
COP_MUST_CHECK cop_status cop_processes_receive(int from, void *data, uint64_t bytes,
                                                cop_error *err);

#ifdef __cplusplus
}
#endif

#endif
