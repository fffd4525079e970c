// A search over several processes (base/processes.h), each with a device of its own.
//
// Rank 0 owns the study: it alone opens study.db, decides who is evaluated next, and records. It also
// evaluates candidates itself. The others are workers: they open teacher, data and caches for
// reading, evaluate what they are handed, and send back what they found. Saved states of candidates
// lie in the study directory, which all processes must see under the same path.
//
// Within a stage candidates are handed out longest first to whoever is free (search/scheduler.h), by the FLOPs
// that are left of them; from `dedicated_from` processes on, rank 0 does nothing else. What a candidate's
// evaluation gives does not depend on who does it or when: figures are the same for any number of
// processes. Rank 0 answers between two steps of its own candidate (cop_run_should_stop()), so that a
// worker waits for at most one of them, or for one of its evaluations.
//
// Life of a worker, by messages:
//     rank 0:  welcome                 assign …             stop         quit
//     worker:            ready                  progress …        outcome
// `stop` asks for what is running to be saved and given back. A worker that fails says so in its outcome;
// the failure is the candidate's, or the study's, as it is in a search on one process. Progress, sent every
// few seconds of training, is the sign of life.
//
// A process that dies takes all others along, unless the launcher is told to let them be (docs/multi-gpu.md):
// the same command continues. Where they are let be, a worker that was silent for `give_up_seconds` is
// lost; another gets its candidate, and continues it from its saved state. One that was only slow is told to
// `drop` it, and may get another. Workers leave when nobody owns the study any more: rank 0 has died.

#ifndef COP_SEARCH_WORKERS_H
#define COP_SEARCH_WORKERS_H

#include "search/run_internal.h"

// --- Rank 0 -------------------------------------------------------------------------------------

// Tells the workers how the study was opened (or that it was not: `opened` is the failure), and waits until
// all are ready. The first that is not fails the search.
COP_MUST_CHECK cop_status cop_workers_start(cop_run *run, cop_status opened, cop_error *err);
// Takes what workers sent and hands out candidates of the stage. Does not wait.
COP_MUST_CHECK cop_status cop_workers_serve(cop_run *run, cop_error *err);
// The candidate that rank 0 evaluates next itself, or -1.
int64_t cop_workers_next(cop_run *run);
// The end of a stage that came to `status` here: hands out what is left and waits for what is
// running; after a failure, or when the search is to stop, asks the workers to stop first. Returns the first failure.
cop_status cop_workers_settle(cop_run *run, cop_status status, cop_error *err);
// As serve(), between two steps: a failure is kept for settle(), and the candidate at hand is stopped.
void cop_workers_tick(cop_run *run);
// Lets the workers go, and releases what rank 0 keeps of them.
void cop_workers_quit(cop_run *run);

// --- Workers ------------------------------------------------------------------------------------

// Serves until rank 0 says quit. Failures are rank 0's to report; what is returned concerns the messages
// themselves.
COP_MUST_CHECK cop_status cop_worker_run(cop_run *run, cop_error *err);
// Between two steps: has rank 0 asked to stop?
bool cop_worker_is_stopping(cop_run *run);
// To rank 0, while a candidate is at work; `loss` as in cop_store_progress().
COP_MUST_CHECK cop_status cop_worker_progress(cop_run *run, int64_t tokens, double loss,
                                              bool is_saved, cop_error *err);
void cop_worker_note(cop_run *run, cop_log_level level, const char *line);

#endif
