// What a candidate's evaluation tells while it runs: to the store and the log of this process, or, from a
// worker, to rank 0.

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "search/workers.h"

void cop_run_note(cop_run *run, cop_log_level level, const char *format, ...)
{
    char line[COP_ERROR_MESSAGE_BYTES];
    char date[COP_CLOCK_DATE_BYTES];
    va_list args;

    va_start(args, format);
    const int wanted = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (wanted < 0) {
        return;
    }
    if (run->is_worker) {
        cop_worker_note(run, level, line);
        return;
    }
    cop_log(level, "%s", line);
    if (run->log != NULL) {
        // A full disk must not stop a study for the sake of its log.
        (void)fprintf(run->log, "%s %s\n", cop_clock_date(date), line);
        (void)fflush(run->log);
    }
}

void cop_run_count(cop_run *run, int64_t tokens, const char *note)
{
    run->tokens_done += tokens;
    run->tokens_here += tokens;
    if (!run->is_worker) {
        cop_progress_update(&run->progress, run->tokens_done, note);
    }
}

cop_status cop_run_progress(cop_run *run, const char *id, int stage, int64_t tokens, double loss,
                            cop_error *err)
{
    if (run->is_worker) {
        return cop_worker_progress(run, tokens, loss, false, err);
    }
    return cop_store_progress(run->store, id, stage, tokens, loss, err);
}

cop_status cop_run_saved(cop_run *run, int64_t tokens, cop_error *err)
{
    if (run->is_worker) {
        return cop_worker_progress(run, tokens, (double)NAN, true, err);
    }
    return cop_run_reset_stalled(run, 0, err);
}

bool cop_run_should_stop(cop_run *run)
{
    if (run->options->tick != NULL) {
        run->options->tick(run->options->tick_context);
    }
    if (run->workers != NULL) {
        cop_workers_tick(run);
    }
    if (run->is_worker && cop_worker_is_stopping(run)) {
        run->wants_stop = true;
    }
    return run->wants_stop || (run->options->stop != NULL && *run->options->stop != 0);
}
