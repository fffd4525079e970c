#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/text.h"

enum { LINE_BYTES = 512 };

static cop_log_sink installed_sink;
static void *installed_context;

void cop_log_set_sink(cop_log_sink sink, void *context)
{
    installed_sink = sink;
    installed_context = context;
}

void cop_log(cop_log_level level, const char *format, ...)
{
    if (installed_sink == NULL) {
        return;
    }
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    const int wanted = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    installed_sink(installed_context, level, wanted < 0 ? format : line);
}

void cop_progress_init(cop_progress *progress, const char *what, const char *unit, int64_t total,
                       int64_t resumed)
{
    *progress = (cop_progress){
        .what = what,
        .unit = unit,
        .done = resumed,
        .total = total,
        .resumed = resumed,
        .start_seconds = cop_clock_seconds(),
        .shown_seconds = -1.0,
    };
}

void cop_progress_update(cop_progress *progress, int64_t done, const char *note)
{
    static const double interval_seconds = 0.5;
    const double now = cop_clock_seconds();
    progress->done = done;
    if (installed_sink == NULL ||
        (progress->shown_seconds >= 0.0 && now - progress->shown_seconds < interval_seconds)) {
        return;
    }
    progress->shown_seconds = now;

    char rate_text[COP_TEXT_NUMBER_BYTES + 64] = "";
    char eta_text[COP_TEXT_NUMBER_BYTES + 8] = "";
    char number[COP_TEXT_NUMBER_BYTES];
    const double elapsed = now - progress->start_seconds;
    const int64_t worked = done - progress->resumed;
    if (worked > 0 && elapsed > 0.0) {
        const double rate = (double)worked / elapsed;
        (void)snprintf(rate_text, sizeof rate_text, ", %s %ss/s", cop_text_count(number, rate),
                       progress->unit);
        if (done < progress->total) {
            (void)snprintf(eta_text, sizeof eta_text, ", ETA %s",
                           cop_text_seconds(number, (double)(progress->total - done) / rate));
        }
    }
    const int percent =
        progress->total > 0 ? (int)(100.0 * (double)done / (double)progress->total) : 100;
    const bool has_note = note != NULL && note[0] != '\0';
    cop_log(COP_LOG_PROGRESS, "%s %d%% %lld/%lld %ss%s%s%s%s", progress->what, percent,
            (long long)done, (long long)progress->total, progress->unit, rate_text,
            has_note ? ", " : "", has_note ? note : "", eta_text);
}

void cop_progress_finish(cop_progress *progress, const char *note)
{
    char number[COP_TEXT_NUMBER_BYTES];
    const double elapsed = cop_clock_seconds() - progress->start_seconds;
    const bool has_note = note != NULL && note[0] != '\0';
    cop_log(COP_LOG_INFO, "%s: %lld %ss in %s%s%s", progress->what,
            (long long)(progress->done - progress->resumed), progress->unit,
            cop_text_seconds(number, elapsed), has_note ? ", " : "", has_note ? note : "");
}
