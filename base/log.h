// Messages and progress of the library. The library never prints: it hands lines to one sink,
// which cli/ installs; without a sink nothing is shown.

#ifndef COP_BASE_LOG_H
#define COP_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cop_log_level {
    COP_LOG_DEBUG,
    COP_LOG_INFO,
    COP_LOG_WARNING,
    COP_LOG_PROGRESS // a state that the next progress line replaces on a terminal
} cop_log_level;

typedef void (*cop_log_sink)(void *context, cop_log_level level, const char *line);

// Installs the sink (NULL: none). Not thread-safe: once, at start.
void cop_log_set_sink(cop_log_sink sink, void *context);

void cop_log(cop_log_level level, const char *format, ...) COP_PRINTF(2, 3);

// Progress of one piece of work: the line "<what> 37% 120/320 <unit>s, 5.1k tokens/s, <note>,
// ETA 1m20s" at most every half second. Lives on the caller's stack.
typedef struct cop_progress {
    const char *what; // borrowed
    const char *unit; // singular, e.g. "step"; borrowed
    int64_t done;
    int64_t total;
    int64_t resumed;      // work that was done before `start_seconds`; not counted into the rate
    double start_seconds; // monotonic
    double shown_seconds;
} cop_progress;

void cop_progress_init(cop_progress *progress, const char *what, const char *unit, int64_t total,
                       int64_t resumed);
// `note` may be NULL or "".
void cop_progress_update(cop_progress *progress, int64_t done, const char *note);
// Emits a final line as INFO with the elapsed time.
void cop_progress_finish(cop_progress *progress, const char *note);

#ifdef __cplusplus
}
#endif

#endif
