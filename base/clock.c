#include "base/clock.h"

#include <stdio.h>
#include <time.h>

double cop_clock_seconds(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

char *cop_clock_date(char *out)
{
    const time_t now = time(NULL);
    struct tm parts = {0};
    if (gmtime_r(&now, &parts) == NULL ||
        strftime(out, COP_CLOCK_DATE_BYTES, "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) {
        (void)snprintf(out, COP_CLOCK_DATE_BYTES, "unknown");
    }
    return out;
}

void cop_clock_pause(double seconds)
{
    const double whole = seconds > 0 ? (double)(time_t)seconds : 0;
    const struct timespec moment = {.tv_sec = (time_t)whole,
                                    .tv_nsec = seconds > 0 ? (long)((seconds - whole) * 1e9) : 0};
    (void)nanosleep(&moment, NULL);
}
